//! `trunkline store backup`: through a running gateway and without one, its refusals, and restores.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use trunkline_proto::Encoding;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http;
use trunkline_tests::process::{Exit, Process, program};
use trunkline_tests::wait;

use crate::load::{self, address_of};

/// Returns the command that makes a backup of a gateway's store.
fn command(gateway: &Gateway, target: &Path) -> Command {
    command_to(gateway, target, &gateway.control().to_string())
}

/// Returns the same command with another control port.
fn command_to(gateway: &Gateway, target: &Path, control: &str) -> Command {
    let mut command = Command::new(program());
    command.args(["store", "backup"]).arg(target);
    command.arg("--data").arg(gateway.data());
    command.args(["--control", control]);
    for name in ["TRUNKLINE_DATA", "TRUNKLINE_CONTROL"] {
        command.env_remove(name);
    }
    command
}

fn backup(gateway: &Gateway, target: &Path) -> Exit {
    Process::start(&mut command(gateway, target)).ended()
}

/// A backup must be complete. Returns the address of its last record.
fn check_complete(exit: &Exit) -> u64 {
    assert!(exit.status.success(), "{exit:?}");
    let last = exit.stdout.lines().last();
    let address = last.and_then(|line| line.strip_prefix("last record: position "));
    let address = address.unwrap_or_else(|| panic!("{exit:?}"));
    address.parse().expect("an address")
}

/// A backup must have been refused for a reason with these words.
fn check_refused(exit: &Exit, words: &[&str]) {
    assert_eq!(exit.status.code(), Some(1), "{exit:?}");
    for word in words {
        assert!(exit.stderr.contains(word), "{word:?} is not in {exit:?}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("the folder can be read").file_name();
        name.into_string().expect("UTF-8")
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

/// Copies a backup to a folder, as a person does who keeps the backup.
fn restore(backup: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder can be made");
    for name in names(backup) {
        fs::copy(backup.join(&name), to.join(&name)).expect("a file can be copied");
    }
}

fn verify(data: &Path) {
    let mut command = Command::new(program());
    command.args(["store", "verify", "--data"]).arg(data);
    let exit = Process::start(command.env_remove("TRUNKLINE_DATA")).ended();
    assert!(exit.status.success(), "{exit:?}");
}

/// A position must be refused with error 112 in `connect` and `sync`, in both encodings.
fn check_expired(gateway: &Gateway, user: &str, since: &Value) {
    for encoding in [Encoding::Json, Encoding::Proto] {
        let mut client = gateway.dial().encoding(encoding).open();
        let request = json!({"user": user, "device": "old", "since": since});
        assert_eq!(client.refused("connect", &request), 112, "{since}");
        client.done("connect", &json!({"user": user, "device": "old"}));
        let request = json!({"since": since});
        assert_eq!(client.refused("sync", &request), 112, "{since}");
    }
}

#[test]
fn a_backup_under_load_is_restored_after_a_kill() {
    let setup = || Setup::default().flag("segment-bytes", "2MiB");
    let mut gateway = setup().start();
    let folder = TempDir::new().expect("a folder can be made");
    let (target, restored) = (folder.path().join("backup"), folder.path().join("data"));
    // Full files, to be shared.
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send_all("bob", (0..150).map(|_| "x".repeat(60_000)));
    drop(alice);
    let (mut witness, mut cut) = (0, 0);
    let mut sent = load::until_the_end(&mut gateway, 0, 12_000, |gateway| {
        let mut client = gateway.dial().connect("witness", "phone");
        // Everything that was acknowledged up to now lies before this message.
        witness = address_of(&client.send("nobody", "before the backup"));
        cut = check_complete(&backup(gateway, &target));
        let complete = "trunkline_backups_total{result=\"ok\"}";
        assert_eq!(gateway.metric(complete), 1.0);
        assert!(gateway.metric("trunkline_backup_last_timestamp_seconds") > 1.6e9);
        gateway.logged("the backup of the store is complete");
        // The log grows on.
        let after = |_| address_of(&client.send("nobody", "after the backup"));
        let last = (0..50).map(after).last();
        assert!(last > Some(cut));
        gateway.kill();
    });
    assert!(cut >= witness, "{cut} is before {witness}");
    let lost: Vec<_> = sent
        .iter_mut()
        .flat_map(|sent| sent.forget_after(cut))
        .collect();
    assert!(lost.len() > 10, "{} messages after the backup", lost.len());
    let is_full = |name: &&String| name.ends_with(".seg") || name.ends_with(".tbl");
    let files = names(&target);
    assert!(files.iter().filter(is_full).count() > 2, "{files:?}");
    for folder in [&target, gateway.data()] {
        verify(folder);
    }

    restore(&target, &restored);
    let mut gateway = setup().start_on(&restored);
    let mut all_sent = vec![sent];
    load::check(&gateway, &all_sent);
    let check_lost = |gateway: &Gateway| {
        for reply in lost.iter().step_by(lost.len().div_ceil(5)) {
            check_expired(gateway, "receiver0", &reply["pos"]);
        }
    };
    check_lost(&gateway);
    // A client whose position was refused catches up.
    let mut reader = gateway.dial().connect("receiver0", "old");
    let conversation = json!({"conversation": "u:receiver0:sender0", "limit": 1});
    let page = reader.done("history", &conversation);
    let before = page["last"].as_u64().expect("a sequence");
    let mut sender = gateway.dial().connect("sender0", "other");
    let next = sender.send("receiver0", "after the restore");
    assert_eq!(next["seq"], before + 1, "sequences go on");
    assert_eq!(reader.push_of("message")["text"], "after the restore");
    let recalled = json!({"conversation": "u:receiver0:sender0", "seq": before + 1});
    sender.done("recall", &recalled);
    drop((reader, sender));
    let since = next["pos"].as_str().expect("a position");
    let mut reader = gateway.dial().since(since).connect("receiver0", "old");
    assert_eq!(reader.opening()["recovered"], true);
    reader.push_of("recall");
    drop(reader);
    // The log grows over the addresses that are lost.
    let enough = 2 * lost.len() as u64 + 1_000;
    all_sent.push(load::until_the_end(&mut gateway, 1, enough, Gateway::kill));
    gateway.start_again();
    let end = all_sent[1].iter_mut().map(|sent| sent.forget_after(0));
    let end = end.flatten().map(|reply| address_of(&reply)).max();
    assert!(
        end > lost.iter().map(address_of).max(),
        "it grows too little"
    );
    check_lost(&gateway);
    verify(&target);
}

#[test]
fn a_device_does_not_resume_beyond_a_restored_backup() {
    let mut gateway = Gateway::start();
    let folder = TempDir::new().expect("a folder can be made");
    let (target, restored) = (folder.path().join("backup"), folder.path().join("data"));
    let resume = |gateway: &Gateway| {
        let phone = gateway.dial().with("resume", true).connect("bob", "phone");
        let recovered = phone.opening()["recovered"] == true;
        (phone, recovered)
    };
    let (phone, _) = resume(&gateway);
    phone.close();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "before");
    check_complete(&backup(&gateway, &target));
    alice.send("bob", "after");
    let (mut phone, recovered) = resume(&gateway);
    assert!(recovered);
    for text in ["before", "after"] {
        assert_eq!(phone.push_of("message")["text"], text);
    }
    phone.close();
    drop(alice);
    gateway.kill();
    // The message after the backup has the sequence that the phone knows for another text.
    restore(&target, &restored);
    let mut gateway = Setup::default().start_on(&restored);
    let mut alice = gateway.dial().connect("alice", "phone");
    assert_eq!(alice.send("bob", "instead")["seq"], 2);
    let (phone, recovered) = resume(&gateway);
    assert!(!recovered, "the phone must read the history");
    phone.close();
    drop(alice);
    // From then on it resumes as before, also after a restart.
    gateway.stop();
    gateway.start_again();
    let (phone, recovered) = resume(&gateway);
    assert!(recovered);
    phone.close();
}

#[test]
fn without_a_gateway_the_tool_makes_the_backup() {
    let mut gateway = Gateway::start();
    gateway
        .dial()
        .connect("alice", "phone")
        .send_all("bob", (0..50).map(|i| format!("text {i}")));
    gateway.kill();
    let folder = TempDir::new().expect("a folder can be made");
    let target = folder.path().join("backup");
    // A path counts from the folder of the tool.
    let mut relative = command(&gateway, Path::new("backup"));
    check_complete(&Process::start(relative.current_dir(folder.path())).ended());
    assert_eq!(names(folder.path()), ["backup"]);
    verify(&target);
    gateway.start_again();
    let restored = Setup::default().start_on(&target);
    for gateway in [&gateway, &restored] {
        let mut bob = gateway.dial().connect("bob", "phone");
        let request = json!({"conversation": "u:alice:bob", "limit": 100});
        assert_eq!(bob.done("history", &request)["last"], 50);
    }
}

#[test]
fn what_cannot_be_done_is_said_with_what_to_do() {
    let mut gateway = Gateway::start();
    let other = Gateway::start();
    let folder = TempDir::new().expect("a folder can be made");
    let full = folder.path().join("full");
    fs::create_dir(&full).expect("a folder can be made");
    fs::write(full.join("letter"), "dear").expect("a file can be written");
    let inside = gateway.data().join("backup");
    let missing = folder.path().join("missing/backup");
    // The gateway and the tool refuse the same.
    for is_running in [true, false] {
        if !is_running {
            gateway.stop();
        }
        for (target, words) in [
            (&full, "name a folder that does not exist yet"),
            (&inside, "name a folder outside"),
            (&missing, "make it first"),
        ] {
            check_refused(&backup(&gateway, target), &[words]);
        }
    }
    gateway.start_again();
    let failed = "trunkline_backups_total{result=\"failed\"}";
    assert_eq!(gateway.metric(failed), 0.0);
    check_refused(&backup(&gateway, &full), &["exists"]);
    assert_eq!(gateway.metric(failed), 1.0);
    gateway.logged("the backup of the store failed");
    // The control port of another gateway, or of nothing.
    let target = folder.path().join("backup");
    for (control, words) in [
        (other.control().to_string(), "serves another store"),
        (other.ws().to_string(), "is no control port"),
        ("127.0.0.1:1".to_owned(), "nothing answers"),
    ] {
        let exit = Process::start(&mut command_to(&gateway, &target, &control)).ended();
        check_refused(&exit, &[words, "give --control the address"]);
    }
    let nothing = TempDir::new().expect("a folder can be made");
    let mut command = Command::new(program());
    command.args(["store", "backup"]).arg(&target);
    command.arg("--data").arg(nothing.path());
    let exit = Process::start(&mut command).ended();
    check_refused(&exit, &["there is no store", "give --data the folder"]);
    assert_eq!(names(folder.path()), ["full"]);
    assert_eq!(names(&full), ["letter"]);
}

#[test]
fn the_control_port_makes_backups_only_for_who_may_read_the_folder() {
    let gateway = Gateway::start();
    let folder = TempDir::new().expect("a folder can be made");
    let target = folder.path().join("backup");
    let body = json!({"target": target}).to_string();
    let address = gateway.control();
    let ask = |method: &str, proof: &str, body: &str| {
        let request = format!(
            "{method} /backup HTTP/1.1\r\nHost: {address}\r\n{proof}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        http::exchange(address, request.as_bytes())
    };
    let zeros = format!("Authorization: Bearer {}\r\n", "0".repeat(32));
    for proof in [
        "",
        "Authorization: \r\n",
        "Authorization: Bearer\r\n",
        &zeros,
    ] {
        for (method, body) in [("POST", &*body), ("GET", "")] {
            let answer = ask(method, proof, body);
            assert_eq!(answer.status, 401, "{proof:?} {answer:?}");
            assert!(answer.body.contains("trunkline store backup"), "{answer:?}");
        }
    }
    assert_eq!(ask("PUT", "", &body).status, 405);
    assert_eq!(ask("POST", "", &"x".repeat(17 << 10)).status, 413);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn one_backup_is_made_at_a_time() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    // The copy of the last segment takes many pieces, each with a rest.
    alice.send_all("bob", (0..400).map(|_| "x".repeat(50_000)));
    let folder = TempDir::new().expect("a folder can be made");
    let targets: Vec<PathBuf> = (0..4)
        .map(|number| folder.path().join(format!("backup-{number}")))
        .collect();
    let started: Vec<_> = targets
        .iter()
        .map(|target| Process::start(&mut command(&gateway, target)))
        .collect();
    let mut complete = Vec::new();
    for (mut process, target) in started.into_iter().zip(&targets) {
        let exit = process.ended();
        if exit.status.success() {
            verify(target);
            complete.extend(target.file_name().and_then(|name| name.to_str()));
        } else {
            check_refused(&exit, &["is making a backup in", "wait for its end"]);
        }
    }
    assert!((1..4).contains(&complete.len()), "{complete:?}");
    assert_eq!(names(folder.path()), complete);
}

#[test]
fn a_gateway_that_ends_leaves_no_backup_that_looks_complete() {
    let folder = TempDir::new().expect("a folder can be made");
    let (target, partial) = (
        folder.path().join("backup"),
        folder.path().join("backup.partial"),
    );
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut gateway = Gateway::start();
        let mut alice = gateway.dial().connect("alice", "phone");
        alice.send_all("bob", (0..400).map(|_| "x".repeat(50_000)));
        drop(alice);
        let mut order = Process::start(&mut command(&gateway, &target));
        wait::until("a backup to begin", || partial.exists().then_some(()));
        gateway.process().signal(signal);
        gateway.ended();
        let exit = order.ended();
        let is_complete = target.exists();
        match (is_complete, signal) {
            // It was faster than the signal.
            (true, _) => verify(&target),
            (false, Signal::SIGTERM) => {
                assert!(!exit.status.success(), "{exit:?}");
                assert!(names(folder.path()).is_empty(), "{exit:?}");
            }
            (false, _) => {
                assert!(!exit.status.success(), "{exit:?}");
                assert_eq!(names(folder.path()), ["backup.partial"]);
                let there = names(&partial);
                assert!(!there.iter().any(|name| name == "identity"), "{there:?}");
            }
        }
        // The next backup uses the name again.
        if is_complete {
            fs::remove_dir_all(&target).expect("the folder can be removed");
        }
        check_complete(&backup(&gateway, &target));
        assert_eq!(names(folder.path()), ["backup"]);
        verify(&target);
        fs::remove_dir_all(&target).expect("the folder can be removed");
    }
}

/// Runs a test in a thread with a disk of 4 MiB, which only that thread and its children see.
fn with_small_disk(test: impl FnOnce(&Path) + Send + 'static) -> Result<(), Errno> {
    let thread = std::thread::spawn(move || {
        let folder = tempfile::tempdir().expect("a folder can be made");
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none)?;
        let (kind, size) = (Some("tmpfs"), Some("size=4m"));
        mount(kind, folder.path(), kind, MsFlags::empty(), size)?;
        test(folder.path());
        Ok(())
    });
    thread
        .join()
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
}

/// A service may have a private /tmp: what it puts there is lost with its next stop.
#[test]
fn a_backup_that_only_the_gateway_sees_is_an_error() {
    let done = with_small_disk(|disk| {
        // The gateway sees the folder, and the tool the disk over it.
        let gateway = Gateway::start();
        let own = |test: &dyn Fn()| in_its_own_view(disk, test);
        own(&|| {
            let exit = backup(&gateway, &disk.join("one"));
            check_refused(&exit, &["another folder", "private /tmp", "/var/backups"]);
            // What is there for the tool alone is no backup.
            fs::create_dir_all(disk.join("two/kept")).expect("a folder can be made");
            check_refused(&backup(&gateway, &disk.join("two")), &["another folder"]);
        });
        verify(&disk.join("one"));
        assert_eq!(names(disk), ["one", "two"]);
        check_complete(&backup(&gateway, &disk.join("three")));
    });
    if let Err(error) = done {
        println!("skipped: no disk can be mounted here ({error})");
    }
}

/// Runs a part of a test in a thread whose own children see an empty folder in the place of another one.
fn in_its_own_view(folder: &Path, part: &dyn Fn()) {
    unshare(CloneFlags::CLONE_NEWNS).expect("it was possible before");
    let kind = Some("tmpfs");
    let none = None::<&str>;
    mount(kind, folder, kind, MsFlags::empty(), none).expect("it was possible before");
    part();
    nix::mount::umount(folder).expect("nobody uses it");
}

#[test]
fn on_another_disk_a_backup_is_a_copy_and_a_full_one_is_told() {
    let done = with_small_disk(|disk| {
        let gateway = Gateway::start();
        let mut alice = gateway.dial().connect("alice", "phone");
        alice.send_all("bob", (0..40).map(|_| "x".repeat(10_000)));
        let exit = backup(&gateway, &disk.join("one"));
        check_complete(&exit);
        assert!(exit.stdout.contains("0 B shared"), "{exit:?}");
        verify(&disk.join("one"));
        alice.send_all("bob", (0..100).map(|_| "x".repeat(40_000)));
        let exit = backup(&gateway, &disk.join("two"));
        check_refused(
            &exit,
            &["no space for the backup", "are free", "on another disk"],
        );
        check_refused(&backup(&gateway, disk), &["exists"]);
        assert_eq!(names(disk), ["one"]);
        fs::remove_dir_all(disk.join("one")).expect("the folder can be removed");
        check_refused(
            &backup(&gateway, disk),
            &["is a mount point", "name a folder in it"],
        );
    });
    if let Err(error) = done {
        println!("skipped: a small disk cannot be mounted here ({error}); root may");
    }
}
