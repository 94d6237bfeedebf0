//! A disk that fails to sync: nothing more is stored, reads go on, nothing acknowledged is lost.

use std::process::Command;

use serde_json::json;
use trunkline_tests::gateway::Gateway;
use trunkline_tests::process::Process;
use trunkline_tests::{http, wait};

/// Makes every call of the gateway to the system with this name fail with this error, until the result is killed,
/// or says why that is not possible.
pub(super) fn fail(gateway: &Gateway, call: &str, error: &str) -> Result<Process, &'static str> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-p", &gateway.process().id().to_string()]);
    let (trace, inject) = (
        format!("trace={call}"),
        format!("inject={call}:error={error}"),
    );
    strace.args(["-e", &trace, "-e", &inject]);
    if Command::new("strace").arg("-V").output().is_err() {
        return Err("strace is missing");
    }
    let process = Process::start(&mut strace);
    let attached = wait::until("strace to attach", || {
        let said = process.stderr();
        let refused = said.contains("Operation not permitted");
        (refused || said.contains("attached")).then_some(!refused)
    });
    if attached {
        Ok(process)
    } else {
        Err("strace may not attach here; root may")
    }
}

#[test]
fn a_failed_sync_stops_the_store_for_good() {
    let mut gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    for i in 0..20 {
        alice.send("bob", &format!("stored {i}"));
        bob.push_of("message");
    }
    let mut strace = match fail(&gateway, "fdatasync", "EIO") {
        Ok(strace) => strace,
        Err(reason) => {
            println!("skipped: {reason}");
            return;
        }
    };
    let request = json!({"user": "bob", "text": "lost", "key": "k"});
    assert_eq!(alice.refused("send", &request), 115);
    strace.kill();

    // The disk works again, but what the kernel has dropped is not known: no second try.
    assert_eq!(alice.refused("send", &request), 115);
    let (health, ready) = (
        http::get(gateway.control(), "/healthz"),
        http::get(gateway.control(), "/readyz"),
    );
    assert_eq!((health.status, ready.status), (503, 503));
    assert!(health.body.contains("the store failed"), "{}", health.body);
    assert_eq!(gateway.metric("trunkline_store_writable"), 0.0);
    let history = bob.done("history", &json!({"conversation": "u:alice:bob"}));
    assert_eq!(history["last"], json!(20), "nothing undurable is readable");
    assert_eq!(bob.waiting(), [json!(null); 0], "nor pushed");

    gateway.ask_to_stop();
    let exit = gateway.ended();
    assert_eq!(exit.status.code(), Some(1), "{}", exit.stderr);
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let again = alice.done("send", &request);
    let kept = again["duplicate"] == json!(true);
    assert_eq!(again["seq"], json!(21), "{again}");
    let history = bob.done("history", &json!({"conversation": "u:alice:bob"}));
    assert_eq!(
        history["last"],
        json!(21),
        "stored once, kept before: {kept}"
    );
    let texts = history["messages"].as_array().expect("messages");
    assert_eq!(texts[19]["text"], json!("stored 19"));
    assert_eq!(texts[20]["text"], json!("lost"));
}
