//! Clients of other projects chat through a gateway.

use std::process::Command;

use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::process::{Process, workspace};
use trunkline_tests::scripts;
use trunkline_tests::tls::Authority;

/// Returns the command that chats with Python's `websockets`, without the address. `None` where
/// Python is missing.
fn chat() -> Option<Command> {
    let mut chat = scripts::python()?;
    chat.arg(workspace().join("tests/clients/chat.py"));
    Some(chat)
}

#[test]
fn websockets_from_pypi() {
    let Some(mut chat) = chat() else { return };
    let gateway = Gateway::start();
    chat.arg(format!("ws://{}/v1/ws", gateway.ws()));
    let exit = Process::start(&mut chat).ended();
    assert!(exit.status.success() && exit.stdout == "ok\n", "{exit:#?}");
}

/// A Python client chats over TLS with OpenSSL.
#[test]
fn websockets_from_pypi_with_tls() {
    let Some(mut chat) = chat() else { return };
    let authority = Authority::new();
    let files = authority.issue("server");
    let gateway = Setup::default().tls(&files, &authority.trust()).start();
    chat.env("SSL_CERT_FILE", authority.root());
    chat.arg(format!("wss://{}/v1/ws", gateway.ws()));
    let exit = Process::start(&mut chat).ended();
    assert!(exit.status.success() && exit.stdout == "ok\n", "{exit:#?}");
}
