//! A data folder is moved or removed while a gateway runs.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use trunkline_tests::api::{self, Api, problem};
use trunkline_tests::client::{Client, error_code};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::{http, wait};

/// Sends messages until one is refused with 115. Returns how many were stored.
fn until_refused(alice: &mut Client) -> u64 {
    let mut stored = 0;
    wait::until("messages to be refused", || {
        let reply = alice.ask("send", &json!({"user": "bob", "text": "x"}));
        if reply["send"].is_object() {
            stored += 1;
            return None;
        }
        assert_eq!(error_code(&reply), 115, "{reply}");
        assert_eq!(reply["error"]["temporary"], true, "{reply}");
        Some(())
    });
    stored
}

fn check_told(gateway: &Gateway, words: &str) {
    for path in ["/healthz", "/readyz"] {
        // The reason may be another one first, while one is removing.
        wait::until(words, || {
            let answer = http::get(gateway.control(), path);
            assert_eq!(answer.status, 503, "{path}: {answer:?}");
            answer.body.contains(words).then_some(())
        });
    }
    gateway.logged("the store's folder is missing");
    gateway.logged(words);
    assert_eq!(gateway.metric("trunkline_store_writable"), 0.0);
}

#[test]
fn a_lock_that_is_removed_lets_no_second_gateway_in() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "one");
    fs::remove_file(gateway.data().join("LOCK")).expect("there is one");
    let second = Setup::default().flag("data", gateway.data().display());
    let exit = second.run("serve");
    assert_eq!(exit.status.code(), Some(1), "{exit:?}");
    assert!(
        exit.stderr.contains("in use by another process"),
        "{exit:?}"
    );
    gateway.logged("somebody removed the lock file");
    assert!(gateway.data().join("LOCK").exists());
    assert_eq!(alice.send("bob", "two")["seq"], 2);
    assert_eq!(http::get(gateway.control(), "/readyz").status, 200);
}

#[test]
fn a_folder_that_is_removed_stops_the_acknowledging() {
    let mut gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "one");
    wait::until("all to be removed", || {
        let _ = fs::remove_dir_all(gateway.data());
        (!gateway.data().exists()).then_some(())
    });
    until_refused(&mut alice);
    check_told(&gateway, "moved or removed");
    let history = json!({"conversation": "u:alice:bob", "limit": 1});
    assert_eq!(alice.done("history", &history)["messages"][0]["text"], "x");
    gateway.ask_to_stop();
    assert_eq!(gateway.ended().status.code(), Some(1));
}

#[test]
fn a_folder_that_is_moved_and_put_back_goes_on() {
    let mut gateway = Gateway::start();
    let away = gateway.data().with_extension("away");
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "one");
    fs::rename(gateway.data(), &away).expect("it can be moved");
    let stored = until_refused(&mut alice);
    check_told(&gateway, "moved or removed");
    fs::rename(&away, gateway.data()).expect("it can be moved back");
    wait::until("the gateway to be ready", || {
        (http::get(gateway.control(), "/readyz").status == 200).then_some(())
    });
    gateway.logged("the store takes messages again");
    assert_eq!(alice.send("bob", "last")["seq"], stored + 2);
    gateway.kill();
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    let history = json!({"conversation": "u:alice:bob", "limit": 1});
    assert_eq!(alice.done("history", &history)["last"], stored + 2);
}

/// Uploads media until one is refused with 115. Returns the paths of those that were acknowledged.
fn uploads_until_refused(alice: &Api) -> Vec<String> {
    let mut kept = Vec::new();
    wait::until("uploads to be refused", || {
        let answer = alice.ask("POST", "/api/v1/media", Some("a file"));
        if answer.status != 201 {
            assert_eq!(problem(&answer), (503, 115));
            return Some(());
        }
        let url = &api::json(&answer)["url"];
        kept.push(url.as_str().expect("a path").to_owned());
        None
    });
    kept
}

/// Uploads make no folder anew where the old one was: it could not be put back.
#[test]
fn a_folder_that_is_moved_can_be_put_back_after_uploads() {
    let gateway = Setup::default().http().start();
    let away = gateway.data().with_extension("away");
    let alice = Api::of(&gateway).user("alice");
    fs::rename(gateway.data(), &away).expect("it can be moved");
    let kept = uploads_until_refused(&alice);
    assert!(!gateway.data().exists());
    gateway.logged("the store's folder is missing");
    fs::rename(&away, gateway.data()).expect("nothing is in its place");
    wait::until("the gateway to be ready", || {
        (http::get(gateway.control(), "/readyz").status == 200).then_some(())
    });
    let answer = alice.ask("POST", "/api/v1/media", Some("a file"));
    assert_eq!(answer.status, 201, "{answer:?}");
    for path in kept {
        let answer = alice.ask("GET", &path, None);
        assert_eq!((answer.status, &*answer.body), (200, "a file"), "{path}");
    }
}

#[test]
fn a_folder_that_is_removed_is_not_made_anew_by_uploads() {
    let gateway = Setup::default().http().start();
    let alice = Api::of(&gateway).user("alice");
    wait::until("all to be removed", || {
        let _ = fs::remove_dir_all(gateway.data());
        (!gateway.data().exists()).then_some(())
    });
    let kept = uploads_until_refused(&alice);
    assert!(kept.is_empty(), "{kept:?}");
    assert!(!gateway.data().exists());
}

/// Exports read the files by their folder. They show nothing of another store that somebody puts there.
#[test]
fn an_export_is_of_the_store_that_runs() {
    let gateway = Setup::default().patient().start();
    let own = json!({"user": "bob", "text": "of this store"});
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.done("send", &own);
    let mut other = Gateway::start();
    other
        .dial()
        .connect("alice", "phone")
        .send("bob", "foreign");
    other.stop();
    let export = || {
        let admin = Api::admin(&gateway);
        let answer = admin.ask("POST", "/admin/v1/users/alice/export", None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    assert!(export().contains("of this store"));
    let away = gateway.data().with_extension("away");
    fs::rename(gateway.data(), &away).expect("it can be moved");
    fs::rename(other.data(), gateway.data()).expect("it can be moved");
    let said = export();
    assert!(!said.contains("foreign"), "{said}");
    let last = said.lines().last().expect("a line");
    assert!(last.contains("\"kind\":\"error\""), "{last}");
}

#[test]
fn files_that_are_removed_stop_the_acknowledging() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "one");
    for entry in fs::read_dir(gateway.data()).expect("it is there") {
        match fs::remove_file(entry.expect("it can be read").path()) {
            // The store gives a file that it has completed its final name meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.expect("a file"),
        }
    }
    until_refused(&mut alice);
    check_told(&gateway, "log-0000000000000000.seg");
}

#[test]
fn what_the_gateway_writes_is_for_its_user_alone() {
    let mut gateway = Gateway::start();
    gateway
        .dial()
        .connect("alice", "phone")
        .send("bob", "secret");
    let mode = |path: &std::path::Path| {
        let meta = fs::metadata(path).expect("it is there");
        meta.permissions().mode() & 0o777
    };
    assert_eq!(mode(gateway.data()), 0o700);
    // A running store renames files.
    let log = gateway.stop().stderr;
    for entry in fs::read_dir(gateway.data()).expect("it is there") {
        let path = entry.expect("it can be read").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert!(!log.contains("other users"), "{log}");
    assert!(!log.contains("RecoveryReport"), "{log}");
    assert!(log.contains("created=true"), "{log}");
    // An operator may have reasons: it is said and left.
    fs::set_permissions(gateway.data(), fs::Permissions::from_mode(0o755)).expect("ours");
    gateway.start_again();
    let line = gateway.logged("other users of this machine");
    assert!(line.contains("0755"), "{line}");
    assert_eq!(mode(gateway.data()), 0o755);
}
