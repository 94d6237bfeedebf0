//! Clients that are not ours.

use std::process::Command;

use trunkline_tests::gateway::Gateway;
use trunkline_tests::process::{Process, workspace};

#[test]
fn websockets_from_pypi() {
    let Ok(python) = std::env::var("TRUNKLINE_TEST_PYTHON") else {
        println!(
            "skipped: TRUNKLINE_TEST_PYTHON names no Python with the packages of \
             tests/clients/requirements.txt; tests/run makes one and sets it"
        );
        return;
    };
    let gateway = Gateway::start();
    let mut chat = Command::new(python);
    chat.arg(workspace().join("tests/clients/chat.py"));
    chat.arg(format!("ws://{}/v1/ws", gateway.ws()));
    let exit = Process::start(&mut chat).ended();
    assert!(exit.status.success() && exit.stdout == "ok\n", "{exit:#?}");
}
