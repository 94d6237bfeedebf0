//! What a repair says of sequences that removed messages may have used.

use trunkline_tests::process::Exit;

use crate::store_command::{check, inspect, small_segments, store};

/// A repair that loses messages which conversations may have used sequences in says so, and so do later looks.
#[test]
fn a_repair_says_that_sequences_are_skipped() {
    let mut gateway = small_segments();
    let mut alice = gateway.dial().connect("alice", "phone");
    for _ in 0..120 {
        alice.send("bob", &"x".repeat(4_000));
    }
    drop(alice);
    gateway.stop();
    let data = gateway.data();
    let says_nothing = |exit: &Exit| !exit.stdout.contains("skip") && !exit.stderr.contains("skip");
    assert!(says_nothing(&store("inspect", data, &[])));
    let mut segments: Vec<_> = std::fs::read_dir(data)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect();
    segments.sort_unstable();
    assert!(segments.len() > 2, "{segments:?}");
    std::fs::remove_file(&segments[segments.len() - 2]).expect("it can be removed");
    let words = [
        "conversations whose last message lies before position",
        "skip",
        "sequences",
    ];
    check(&store("repair", data, &[]), 0, &words);
    check(&store("inspect", data, &[]), 0, &["losses", "skip"]);
    let told = inspect(data);
    let skip = told["losses"]["skip"].as_u64().expect("a number");
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    // Another conversation than those that the log still has.
    let first = alice.send("carol", "hello")["seq"].as_u64();
    assert_eq!(first, Some(skip + 1), "{told}");
}
