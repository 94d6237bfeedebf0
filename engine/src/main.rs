//! The gateway program: see [`trunkline::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    trunkline::cli::run(std::env::args_os())
}
