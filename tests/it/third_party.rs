//! Clients that are not ours.

use std::process::Command;

use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::process::{Process, workspace};
use trunkline_tests::tls::Authority;

/// The command that chats with Python's `websockets`, without the address.
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn chat() -> Option<Command> {
    let Ok(python) = std::env::var("TRUNKLINE_TEST_PYTHON") else {
        println!(
            "skipped: TRUNKLINE_TEST_PYTHON names no Python with the packages of \
             tests/clients/requirements.txt; tests/run makes one and sets it"
        );
        return None;
    };
    let mut chat = Command::new(python);
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

/// The same through another TLS, that of OpenSSL.
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
