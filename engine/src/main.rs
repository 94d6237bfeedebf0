//! The gateway program: see [`trunkline::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    trunkline::cli::run_with_index(std::env::args_os(), &trunkline_search::WordIndex)
}
