//! The index for searches: what is in its files, and what becomes of it after crashes and damage.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use trunkline_search::words_in;
use trunkline_tests::api::Api;
use trunkline_tests::client::Client;
use trunkline_tests::gateway::Gateway;
use trunkline_tests::wait;

use super::search::{has_thread, indexed, search, setup, texts};

fn folder(gateway: &Gateway) -> PathBuf {
    gateway.data().join("search")
}

/// Waits until the files of the index have, or have not, a word.
fn words(gateway: &Gateway, what: &str, is_right: impl Fn(&BTreeSet<String>) -> bool) {
    wait::until(what, || {
        // The files change while they are read.
        let words = words_in(&folder(gateway)).ok()?;
        is_right(&words).then_some(())
    });
}

#[test]
fn words_of_messages_that_are_gone_leave_the_files() {
    let gateway = setup().flag("search-purge", "1s").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut mallory = gateway.dial().connect("mallory", "phone");
    let said = |client: &mut Client, text: &str| client.send("bob", text)["seq"].clone();
    let recalled = said(&mut alice, "kiwi recalled");
    let edited = said(&mut alice, "plum edited");
    said(&mut alice, "stays");
    let short = json!({"user": "bob", "text": "melon expires", "ttl": "1s"});
    alice.done("send", &short);
    said(&mut mallory, "grape erased");
    let all = ["kiwi", "plum", "grape", "stays"];
    words(&gateway, "all are indexed", |words| {
        all.iter().all(|word| words.contains(*word))
    });
    let about = json!({"conversation": "u:alice:bob", "seq": recalled});
    alice.done("recall", &about);
    let edit = json!({"conversation": "u:alice:bob", "seq": edited, "text": "new"});
    alice.done("edit", &edit);
    let path = "/admin/v1/users/mallory?namespace=";
    let answer = Api::admin(&gateway).ask("DELETE", path, None);
    assert_eq!(answer.status, 202, "{answer:?}");
    words(&gateway, "the words are gone", |words| {
        let gone = [
            "kiwi", "recalled", "plum", "edited", "melon", "grape", "erased",
        ];
        words.contains("stays")
            && words.contains("new")
            && !gone.iter().any(|word| words.contains(*word))
    });
    // The whole folder, for what is in no word of the index.
    for entry in std::fs::read_dir(folder(&gateway)).expect("a folder") {
        let bytes = std::fs::read(entry.expect("an entry").path()).unwrap_or_default();
        for word in ["kiwi", "plum", "melon", "grape", "stays"] {
            let has = bytes
                .windows(word.len())
                .any(|part| part == word.as_bytes());
            assert!(!has || word == "stays", "{word}");
        }
    }
}

#[test]
fn after_kills_nothing_is_missing_and_nothing_is_there_twice() {
    const MESSAGES: usize = 10_000;
    let mut gateway = setup().flag("durability", "os").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let texts: Vec<String> = (0..MESSAGES)
        .map(|number| format!("needle w{number}"))
        .collect();
    for (round, texts) in texts.chunks(MESSAGES / 5).enumerate() {
        alice.send_all("bob", texts.iter().cloned());
        // In the middle of the work of the index, or between two commits.
        if round % 2 == 1 {
            wait::until("the index has begun", || {
                (gateway.metric("trunkline_search_messages") > 0.0).then_some(())
            });
        }
        gateway.kill();
        gateway.start_again();
        alice = gateway.dial().connect("alice", "phone");
    }
    indexed(&mut alice, "alice", 1);
    let found = search(&mut alice, &json!({"text": "needle", "limit": 500}));
    let seqs: Vec<u64> = found
        .iter()
        .filter_map(|message| message["seq"].as_u64())
        .collect();
    let expected: Vec<u64> = (1..=MESSAGES as u64).rev().collect();
    assert!(seqs == expected, "{} found", seqs.len());
    for number in [0, 1, 4_999, MESSAGES - 1] {
        let found = search(&mut alice, &json!({"text": format!("w{number}")}));
        assert_eq!(found.len(), 1, "{number}");
    }
    let messages = gateway.metric("trunkline_search_messages");
    assert_eq!(
        messages,
        MESSAGES as f64 + 1.0,
        "each once, with the marker"
    );
    assert_eq!(gateway.metric("trunkline_search_rebuilds_total"), 0.0);
}

/// Stops a gateway, does something to its index, and starts it again. Returns whether the index was made anew.
fn between(gateway: &mut Gateway, change: impl FnOnce(&Path)) -> bool {
    gateway.stop();
    change(&folder(gateway));
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    wait::until("searches are answered", || {
        (gateway.metric("trunkline_search_ready") == 1.0).then_some(())
    });
    assert_eq!(texts(&mut alice, "needle"), ["needle two", "needle one"]);
    gateway.metric("trunkline_search_rebuilds_total") == 1.0
}

fn file_with(folder: &Path, extension: &str) -> PathBuf {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found = paths.filter(|path| path.extension().is_some_and(|own| own == extension));
    found.next().expect("such a file")
}

#[test]
fn an_index_that_cannot_be_used_is_made_anew() {
    let mut gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "needle one");
    alice.send("bob", "needle two");
    indexed(&mut alice, "alice", 1);
    drop(alice);
    assert!(!between(&mut gateway, |_| {}), "it goes on");
    assert!(between(&mut gateway, |folder| {
        std::fs::remove_dir_all(folder).expect("a folder");
    }));
    assert!(between(&mut gateway, |folder| {
        let file = file_with(folder, "term");
        let mut bytes = std::fs::read(&file).expect("a file");
        bytes[0] ^= 1;
        std::fs::write(&file, bytes).expect("a file");
    }));
    assert!(between(&mut gateway, |folder| {
        std::fs::write(file_with(folder, "idx"), b"").expect("a file");
    }));
    assert!(between(&mut gateway, |folder| {
        let file = folder.join("meta.json");
        let text = std::fs::read_to_string(&file).expect("a file");
        // The version in what the commit says about itself.
        let other = text.replace("\\\"version\\\":1", "\\\"version\\\":999");
        assert_ne!(text, other, "{text}");
        std::fs::write(&file, other).expect("a file");
    }));
    assert!(between(&mut gateway, |folder| {
        std::fs::write(folder.join("meta.json"), "{").expect("a file");
    }));
    assert!(!between(&mut gateway, |_| {}), "it goes on");
}

#[test]
fn a_restored_backup_gets_an_index_of_its_own() {
    let mut gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "needle one");
    alice.send("bob", "needle two");
    indexed(&mut alice, "alice", 1);
    let backup = gateway.data().with_file_name("backup");
    let order = json!({"target": backup}).to_string();
    let admin = Api::admin(&gateway);
    let begun = admin.ask("POST", "/admin/v1/backup", Some(&order));
    assert_eq!(begun.status, 202, "{begun:?}");
    wait::until("the backup is complete", || {
        let shown = admin.done("GET", "/admin/v1/backup", None);
        (shown["state"] == "complete").then_some(())
    });
    assert!(!backup.join("search").exists());
    // What the backup does not have is in the index, which an operator may copy to the restored store.
    alice.send("bob", "needle three");
    indexed(&mut alice, "alice", 2);
    drop(alice);
    let is_new = between(&mut gateway, |folder| {
        let data = folder.parent().expect("the data folder");
        let index = data.with_file_name("index");
        std::fs::rename(folder, &index).expect("a folder");
        std::fs::remove_dir_all(data).expect("a folder");
        std::fs::rename(&backup, data).expect("a folder");
        std::fs::rename(&index, folder).expect("a folder");
    });
    assert!(is_new);
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "needle other");
    indexed(&mut alice, "alice", 3);
    assert_eq!(texts(&mut alice, "needle")[0], "needle other");
    assert_eq!(texts(&mut alice, "three"), [""; 0]);
}

#[test]
fn turning_searches_off_removes_the_index() {
    let mut gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    indexed(&mut alice, "alice", 1);
    assert!(has_thread(&gateway, "search"));
    gateway.stop();
    let index = folder(&gateway);
    assert!(index.is_dir());
    let off = setup().flag("search", false).start_on(gateway.data());
    assert!(!index.exists());
    let mut alice = off.dial().connect("alice", "phone");
    assert_eq!(alice.refused("search", &json!({"text": "marker1"})), 104);
}

/// Returns a reserve with which messages find room, and the index not twice as much.
fn without_room() -> String {
    let probe = tempfile::tempdir().expect("a folder");
    let disk = nix::sys::statvfs::statvfs(probe.path()).expect("a disk");
    let free = disk.blocks_available() as u64 * disk.fragment_size() as u64;
    format!("{}MiB", (free >> 20) * 6 / 10)
}

#[test]
fn without_room_on_the_disk_the_index_stops_and_messages_go_on() {
    let mut gateway = setup().flag("store-reserve", without_room()).start();
    gateway.logged("the index for searching has stopped");
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "needle");
    assert!(gateway.metric("trunkline_search_failures_total") >= 1.0);
    assert_eq!(gateway.metric("trunkline_search_ready"), 0.0);
    let refused = alice.refused("search", &json!({"text": "needle"}));
    assert_eq!(refused, 115, "there was never an index");
    gateway.stop();
    let again = setup().start_on(gateway.data());
    let mut alice = again.dial().connect("alice", "phone");
    wait::until("the message is found", || {
        let found: Value = alice.ask("search", &json!({"text": "needle"}));
        (found["search"]["messages"][0]["text"] == "needle").then_some(())
    });
}

/// Returns a stopped gateway whose index has two messages, and a file of the index; `None` if strace is missing.
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn stopped() -> Option<(Gateway, PathBuf)> {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is missing");
        return None;
    }
    let mut gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "needle one");
    alice.send("bob", "needle two");
    indexed(&mut alice, "alice", 1);
    drop(alice);
    gateway.stop();
    let file = file_with(&folder(&gateway), "term");
    Some((gateway, file))
}

fn ready(gateway: &Gateway) {
    wait::until("searches are answered", || {
        (gateway.metric("trunkline_search_ready") == 1.0).then_some(())
    });
    let mut alice = gateway.dial().connect("alice", "phone");
    assert_eq!(texts(&mut alice, "needle"), ["needle two", "needle one"]);
}

#[test]
fn a_file_that_the_disk_does_not_return_makes_the_index_anew() {
    let Some((gateway, file)) = stopped() else {
        return;
    };
    let setup = setup().failing(&file, "pread64:error=EIO");
    let again = setup.start_on(gateway.data());
    ready(&again);
    assert_eq!(again.metric("trunkline_search_rebuilds_total"), 1.0);
    assert!(!file.exists());
}

#[test]
fn an_error_that_passes_leaves_the_index_as_it_is() {
    let Some((gateway, file)) = stopped() else {
        return;
    };
    let setup = setup().failing(&file, "openat:error=EMFILE:when=1");
    let again = setup.start_on(gateway.data());
    ready(&again);
    assert_eq!(again.metric("trunkline_search_failures_total"), 1.0);
    assert_eq!(again.metric("trunkline_search_rebuilds_total"), 0.0);
    assert!(file.exists());
}

#[test]
fn an_index_that_has_stopped_for_long_is_removed() {
    let mut gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "needle one");
    alice.send("bob", "needle two");
    indexed(&mut alice, "alice", 1);
    drop(alice);
    gateway.stop();
    let stopped = || setup().flag("store-reserve", without_room());
    let files = |gateway: &Gateway| {
        let entries = std::fs::read_dir(folder(gateway)).expect("a folder");
        entries.count()
    };
    let mut patient = stopped().start_on(gateway.data());
    wait::until("further tries", || {
        (patient.metric("trunkline_search_failures_total") >= 3.0).then_some(())
    });
    assert!(files(&gateway) > 3);
    patient.stop();
    let mut hasty = stopped()
        .flag("search-purge", "1s")
        .start_on(gateway.data());
    hasty.logged("the index for searching has stopped for longer than search_purge");
    wait::until("the files are removed", || {
        (files(&gateway) == 0).then_some(())
    });
    let mut alice = hasty.dial().connect("alice", "phone");
    alice.send("bob", "another one");
    assert_eq!(alice.refused("search", &json!({"text": "needle"})), 115);
    drop(alice);
    hasty.stop();
    let again = setup().start_on(gateway.data());
    ready(&again);
    assert_eq!(again.metric("trunkline_search_rebuilds_total"), 1.0);
}

#[test]
fn an_index_that_ends_the_gateway_is_made_anew_and_then_stays_off() {
    let mut gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "needle one");
    alice.send("bob", "needle two");
    indexed(&mut alice, "alice", 1);
    drop(alice);
    let died = |folder: &Path, deaths: &str| std::fs::write(folder.join("deaths"), deaths);
    assert!(!between(&mut gateway, |folder| died(folder, "1").expect("a file")));
    assert!(between(&mut gateway, |folder| died(folder, "2").expect("a file")));
    assert!(!between(&mut gateway, |_| {}), "once is enough");
    gateway.stop();
    died(&folder(&gateway), "2 anew").expect("a file");
    gateway.start_again();
    gateway.logged("again and again because of the index for searching");
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "needle three");
    assert_eq!(alice.refused("search", &json!({"text": "needle"})), 115);
    wait::until("the note to be left alone", || {
        let left = std::fs::read_dir(folder(&gateway)).expect("a folder");
        (left.count() == 1).then_some(())
    });
    drop(alice);
    gateway.stop();
    std::fs::remove_dir_all(folder(&gateway)).expect("a folder");
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    wait::until("the message is found", || {
        let found: Value = alice.ask("search", &json!({"text": "three"}));
        (found["search"]["messages"][0]["text"] == "needle three").then_some(())
    });
}
