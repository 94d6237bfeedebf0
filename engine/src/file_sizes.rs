//! The file size limit of the process (RLIMIT_FSIZE, getrlimit(2)).

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use signal_hook::consts::SIGXFSZ;

use crate::config::Config;

/// The name that a store's folder has once there is a store.
const IDENTITY: &str = "identity";

/// Makes a write over the limit an error, as on a full disk: without this the kernel ends the
/// process by a signal.
///
/// # Errors
/// The signal cannot be watched.
pub(crate) fn survive() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Says when a segment of the log does not fit under the limit.
///
/// # Errors
/// It does not fit, and there is no store yet: nothing could be written.
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
            "the file size limit (ulimit -f) is below the size of a segment of the log: messages \
             are refused as on a full disk once the one in use is full; raise the limit"
        );
        return Ok(());
    }
    anyhow::bail!(
        "the file size limit is {limit} bytes and a segment of the log takes {segment}: no store \
         can be made in {}; raise the limit (`ulimit -f unlimited`, LimitFSIZE= in a systemd \
         unit), or lower segment_bytes",
        config.data.display()
    );
}
