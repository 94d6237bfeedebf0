//! The description of the client API, `/openapi.json`: schemathesis, of the package of that name, sends
//! requests that it allows and requests that it does not, and compares the answers with it.

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

#[test]
fn answers_are_what_the_description_says() {
    let Some(mut command) = schemathesis() else {
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
    let token = signer.sign(&claims);
    let own = TempDir::with_prefix("trunkline-described-").expect("a folder can be made");
    command
        .current_dir(own.path())
        .arg(format!("http://{}/openapi.json", gateway.http()))
        .args(["--header", &format!("Authorization: Bearer {token}")])
        // A stream does not end.
        .args(["--exclude-path", "/api/v1/events"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", EXAMPLES, "--seed", "1"])
        // Whether a request can be carried out depends on what is there.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args(["--suppress-health-check", "all", "--warnings", "off"])
        .args(["--continue-on-failure", "--no-shrink", "--no-color"])
        .args(["--request-timeout", "100"]);
    let exit = Process::start(&mut command).ended();
    assert!(exit.status.success(), "{}{}", exit.stdout, exit.stderr);
    // It has asked for each path, and got answers of both sorts.
    let count =
        |fault: &str| gateway.metric(&format!("trunkline_http_errors_total{{fault={fault:?}}}"));
    assert!(count("client") > 100.0, "{}", exit.stdout);
    assert_eq!(count("gateway"), 0.0);
    assert!(gateway.metric("trunkline_http_requests_total{route=\"command\"}") > 500.0);
}
