//! The interpreters that `tests/run` sets up for clients in other languages.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Returns a command that starts Python with the packages of `tests/clients/requirements.txt`.
///
/// `None`, with a line that says so, where `TRUNKLINE_TEST_PYTHON` does not name one.
pub fn python() -> Option<Command> {
    from("TRUNKLINE_TEST_PYTHON", "tests/clients/requirements.txt")
}

/// Returns a command that starts Node.js with the packages of `examples/package.json`.
///
/// `None`, with a line that says so, where `TRUNKLINE_TEST_NODE` does not name one.
pub fn node() -> Option<Command> {
    from("TRUNKLINE_TEST_NODE", "examples/package.json")
}

/// Returns what a file in YAML says; `None`, with a line that says so, where Python has nothing that reads YAML.
///
/// # Panics
/// There is no such file, or it is no YAML.
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
pub fn yaml(file: &Path) -> Option<Value> {
    let mut python = python()?;
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let file = File::open(file).expect("the file");
    let output = python.args(["-c", script]).stdin(file).output();
    let output = output.expect("Python can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("No module named 'yaml'") {
        println!("skipped: no PyYAML (pip has it; tests/run installs it)");
        return None;
    }
    assert!(output.status.success(), "{error}");
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn from(variable: &str, packages: &str) -> Option<Command> {
    match std::env::var(variable) {
        Ok(program) => Some(Command::new(program)),
        Err(_) => {
            println!(
                "skipped: {variable} does not name an interpreter with the packages of {packages}; \
                 tests/run sets it"
            );
            None
        }
    }
}
