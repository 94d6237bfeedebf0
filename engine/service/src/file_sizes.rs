//! The file size limit of the process (RLIMIT_FSIZE, getrlimit(2)).

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use signal_hook::consts::SIGXFSZ;

use crate::config::Config;

/// The name of the file that every folder of a store has.
const IDENTITY: &str = "identity";

/// Makes a write over the limit an error, as on a full disk. Without this the kernel ends the
/// process by a signal.
///
/// # Errors
/// The handler of the signal cannot be set.
pub(crate) fn survive() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Warns if a segment of the log does not fit under the limit.
///
/// # Errors
/// A segment does not fit, and the folder has no store yet, so nothing could be written.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let (limit, _) =
        getrlimit(Resource::RLIMIT_FSIZE).context("cannot read the file size limit")?;
    let segment = config.segment_bytes as u64;
    if limit == RLIM_INFINITY || limit >= segment {
        return Ok(());
    }
    if config.data.join(IDENTITY).exists() {
        tracing::warn!(
            limit,
            segment_bytes = segment,
            "the file size limit (ulimit -f) is below the size of a segment of the log: once the segment in use is full, messages are refused as on a full disk; raise the limit"
        );
        return Ok(());
    }
    anyhow::bail!(
        "cannot make a store in {}: the file size limit is {limit} bytes, and a segment of the log takes {segment}; raise the limit (`ulimit -f unlimited`, LimitFSIZE= in a systemd \
         unit), or lower segment_bytes",
        config.data.display()
    );
}
