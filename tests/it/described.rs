//! The descriptions of the client API and of the admin API, `/openapi.json`: schemathesis, of the package of that name, sends
//! requests that it allows and requests that it does not, and compares the answers with them.

use std::process::Command;

use serde_json::json;
use tempfile::TempDir;
use trunkline_tests::gateway::Setup;
use trunkline_tests::process::Process;
use trunkline_tests::scripts;
use trunkline_tests::service;
use trunkline_tests::tokens::{Signer, claims_with, now};

/// The requests that are made up for each path, beside those for the edges of each field.
const EXAMPLES: &str = "8";

/// Returns a command that starts schemathesis. `None`, with a line that says so, where it is missing.
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn schemathesis() -> Option<Command> {
    let mut command = scripts::python()?;
    let exit = Process::start(command.args(["-c", "import schemathesis"])).ended();
    if !exit.status.success() {
        println!("skipped: no schemathesis (tests/clients/optional.txt); tests/run installs it");
        return None;
    }
    let mut command = scripts::python()?;
    command.args(["-m", "schemathesis.cli", "run"]);
    Some(command)
}

/// Lets a command play the description at this address, with these arguments besides.
fn play(mut command: Command, description: &str, more: &[&str]) -> String {
    let own = TempDir::with_prefix("trunkline-described-").expect("a folder can be made");
    command
        .current_dir(own.path())
        .arg(description)
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", EXAMPLES, "--seed", "1"])
        // Whether a request can be carried out depends on what is there.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args(["--suppress-health-check", "all", "--warnings", "off"])
        .args(["--continue-on-failure", "--no-shrink", "--no-color"])
        .args(["--request-timeout", "100"])
        .args(more);
    let exit = Process::start(&mut command).ended();
    assert!(exit.status.success(), "{}{}", exit.stdout, exit.stderr);
    exit.stdout
}

#[test]
fn answers_are_what_the_description_says() {
    let Some(command) = schemathesis() else {
        return;
    };
    let folder = service::folder();
    let signer = Signer::edwards();
    let key = signer.write(folder.path(), "key.pem");
    let gateway = Setup::default()
        .http()
        .tokens(&signer, &key)
        .flag("http-requests-per-user", 0)
        .flag("user-rate-messages", 0)
        .flag("user-rate-commands", 0)
        .start();
    let claims = claims_with(
        "alice",
        json!({"exp": now() + 3_600, "topics": {"publish": ["*"]}}),
    );
    let header = format!("Authorization: Bearer {}", signer.sign(&claims));
    let stdout = play(
        command,
        &format!("http://{}/openapi.json", gateway.http()),
        // A stream does not end.
        &["--header", &header, "--exclude-path", "/api/v1/events"],
    );
    // It has asked for each path, and got answers of both sorts.
    let count =
        |fault: &str| gateway.metric(&format!("trunkline_http_errors_total{{fault={fault:?}}}"));
    assert!(count("client") > 100.0, "{stdout}");
    assert_eq!(count("gateway"), 0.0);
    assert!(gateway.metric("trunkline_http_requests_total{route=\"command\"}") > 500.0);
}

#[test]
fn answers_of_the_admin_api_are_what_its_description_says() {
    let Some(command) = schemathesis() else {
        return;
    };
    let folder = service::folder();
    let signer = Signer::edwards();
    let key = signer.write(folder.path(), "key.pem");
    let gateway = Setup::default().tokens(&signer, &key).start();
    let mut alice = gateway.dial().open();
    let token = signer.sign(&claims_with("alice", json!({"exp": now() + 3_600})));
    alice.done("connect", &json!({"token": token, "device": "phone"}));
    let stdout = play(
        command,
        &format!("http://{}/admin/v1/openapi.json", gateway.control()),
        &[
            // A stream does not end.
            "--exclude-path",
            "/admin/v1/events",
            // A made-up folder would be written.
            "--exclude-path",
            "/admin/v1/backup",
        ],
    );
    for route in ["revoke", "disconnect", "sessions"] {
        let asked = gateway.metric(&format!(
            "trunkline_admin_requests_total{{route={route:?}}}"
        ));
        assert!(asked > 10.0, "{route}: {asked}\n{stdout}");
    }
}
