//! The load generator program.

use std::process::ExitCode;

fn main() -> ExitCode {
    trunkline_loadgen::run(std::env::args_os())
}
