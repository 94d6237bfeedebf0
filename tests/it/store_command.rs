//! `trunkline store`: tools for a store that no gateway has open.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::process::{Exit, Process, program};
use trunkline_tests::wait;

/// Runs a tool on a folder.
pub(super) fn store(tool: &str, data: &Path, flags: &[&str]) -> Exit {
    let mut command = Command::new(program());
    command.args(["store", tool, "--data"]).arg(data);
    Process::start(command.args(flags).env_remove("TRUNKLINE_DATA")).ended()
}

/// A tool must have ended with `code`, and its standard error must contain each of `words`.
pub(super) fn check(exit: &Exit, code: i32, words: &[&str]) {
    assert_eq!(exit.status.code(), Some(code), "{exit:?}");
    for word in words {
        let said = exit.stdout.contains(word) || exit.stderr.contains(word);
        assert!(said, "{word:?} is not in {exit:?}");
    }
}

/// Returns the records that `dump` prints.
pub(super) fn dump(data: &Path, flags: &[&str]) -> Vec<Value> {
    let exit = store("dump", data, flags);
    check(&exit, 0, &[]);
    assert_eq!(exit.stderr, "", "{exit:?}");
    let lines = exit.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

/// Starts a gateway that does not store `last_seen` until it stops.
fn start() -> Gateway {
    Setup::default().flag("last-seen-rate", 0).start()
}

/// Starts a gateway whose segments have room for some 30 messages of 4 KB.
pub(super) fn small_segments() -> Gateway {
    Setup::default()
        .flag("last-seen-rate", 0)
        .flag("message-bytes", "16KiB")
        .flag("segment-bytes", "144KiB")
        .flag("store-reserve", "0B")
        .start()
}

/// Makes a store with three messages and a receipt, which no gateway has open.
fn stored() -> Gateway {
    let mut gateway = start();
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

/// A file as the file system knows it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FileState {
    path: PathBuf,
    bytes: u64,
    changed: SystemTime,
}

/// Returns the state of every file in a folder, by path.
fn files(data: &Path) -> Vec<FileState> {
    let entries = std::fs::read_dir(data).expect("the folder is there");
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("the folder can be read").path();
            let meta = path.metadata().expect("the file is there");
            FileState {
                path,
                bytes: meta.len(),
                changed: meta.modified().expect("this system keeps it"),
            }
        })
        .collect();
    files.sort();
    files
}

pub(super) fn inspect(data: &Path) -> Value {
    let exit = store("inspect", data, &["--json"]);
    check(&exit, 0, &[]);
    serde_json::from_str(&exit.stdout).expect("it is JSON")
}

/// Returns the path of the first segment of the log.
pub(super) fn log(data: &Path) -> (PathBuf, File) {
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
    let bytes: u64 = before.iter().map(|file| file.bytes).sum();
    assert_eq!(found["bytes"], bytes);
    // The segment that is written, and the prepared next one.
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
    // A slow machine says every few seconds how far it is.
    let mut said = exit.stderr.lines();
    assert!(
        said.all(|line| line.starts_with("checked ")),
        "no bar without a terminal: {exit:?}"
    );
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
fn a_running_gateway_is_not_repaired() {
    let gateway = start();
    let data = gateway.data();
    let exit = store("repair", data, &[]);
    let words = [data.to_str().expect("UTF-8"), "running gateway", "stop it"];
    check(&exit, 1, &words);
    assert_eq!(exit.stdout, "", "{exit:?}");
    let mut alice = gateway.dial().connect("alice", "phone");
    assert_eq!(alice.send("bob", "undisturbed")["seq"], 1);
}

#[test]
fn a_running_gateway_is_looked_at_while_it_works() {
    let setup = Setup::default().flag("message-bytes", "16KiB");
    let setup = setup.flag("segment-bytes", "144KiB");
    let mut gateway = setup.flag("store-reserve", "0B").start();
    let over = Arc::new(AtomicBool::new(false));
    let sender = {
        let (over, dial) = (Arc::clone(&over), gateway.dial());
        std::thread::spawn(move || {
            let mut alice = dial.connect("alice", "phone");
            let mut sent = 0;
            while !over.load(Ordering::SeqCst) {
                alice.send("bob", &"x".repeat(3_000));
                sent += 1;
            }
            sent
        })
    };
    wait::until("runs to be made", || {
        (gateway.metric("trunkline_store_runs") > 0.0).then_some(())
    });
    let data = gateway.data();
    const LIVE: &str = "a gateway has this store open";
    for _ in 0..5 {
        check(&store("inspect", data, &[]), 0, &[LIVE, "last record"]);
        assert_eq!(inspect(data)["live"], true);
        check(
            &store("verify", data, &[]),
            0,
            &[LIVE, "ok: nothing is damaged"],
        );
        let exit = store("dump", data, &["--limit", "200"]);
        check(&exit, 0, &[LIVE]);
        assert!(!exit.stdout.contains(LIVE) && exit.stdout.lines().count() > 30);
        check(
            &store("repair", data, &["--dry-run"]),
            0,
            &["nothing to repair"],
        );
    }
    over.store(true, Ordering::SeqCst);
    let sent = sender.join().expect("it sends");
    let mut alice = gateway.dial().connect("alice", "phone");
    assert_eq!(alice.send("bob", "undisturbed")["seq"], sent + 1);
    gateway.stop();
    assert_eq!(inspect(gateway.data())["live"], false);
}

/// Mounts a folder once more elsewhere, read-only, for this thread and its children alone.
fn mount_read_only(folder: &Path, at: &Path) -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    let bind = MsFlags::MS_BIND;
    mount(Some(folder), at, None::<&str>, bind, None::<&str>)?;
    let read_only = bind | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, at, None::<&str>, read_only, None::<&str>)
}

#[test]
fn a_store_on_a_read_only_mount_is_read() {
    let gateway = stored();
    let data = gateway.data().to_owned();
    // The mount must not reach the other tests' threads.
    let thread = std::thread::spawn(move || {
        let at = tempfile::tempdir().expect("a folder can be made");
        mount_read_only(&data, at.path())?;
        assert!(
            File::create(at.path().join("new")).is_err(),
            "it is read-only"
        );
        check(&store("inspect", at.path(), &[]), 0, &["4 records"]);
        check(
            &store("verify", at.path(), &[]),
            0,
            &["ok: nothing is damaged"],
        );
        assert_eq!(dump(at.path(), &[]).len(), 4);
        check(
            &store("repair", at.path(), &["--dry-run"]),
            0,
            &["nothing to repair"],
        );
        check(
            &store("repair", at.path(), &[]),
            1,
            &["Read-only file system"],
        );
        Ok(())
    });
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error @ (Errno::EPERM | Errno::EACCES | Errno::ENOSYS))) => {
            println!("skipped: nothing can be mounted here ({error}); root may");
        }
        Ok(Err(error)) => panic!("mounting a folder read-only: {error}"),
        Err(panicked) => std::panic::resume_unwind(panicked),
    }
}

#[test]
fn what_is_no_store_is_refused_and_not_made() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let missing = folder.path().join("typo");
    for tool in ["inspect", "verify", "dump", "repair"] {
        let exit = store(tool, folder.path(), &[]);
        check(&exit, 1, &["no store in this folder", "--data"]);
        assert_eq!(files(folder.path()), [], "{tool}");
        let exit = store(tool, &missing, &[]);
        check(&exit, 1, &["typo", "No such file"]);
        assert_eq!(exit.stderr.matches("No such file").count(), 1, "{exit:?}");
        assert!(!missing.exists(), "{tool}");
        let mut command = Command::new(program());
        command.args(["store", tool]).env_remove("TRUNKLINE_DATA");
        let exit = Process::start(&mut command).ended();
        check(&exit, 2, &["--data"]);
        check(&store(tool, &missing, &["--fast"]), 2, &["--fast"]);
    }
}

#[test]
fn records_that_are_no_events_have_their_names() {
    let mut gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.done("contacts", &json!({"add": ["bob"]}));
    drop(alice);
    gateway.stop();
    let lines = dump(gateway.data(), &[]);
    let kinds: Vec<_> = lines.iter().map(|line| &line["kind"]).collect();
    assert_eq!(kinds, ["contacts", "last_seen"], "{lines:?}");
}

#[test]
fn every_record_is_a_line() {
    let mut gateway = start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "tablet");
    let sent = alice.done(
        "send",
        &json!({"user": "bob", "key": "k-1", "text": "hé \"x\""}),
    );
    let media = json!({"type": "image/png", "data": "AAH/"});
    bob.done(
        "send",
        &json!({"user": "alice", "key": "k-2", "media": media}),
    );
    bob.ack("u:alice:bob", &json!({"read": 1}));
    bob.send("carol", "other");
    assert_eq!(alice.pos(), "0", "connected to an empty store");
    drop((alice, bob));
    gateway.stop();
    let data = gateway.data();
    let before = files(data);
    let lines = dump(data, &[]);
    let [text, image, receipt, other] = &lines[..] else {
        panic!("{lines:?}");
    };
    // Hashes have the store's own key.
    let ids = text["fanout_ids"].as_array().expect("a list");
    let timeline = text["timeline"].as_str().expect("hex");
    assert_eq!((ids.len(), timeline.len()), (2, 32));
    let shown = json!({
        "position": 4096, "kind": "message", "seq": 1, "conversation": "u:alice:bob",
        "from": "alice", "device": "phone", "key": "k-1", "text": "hé \"x\"",
        "time": sent["time"], "timeline": timeline, "fanout": 2, "fanout_ids": ids,
        "key_id": text["key_id"],
    });
    assert_eq!(*text, shown);
    let shown = json!({"type": "image/png", "data": "AAH/", "size": 3});
    assert_eq!(image["media"]["data"], shown["data"], "{image}");
    assert_eq!(image["media"]["type"], shown["type"], "{image}");
    assert_eq!((&image["from"], &image["seq"]), (&json!("bob"), &json!(2)));
    assert_eq!(receipt["kind"], "receipt");
    let marks = json!([{"user": "bob", "delivered": 1, "read": 1, "told": [0, 1]}]);
    assert_eq!(receipt["marks"], marks);
    assert_eq!(receipt["seq"], Value::Null, "no entry of the conversation");
    assert_eq!(other["conversation"], "u:bob:carol");

    assert_eq!(dump(data, &["--conversation", "u:alice:bob"]), lines[..3]);
    assert_eq!(dump(data, &["--conversation", "u:bob:carol"]), lines[3..]);
    assert_eq!(
        dump(data, &["--conversation", "u:bob:zed"]),
        [Value::Null; 0]
    );
    assert_eq!(dump(data, &["--timeline", timeline]), lines[..3]);
    assert_eq!(dump(data, &["--user", "alice"]), lines[..3]);
    assert_eq!(dump(data, &["--user", "carol"]), lines[3..]);
    assert_eq!(dump(data, &["--user", "bob", "--limit", "2"]), lines[..2]);
    let after = image["position"].to_string();
    assert_eq!(dump(data, &["--after", &after]), lines[2..]);
    assert_eq!(
        dump(data, &["--after", "4096", "--limit", "1"]),
        lines[1..2]
    );
    assert_eq!(dump(data, &["--limit", "0"]), [Value::Null; 0]);
    // Bob's watermarks, and where each of the three takes part.
    let states = dump(data, &["--states"]);
    assert_eq!(states.len(), 4, "{states:?}");
    assert!(states.iter().any(|state| state["key"] == *timeline));
    assert_eq!(files(data), before, "nothing was changed");
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for flags in [
        &["--conversation", "u:bob:alice"][..],
        &["--user", "a:b"],
        &["--timeline", "12"],
        &["--timeline", "+0000000000000000000000000000000"],
        &["--user", "a", "--states"],
        &["--after", "soon"],
        &["--states", "--after", "7"],
    ] {
        check(&store("dump", folder.path(), flags), 2, &[flags[0]]);
    }
}

#[test]
fn what_is_damaged_is_left_out_and_named() {
    let gateway = stored();
    let lines = dump(gateway.data(), &[]);
    let second = lines[1]["position"].as_u64().expect("a number");
    let (path, log) = log(gateway.data());
    log.write_all_at(b"?", second + 30).expect("room");
    let exit = store("dump", gateway.data(), &[]);
    let said = format!("damaged at offset {second}");
    check(
        &exit,
        1,
        &["left out", path.to_str().expect("UTF-8"), &said],
    );
    let rest: Value = serde_json::from_str(&exit.stdout).expect("one line");
    assert_eq!(rest, lines[0], "what is before it");
}

#[test]
fn a_reader_may_have_enough() {
    let mut gateway = start();
    let mut alice = gateway.dial().connect("alice", "phone");
    // More than a pipe holds.
    alice.send_all("bob", (0..200).map(|i| format!("{i}").repeat(500)));
    drop(alice);
    gateway.stop();
    let mut command = Command::new(program());
    command
        .args(["store", "dump", "--data"])
        .arg(gateway.data());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it can be started");
    let mut first = String::new();
    let out = child.stdout.take().expect("it is a pipe");
    let mut out = BufReader::new(out);
    out.read_line(&mut first).expect("there are lines");
    drop(out);
    let exit = child.wait_with_output().expect("it can be waited for");
    assert!(exit.status.success(), "{exit:?}");
    assert_eq!(exit.stderr, b"", "{exit:?}");
    assert!(first.contains("\"seq\":1,"), "{first}");
}

#[test]
fn a_repair_gives_up_what_is_damaged_and_no_more() {
    let mut gateway = stored();
    check(
        &store("repair", gateway.data(), &[]),
        0,
        &["nothing to repair"],
    );
    let lines = dump(gateway.data(), &[]);
    let second = lines[1]["position"].as_u64().expect("a number");
    let (path, log) = log(gateway.data());
    log.write_all_at(b"?", second + 30).expect("room");
    let before = files(gateway.data());
    let path = path.to_str().expect("UTF-8");
    let offset = format!("offset {second}");
    let exit = store("repair", gateway.data(), &["--dry-run"]);
    check(&exit, 1, &["would repair 1 fault", path, &offset]);
    assert_eq!(files(gateway.data()), before, "nothing was changed");
    let exit = store("repair", gateway.data(), &[]);
    let words = ["repaired 1 fault", path, &offset, "damaged-", "ok: nothing"];
    check(&exit, 0, &words);
    let copies = inspect(gateway.data())["copies"].take();
    assert_eq!(copies[0]["bytes"], 64 << 20, "{copies}");
    check(&store("verify", gateway.data(), &[]), 0, &["3 records"]);
    let rest = dump(gateway.data(), &[]);
    assert_eq!(rest, [&lines[..1], &lines[2..]].concat());
    gateway.start_again();
    let mut bob = gateway.dial().connect("bob", "phone");
    let history = bob.done("history", &json!({"conversation": "u:alice:bob"}));
    let texts = history["messages"].as_array().expect("a list").iter();
    let texts: Vec<&Value> = texts.map(|message| &message["text"]).collect();
    assert_eq!(texts, ["one", "three"]);
    assert_eq!(bob.send("alice", "four")["seq"], 4);
}

#[test]
fn what_is_in_runs_is_told_checked_and_dumped_too() {
    let mut gateway = small_segments();
    let mut alice = gateway.dial().connect("alice", "phone");
    let text = "x".repeat(4_000);
    for i in 0..120 {
        alice.send(["bob", "carol"][i % 2], &text);
    }
    wait::until("segments to become runs", || {
        let waiting = gateway.metric("trunkline_store_waiting_segments");
        let runs = gateway.metric("trunkline_store_runs");
        (waiting == 0.0 && runs > 3.0).then_some(())
    });
    drop(alice);
    gateway.stop();
    let data = gateway.data();
    let found = inspect(data);
    let runs = found["runs"].as_array().expect("a list").iter();
    let runs: Vec<&Value> = runs.filter(|run| run["kind"] == "messages").collect();
    let entries = runs.iter().filter_map(|run| run["entries"].as_u64());
    let stored = entries.sum::<u64>() + found["log"]["records"].as_u64().expect("a number");
    assert_eq!(stored, 120, "{found}");
    assert!(runs[0]["last_time"].as_u64() > Some(1_700_000_000_000));
    let words = ["runs of", "messages", "syncs", "(UTC)"];
    check(&store("inspect", data, &[]), 0, &words);
    check(&store("verify", data, &[]), 0, &["120 records"]);
    let all = dump(data, &[]);
    assert_eq!(all.len(), 120);
    let seqs = |lines: &[Value]| -> Vec<u64> {
        let seqs = lines.iter().filter_map(|line| line["seq"].as_u64());
        seqs.collect()
    };
    let in_order: Vec<u64> = (1..=60).collect();
    let of_bob = dump(data, &["--conversation", "u:alice:bob"]);
    assert_eq!(seqs(&of_bob), in_order);
    assert_eq!(dump(data, &["--user", "bob"]), of_bob);
    assert_eq!(dump(data, &["--user", "alice"]).len(), 120);
    let after = of_bob[49]["position"].to_string();
    let rest = dump(data, &["--conversation", "u:alice:bob", "--after", &after]);
    assert_eq!(rest, of_bob[50..]);

    let damage = |name: &str, at: u64| {
        let damaged = data.join(name);
        let file = OpenOptions::new().write(true).open(&damaged);
        let file = file.expect("the file is there");
        file.write_all_at(b"???", at).expect("it is longer");
        damaged.to_str().expect("UTF-8").to_owned()
    };
    // The runs name the records. The segments have them.
    let run = damage(runs[0]["file"].as_str().expect("a name"), 10);
    check(&store("verify", data, &[]), 1, &["DAMAGED", &run]);
    assert_eq!(dump(data, &[]).len(), 120);
    assert!(found["kept"]["segments"].as_u64() > Some(1), "{found}");
    let segment = damage("log-0000000000000000.seg", 5_000);
    check(&store("verify", data, &[]), 1, &["DAMAGED", &segment, &run]);
    let exit = store("dump", data, &[]);
    check(&exit, 1, &["left out", &segment]);
    let lost = 120 - exit.stdout.lines().count();
    assert!((1..40).contains(&lost), "{lost}");
}

#[test]
fn what_is_beyond_repair_does_not_look_repaired() {
    let gateway = stored();
    for file in ["identity", "identity.copy"] {
        // There may be no copy.
        let _ = std::fs::remove_file(gateway.data().join(file));
    }
    let before = files(gateway.data());
    for flags in [&["--dry-run"][..], &[]] {
        let exit = store("repair", gateway.data(), flags);
        check(&exit, 1, &["identity", "cannot be repaired", "backup"]);
        assert_eq!(files(gateway.data()), before, "nothing was changed");
    }
    check(&store("verify", gateway.data(), &[]), 1, &["identity"]);
}
