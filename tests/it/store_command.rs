//! `trunkline store`: the tools for a store that no gateway has open.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::{Value, json};
use trunkline_tests::gateway::Gateway;
use trunkline_tests::process::{Exit, Process, program};

/// Runs a tool on a folder.
fn store(tool: &str, data: &Path, flags: &[&str]) -> Exit {
    let mut command = Command::new(program());
    command.args(["store", tool, "--data"]).arg(data);
    Process::start(command.args(flags).env_remove("TRUNKLINE_DATA")).ended()
}

/// It must end with `code` and say each of `words`.
fn check(exit: &Exit, code: i32, words: &[&str]) {
    assert_eq!(exit.status.code(), Some(code), "{exit:?}");
    for word in words {
        let said = exit.stdout.contains(word) || exit.stderr.contains(word);
        assert!(said, "{word:?} is not in {exit:?}");
    }
}

/// Three messages and a receipt, in a store that was closed.
fn stored() -> Gateway {
    let mut gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "tablet");
    for text in ["one", "two", "three"] {
        alice.done("send", &json!({"user": "bob", "key": text, "text": text}));
    }
    bob.ack("u:alice:bob", &json!({"read": 2}));
    drop((alice, bob));
    gateway.stop();
    gateway
}

/// Every file with its size and the time of its last change.
fn files(data: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let entries = std::fs::read_dir(data).expect("the folder is there");
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("the folder can be read").path();
            let meta = path.metadata().expect("the file is there");
            let changed = meta.modified().expect("this system keeps it");
            (path, meta.len(), changed)
        })
        .collect();
    files.sort();
    files
}

fn inspect(data: &Path) -> Value {
    let exit = store("inspect", data, &["--json"]);
    check(&exit, 0, &[]);
    serde_json::from_str(&exit.stdout).expect("it is JSON")
}

/// The log's first segment.
fn log(data: &Path) -> (PathBuf, File) {
    let path = data.join("log-0000000000000000.seg");
    let file = OpenOptions::new().read(true).write(true).open(&path);
    (path, file.expect("the log begins there"))
}

#[test]
fn what_a_gateway_wrote_is_told_and_checked_and_not_changed() {
    let gateway = stored();
    let data = gateway.data();
    let before = files(data);
    let found = inspect(data);
    assert_eq!(found["log"]["records"], 4, "{found}");
    assert_eq!(found["log"]["torn"], false, "{found}");
    assert_eq!(found["faults"], json!([]), "{found}");
    assert_eq!(found["files"], before.len());
    let bytes: u64 = before.iter().map(|file| file.1).sum();
    assert_eq!(found["bytes"], bytes);
    // The one that is written, and the one that is ready.
    let segments = found["segments"].as_array().expect("a list");
    assert_eq!(segments.len(), 2, "{found}");
    assert_eq!(segments[0]["used"], found["log"]["to"]);
    assert_eq!(segments[1]["used"], 0);
    let words = [
        data.to_str().expect("UTF-8"),
        "4 records",
        "64.00 MiB",
        "ready",
        "free",
    ];
    check(&store("inspect", data, &[]), 0, &words);
    let exit = store("verify", data, &[]);
    check(&exit, 0, &["4 records", "ok: nothing is damaged"]);
    assert_eq!(exit.stderr, "", "no bar without a terminal");
    assert_eq!(files(data), before, "nothing was changed");
}

#[test]
fn damage_is_named_with_file_and_offset() {
    let gateway = stored();
    let (path, log) = log(gateway.data());
    // In the first record, behind the header of the segment.
    let mut byte = [0];
    log.read_exact_at(&mut byte, 4096 + 50).expect("it is long");
    log.write_all_at(&[byte[0] ^ 1], 4096 + 50).expect("room");
    let before = files(gateway.data());
    let path = path.to_str().expect("UTF-8");
    let words = [path, "at offset 4096", "1 fault", "backup", "store repair"];
    check(&store("verify", gateway.data(), &[]), 1, &words);
    let words = ["DAMAGED", "log-0000000000000000.seg", "4096"];
    check(&store("inspect", gateway.data(), &[]), 1, &words);
    assert_eq!(files(gateway.data()), before, "nothing was changed");
}

#[test]
fn an_unfinished_end_is_no_damage() {
    let mut gateway = stored();
    let end = inspect(gateway.data())["log"]["to"].as_u64();
    let end = end.expect("a position");
    let (_, log) = log(gateway.data());
    log.write_all_at(b"TRKR and half a record", end)
        .expect("room");
    let said = format!("position {end}");
    let words = ["torn end", &said, "ok: nothing is damaged"];
    check(&store("verify", gateway.data(), &[]), 0, &words);
    check(&store("inspect", gateway.data(), &[]), 0, &["torn end"]);
    assert_eq!(inspect(gateway.data())["log"]["torn"], true);
    // The next start does what was said.
    gateway.start_again();
    gateway.stop();
    let copies = inspect(gateway.data())["copies"].take();
    assert_eq!(copies[0]["bytes"], 24, "{copies}");
    check(&store("inspect", gateway.data(), &[]), 0, &["copies  "]);
}

#[test]
fn a_running_gateway_is_left_alone() {
    let gateway = Gateway::start();
    let data = gateway.data();
    for tool in ["inspect", "verify"] {
        let exit = store(tool, data, &[]);
        let words = [data.to_str().expect("UTF-8"), "running gateway", "stop it"];
        check(&exit, 1, &words);
        assert_eq!(exit.stdout, "", "{exit:?}");
    }
    let mut alice = gateway.dial().connect("alice", "phone");
    assert_eq!(alice.send("bob", "undisturbed")["seq"], 1);
}

#[test]
fn what_is_no_store_is_refused_and_not_made() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let missing = folder.path().join("typo");
    for tool in ["inspect", "verify"] {
        let exit = store(tool, folder.path(), &[]);
        check(&exit, 1, &["no store in this folder", "--data"]);
        assert_eq!(files(folder.path()), [], "{tool}");
        let exit = store(tool, &missing, &[]);
        check(&exit, 1, &["typo", "No such file"]);
        assert!(!missing.exists(), "{tool}");
        let mut command = Command::new(program());
        command.args(["store", tool]).env_remove("TRUNKLINE_DATA");
        let exit = Process::start(&mut command).ended();
        check(&exit, 2, &["--data"]);
        check(&store(tool, &missing, &["--fast"]), 2, &["--fast"]);
    }
}
