//! The load generator program.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGXFSZ;

fn main() -> ExitCode {
    // A file over the limit of the process (ulimit -f) is an error of writing it, as on a full
    // disk, and not the end of the program. Without the handler only that is lost.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    trunkline_loadgen::run(std::env::args_os())
}
