//! Exports of a user: everything that the store has, as lines of JSON.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use trunkline_tests::api::{Api, problem};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

/// Returns the lines of an export. The last one must say that it is whole.
fn export(gateway: &Gateway, user: &str) -> Vec<Value> {
    let path = format!("/admin/v1/users/{user}/export");
    let answer = Api::admin(gateway).ask("POST", &path, None);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        answer
            .head
            .to_ascii_lowercase()
            .contains("content-type: application/x-ndjson")
    );
    let lines = answer.body.lines();
    let mut lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let end = lines.pop().expect("a last line");
    assert_eq!(
        (&end["kind"], &end["damaged"]),
        (&json!("end"), &json!(0)),
        "{end}"
    );
    let records = lines
        .iter()
        .filter(|line| line["position"].is_u64())
        .count();
    assert_eq!(end["records"], records);
    lines
}

fn of_kind<'l>(lines: &'l [Value], kind: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

#[test]
fn an_export_has_what_a_user_did_and_got_and_nothing_of_others() {
    let gateway = Setup::default().patient().start();
    let dial = gateway.dial();
    let mut alice = dial.connect("alice", "phone");
    let mut bob = dial.connect("bob", "phone");
    let mut carol = dial.connect("carol", "phone");
    let mut other = dial
        .clone()
        .with("namespace", "acme")
        .connect("bob", "phone");
    alice.done(
        "group_create",
        &json!({"group": "eng", "members": ["bob", "carol"]}),
    );
    for n in 0..20 {
        bob.send("alice", &format!("from bob {n}"));
    }
    alice.send("bob", "to bob");
    alice.send("carol", "secret of alice");
    carol.done("send", &json!({"group": "eng", "text": "to the group"}));
    other.send("alice", "another bob");
    alice.done(
        "react",
        &json!({"conversation": "u:alice:bob", "seq": 1, "reaction": "👍"}),
    );
    bob.ack("u:alice:bob", &json!({"read": 21}));
    bob.done("contacts", &json!({"add": ["carol"]}));
    // Who has bob as a contact is not bob's to know, nor are the other contacts.
    alice.done("contacts", &json!({"add": ["bob", "dave"]}));
    bob.done("group_leave", &json!({"group": "eng"}));
    bob.done("recall", &json!({"conversation": "u:alice:bob", "seq": 2}));
    let lines = export(&gateway, "bob");
    let messages = of_kind(&lines, "message");
    let sent = messages.iter().filter(|line| line["from"] == "bob").count();
    assert_eq!((messages.len(), sent), (22, 20));
    let text = serde_json::to_string(&lines).expect("JSON");
    for (words, is_there) in [
        ("from bob 19", true),
        ("to bob", true),
        ("to the group", true),
        ("from bob 1\"", false),
        ("secret of alice", false),
        ("another bob", false),
        ("dave", false),
    ] {
        assert_eq!(text.contains(words), is_there, "{words}");
    }
    for (kind, at_least) in [
        ("reaction", 1),
        ("receipt", 1),
        ("group", 2),
        ("recall", 1),
        ("contacts", 1),
    ] {
        assert!(of_kind(&lines, kind).len() >= at_least, "{kind}: {text}");
    }
    assert_eq!(of_kind(&lines, "contact")[0]["value"]["user"], "carol");
    assert_eq!(of_kind(&lines, "presence")[0]["value"]["online"], true);
    let conversations = of_kind(&lines, "conversation");
    assert_eq!(
        conversations[0]["value"]["conversation"], "u:alice:bob",
        "{text}"
    );
    // Somebody who is not there has nothing.
    let nobody = export(&gateway, "nobody");
    assert!(
        nobody.iter().all(|line| line["kind"] == "presence"),
        "{nobody:?}"
    );
    let bad = Api::admin(&gateway).ask("POST", "/admin/v1/users/b%20b/export", None);
    assert_eq!(problem(&bad), (400, 107));
}

/// A client that does not read holds an export, which takes little memory meanwhile; then it goes, and the
/// next export may run.
#[test]
fn one_export_runs_at_a_time() {
    let gateway = Setup::default().patient().start();
    let mut bob = gateway.dial().connect("bob", "phone");
    let text = "x".repeat(60_000);
    for _ in 0..400 {
        bob.send("alice", &text);
    }
    let mut slow = TcpStream::connect(gateway.control()).expect("it is open");
    let request = format!(
        "POST /admin/v1/users/bob/export HTTP/1.1\r\nHost: {}\r\n\r\n",
        gateway.control()
    );
    slow.write_all(request.as_bytes())
        .expect("the server reads");
    let mut first = [0; 1024];
    slow.read_exact(&mut first).expect("it begins");
    let before = gateway.metric("process_resident_memory_bytes");
    let admin = Api::admin(&gateway);
    let busy = admin.ask("POST", "/admin/v1/users/alice/export", None);
    assert_eq!(problem(&busy), (429, 111));
    let after = gateway.metric("process_resident_memory_bytes");
    assert!(after < before + 16e6, "{before} {after}");
    drop(slow);
    until("the export to end", || {
        let answer = admin.ask("POST", "/admin/v1/users/alice/export", None);
        (answer.status == 200).then_some(())
    });
}
