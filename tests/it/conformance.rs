//! The Autobahn test suite for RFC 6455, against the echo path, which uses the production framing.

use std::process::Command;

use trunkline_tests::gateway::Setup;
use trunkline_tests::process::workspace;

/// Sections 1 to 7, 9 and 10 of the suite; there is no 8, and 11 to 13 are about compression,
/// which the gateway does not offer.
const CASES: usize = 301;

#[test]
fn autobahn() {
    let Ok(suite) = std::env::var("TRUNKLINE_TEST_AUTOBAHN") else {
        println!(
            "skipped: TRUNKLINE_TEST_AUTOBAHN names no folder that tests/conformance/setup has \
             filled; tests/run makes one and sets it"
        );
        return;
    };
    // The suite's largest messages have 16 MiB.
    let gateway = Setup::default().flag("message-bytes", "32MiB").start();
    let report = tempfile::tempdir().unwrap();
    let run = Command::new("bash")
        .arg(workspace().join("tests/conformance/run"))
        .arg(suite)
        .arg(format!("ws://{}/v1/echo", gateway.ws()))
        .arg(report.path())
        .env("LIMIT_S", "900")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    // NON-STRICT cases count as passed to the script, not here.
    assert!(!said.contains("NON-STRICT"), "{said}");
    let passed = format!("{CASES} passed, 0 failed");
    assert!(said.lines().any(|line| line == passed), "{said}");
    println!("{said}");
}
