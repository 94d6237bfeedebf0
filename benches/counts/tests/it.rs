//! The program as the gate starts it.

use std::collections::BTreeSet;
use std::process::{Command, Output};

fn ask(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gate-counts"))
        .args(args)
        .output()
        .expect("the program starts")
}

#[track_caller]
fn text(args: &[&str]) -> String {
    let output = ask(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_subject_works() {
    let list = text(&["list"]);
    let mut names = BTreeSet::new();
    for line in list.lines() {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words.len(), 4, "{line}");
        assert!(names.insert(words[0]), "{line}");
        text(&["work", words[0], words[2]]);
    }
    for name in ["unmask", "sequence", "append", "index", "push"] {
        assert!(names.contains(name), "{list}");
    }
}

#[test]
fn bytes_are_the_same_each_time() {
    let [first, second] = [(); 2].map(|()| text(&["bytes"]));
    assert_eq!(first.lines().count(), 6, "{first}");
    for (one, other) in first.lines().zip(second.lines()) {
        let parts = |line: &str| -> (String, u64) {
            let (name, bytes) = line.split_once(' ').expect("a name and a number");
            (name.to_owned(), bytes.parse().expect("a number"))
        };
        let (one, other) = (parts(one), parts(other));
        // The reply to `connect` has numbers that are not of the same length in each gateway.
        let apart = u64::from(one.0 == "session-wire");
        assert!(
            one.0 == other.0 && one.1.abs_diff(other.1) <= apart,
            "{first}{second}"
        );
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    for bad in [&["work", "nothing", "64"][..], &["work", "push"], &[]] {
        assert!(!ask(bad).status.success(), "{bad:?}");
    }
}
