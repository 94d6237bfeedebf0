//! A full disk: writes are refused, reads go on, and writes are taken again once there is room.

use nix::errno::Errno;
use serde_json::{Value, json};
use trunkline_tests::api::{Api, problem};
use trunkline_tests::client::Client;
use trunkline_tests::disk::Disk;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::{alone, http, wait};

/// Room for the store's first segment of 64 MiB, none for a second.
const SMALL: &str = "100m";

/// Room for more segments and the reserve of 256 MiB that the store leaves.
const LARGE: &str = "600m";

#[test]
fn writing_is_refused_reading_goes_on() {
    if let Err(error) = on_a_small_disk(fill_and_heal) {
        println!("skipped: a small disk cannot be mounted here ({error}); root may");
    }
}

/// On a full disk the store makes no runs, so segments wait, and then it refuses messages. Both
/// have the full disk as their reason.
#[test]
fn without_a_reserve_a_full_disk_is_told_as_one() {
    if let Err(error) = on_a_small_disk(fill_without_reserve) {
        println!("skipped: a small disk cannot be mounted here ({error}); root may");
    }
}

fn fill_without_reserve(disk: &Disk) {
    let setup = Setup::default().flag("message-bytes", "16KiB");
    let setup = setup
        .flag("segment-bytes", "4MiB")
        .flag("store-reserve", "0B");
    let gateway = setup.start_on(&disk.folder().join("data"));
    let mut alice = gateway.dial().connect("alice", "phone");
    let request = json!({"user": "bob", "text": "x".repeat(13_000)});
    let (mut stored, mut refused) = (0, 0);
    // Runs that are being made may give room back.
    while refused < 50 {
        let reply = alice.ask("send", &request);
        if reply["send"].is_object() {
            (stored, refused) = (stored + 1, 0);
            assert!(stored < 20_000, "the disk does not fill up");
        } else {
            assert_eq!(trunkline_tests::client::error_code(&reply), 116, "{reply}");
            refused += 1;
        }
    }
    let ready = http::get(gateway.control(), "/readyz");
    assert_eq!(
        (ready.status, ready.body.contains("full")),
        (503, true),
        "{ready:?}"
    );
    gateway.logged("the disk is full");
    disk.resize(LARGE);
    wait::until("sends to succeed again", || {
        alice.ask("send", &request)["send"]
            .is_object()
            .then_some(())
    });
    wait::until("the gateway to be ready", || {
        (http::get(gateway.control(), "/readyz").status == 200).then_some(())
    });
}

#[test]
fn over_http_a_full_disk_is_status_507() {
    if let Err(error) = on_a_small_disk(fill_over_http) {
        println!("skipped: a small disk cannot be mounted here ({error}); root may");
    }
}

fn fill_over_http(disk: &Disk) {
    let setup = Setup::default().http().flag("message-bytes", "1MiB");
    let gateway = setup
        .flag("user-rate-bytes", "0B")
        .start_on(&disk.folder().join("data"));
    let alice = Api::of(&gateway).user("alice");
    let data = "A".repeat(500_000);
    let media = json!({"type": "a/b", "data": data});
    let body = json!({"user": "bob", "media": media}).to_string();
    // A segment holds 130 of them.
    let sent = (0..1_000).map(|_| alice.ask("POST", "/api/v1/send", Some(&body)));
    let refused = { sent }.find(|answer| answer.status != 200);
    let refused = refused.expect("the disk fills up");
    assert_eq!(problem(&refused), (507, 116), "{refused:?}");
    let rtm = json!({"targetID": "bob", "encodedMedia": data}).to_string();
    let again = alice.ask("POST", "/api/v1/rtm.send", Some(&rtm));
    assert_eq!(problem(&again), (507, 116));
    let asked = json!({"conversation": "u:alice:bob", "limit": 1});
    let read = Api::of(&gateway).user("bob").post("history", &asked);
    assert_eq!(read["messages"].as_array().map(Vec::len), Some(1));
    disk.resize(LARGE);
    wait::until("sends to succeed again", || {
        (alice.ask("POST", "/api/v1/send", Some(&body)).status == 200).then_some(())
    });
}

/// The disk of media is another one than that of the store, so the store knows nothing of it.
#[test]
fn a_full_disk_of_media_is_told_as_one() {
    if let Err(error) = on_a_small_disk(fill_with_media) {
        println!("skipped: a small disk cannot be mounted here ({error}); root may");
    }
}

fn fill_with_media(disk: &Disk) {
    let media = disk.folder().join("media");
    let setup = Setup::default().http().flag("media", media.display());
    let gateway = setup.start();
    let alice = Api::of(&gateway).user("alice");
    let file = "x".repeat(20 << 20);
    let upload = || alice.ask("POST", "/api/v1/media", Some(&file));
    // The disk has 100 MiB.
    let refused = (0..10).map(|_| upload()).find(|one| one.status != 201);
    let refused = refused.expect("the disk fills up");
    assert_eq!(problem(&refused), (507, 116));
    let line = gateway.logged("media cannot be kept or read now");
    assert!(line.contains("No space left"), "{line}");
    alice.post(
        "send",
        &json!({"user": "bob", "text": "the store has room"}),
    );
    disk.resize(LARGE);
    assert_eq!(upload().status, 201);
}

/// Runs a test in a folder on a small disk of its own, or prints why there is none.
fn on_a_small_disk(test: fn(&Disk)) -> Result<(), Errno> {
    // The mount must not reach the other tests' threads.
    let thread = std::thread::spawn(move || {
        let folder = tempfile::tempdir().expect("a folder can be made");
        alone::mounts()?;
        Disk::mount(folder.path(), SMALL).map(|disk| test(&disk))
    });
    match thread.join() {
        Ok(Err(error)) if !matches!(error, Errno::EPERM | Errno::EACCES | Errno::ENOSYS) => {
            panic!("mounting a small disk: {error}")
        }
        Ok(mounted) => mounted,
        Err(panicked) => std::panic::resume_unwind(panicked),
    }
}

/// Sends large messages until one is refused, and returns how many were taken.
fn fill(alice: &mut Client, media: &Value) -> u64 {
    // A hundred are more than a segment holds.
    for stored in 0..100 {
        let reply = alice.ask("send", &json!({"user": "bob", "media": media}));
        if !reply["send"].is_object() {
            assert_eq!(trunkline_tests::client::error_code(&reply), 116);
            return stored;
        }
        assert_eq!(reply["send"]["seq"], stored + 1);
    }
    panic!("the disk does not fill up");
}

fn check_refused(gateway: &Gateway, alice: &mut Client, bob: &mut Client, stored: u64) {
    let conversation = "u:alice:bob";
    // A small one may still fit behind the last large one; a large one never does.
    for _ in 0..3 {
        let data = "A".repeat(4 << 20);
        assert_eq!(
            alice.refused(
                "send",
                &json!({"user": "bob", "media": {"type": "a/b", "data": data}})
            ),
            116
        );
    }
    let page = bob.done(
        "history",
        &json!({"conversation": conversation, "limit": 1}),
    );
    assert_eq!(page["last"], stored);
    assert_eq!(page["messages"][0]["seq"], stored);
    let one = bob.done("get", &json!({"conversation": conversation, "seq": 1}));
    assert_eq!(one["message"]["seq"], 1);
    assert_eq!(
        bob.done("sync", &json!({"since": "0", "limit": 1}))["more"],
        true
    );
    let (health, ready) = (
        http::get(gateway.control(), "/healthz"),
        http::get(gateway.control(), "/readyz"),
    );
    assert_eq!(
        (health.status, health.body.contains("full")),
        (200, true),
        "{health:?}"
    );
    assert_eq!(
        (ready.status, ready.body.contains("full")),
        (503, true),
        "{ready:?}"
    );
    for answer in [&health.body, &ready.body] {
        assert!(answer.contains("MiB are free"), "{answer}");
    }
    assert_eq!(gateway.metric("trunkline_store_writable"), 0.0);
    let line = gateway.logged("the disk is full");
    for word in ["free_bytes=", "reserve_bytes=268435456", "store_reserve"] {
        assert!(line.contains(word), "{line}");
    }
}

fn fill_and_heal(disk: &Disk) {
    let setup = Setup::default().flag("message-bytes", "8MiB");
    let mut gateway = setup.start_on(&disk.folder().join("data"));
    // The reserve is taken before anything is sent: that is said while there is time.
    let line = gateway.logged("cannot make the next segment");
    assert!(line.contains("reserve_bytes=268435456"), "{line}");
    let ready = http::get(gateway.control(), "/readyz");
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(ready.body.contains("refused soon"), "{ready:?}");
    let mut alice = gateway.dial().shard(0).connect("alice", "phone");
    let mut bob = gateway.dial().shard(1).connect("bob", "phone");
    let media = json!({"type": "a/b", "data": "A".repeat(4 << 20)});
    let mut stored = fill(&mut alice, &media);
    assert!(stored > 5, "a segment holds more than that: {stored}");
    check_refused(&gateway, &mut alice, &mut bob, stored);
    // Small things, until not even they fit: then watermarks are refused too, and stay.
    wait::until("the last bytes to be filled", || {
        let reply = alice.ask("send", &json!({"user": "bob", "text": "x".repeat(60_000)}));
        stored += u64::from(reply["send"].is_object());
        reply["error"].is_object().then_some(())
    });
    wait::until("the last gap to be filled", || {
        let reply = alice.ask("send", &json!({"user": "bob", "text": ""}));
        stored += u64::from(reply["send"].is_object());
        reply["error"].is_object().then_some(())
    });
    let marks = json!({"conversation": "u:alice:bob", "read": stored});
    assert_eq!(bob.refused("ack", &marks), 116);
    assert_eq!(
        bob.refused("ack", &marks),
        116,
        "what was refused did not happen"
    );
    drop((alice, bob));
    gateway.stop();
    // It starts without room, too.
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    assert_eq!(
        alice.refused("send", &json!({"user": "bob", "media": media})),
        116
    );
    // The log says once a second what has changed: a disk that was full for less may go untold.
    gateway.logged("the disk is full: nothing is stored");

    disk.resize(LARGE);
    wait::until("sends to succeed again", || {
        let reply = alice.ask("send", &json!({"user": "bob", "media": media}));
        // Nothing that was refused took a sequence.
        reply["send"]
            .is_object()
            .then(|| assert_eq!(reply["send"]["seq"], stored + 1))
    });
    gateway.logged("the store takes messages again");
    let log = gateway.process().stderr();
    let told = log.matches("the disk is full: nothing is stored").count();
    assert_eq!(told, 1, "a change is told once: {log}");
    bob.push_of("message");
    bob.ack("u:alice:bob", &json!({"read": stored}));
    let receipt = alice.push_of("receipt");
    assert_eq!(
        (&receipt["user"], &receipt["read"]),
        (&json!("bob"), &json!(stored))
    );
    assert_eq!(http::get(gateway.control(), "/readyz").status, 200);
    gateway.kill();
    gateway.start_again();
    let mut bob = gateway.dial().connect("bob", "phone");
    let page = bob.done(
        "history",
        &json!({"conversation": "u:alice:bob", "limit": 1}),
    );
    assert_eq!(page["last"], stored + 1);
    gateway.stop();
}
