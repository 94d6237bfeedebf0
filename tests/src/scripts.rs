//! The interpreters that `tests/run` sets up for clients in other languages.

use std::process::Command;

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
