//! The programs in `examples/` do what their first lines say.

use std::io::Write;
use std::process::Command;

use trunkline_tests::gateway::Gateway;
use trunkline_tests::process::{Process, example, workspace};
use trunkline_tests::scripts;

/// Alice chats with the example, Bob with the client of the tests.
fn check_chat(mut chat: Command, address: impl FnOnce(&Gateway) -> String) {
    let gateway = Gateway::start();
    chat.args(["alice", "bob", &address(&gateway)]);
    let mut bob = gateway.dial().connect("bob", "phone");
    let (mut alice, mut typed) = Process::start_with_input(&mut chat);
    let line = alice.line().expect("a line that says who is connected");
    assert!(line.contains(r#""user":"alice""#), "{line}");

    typed
        .write_all(b"noon? \xc3\xa9\n")
        .expect("the chat reads");
    let message = bob.push_of("message");
    assert_eq!(
        (&message["from"], &message["text"]),
        (&"alice".into(), &"noon? é".into())
    );
    bob.send("alice", "at one");
    assert_eq!(alice.line().as_deref(), Some("bob: at one"));
    let receipt = bob.push_of("receipt");
    assert_eq!(
        (&receipt["user"], &receipt["read"]),
        (&"alice".into(), &2.into())
    );

    drop(typed);
    let exit = alice.ended();
    assert!(exit.status.success(), "{exit:#?}");
}

fn url(gateway: &Gateway) -> String {
    format!("ws://{}/v1/ws", gateway.ws())
}

#[test]
fn chat_in_python() {
    let Some(mut chat) = scripts::python() else {
        return;
    };
    chat.arg(workspace().join("examples/chat.py"));
    check_chat(chat, url);
}

#[test]
fn chat_in_javascript() {
    let Some(mut chat) = scripts::node() else {
        return;
    };
    chat.arg(workspace().join("examples/chat.js"));
    check_chat(chat, url);
}

#[test]
fn chat_in_rust() {
    check_chat(Command::new(example("chat")), |gateway| {
        gateway.ws().to_string()
    });
}

#[test]
fn a_store_in_a_program() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let data = folder.path().join("data");
    let store = example("embed_store");
    let say = |text: &str| {
        let exit = Process::start(Command::new(&store).arg(&data).arg(text)).ended();
        assert!(exit.status.success(), "{exit:#?}");
        exit.stdout
    };
    assert_eq!(say("noon?"), "1: noon?\nfor bob: 1 records, more: false\n");
    assert_eq!(
        say("at one"),
        "1: noon?\n2: at one\nfor bob: 2 records, more: false\n"
    );
}
