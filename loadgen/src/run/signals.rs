//! Signals that end a run in order, with its results.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::exit::{Failure, Outcome};

/// Sets `stop` at SIGINT, at SIGTERM, and at SIGHUP unless the process was started to ignore that
/// (nohup(1)).
///
/// # Errors
/// The signal handlers cannot be installed.
pub(super) fn end_in_order(stop: &Arc<AtomicBool>) -> Outcome<()> {
    let hangs_up = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangs_up) {
        signal_hook::flag::register(signal, Arc::clone(stop)).map_err(|why| {
            Failure::aborted(format!(
                "cannot install the handlers of SIGINT, SIGTERM and SIGHUP: {why}"
            ))
        })?;
    }
    Ok(())
}

/// Returns whether this process was started to ignore a signal (proc(5), SigIgn).
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
