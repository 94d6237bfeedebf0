//! What a test has for itself: mounts and a network that only one thread, and what it starts, can see.

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Gives this thread mounts of its own. They vanish when the thread and its children end, for whatever reason.
///
/// # Errors
/// It is not permitted.
pub fn mounts() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
}

/// Gives this thread a network of its own, without any connection.
///
/// # Errors
/// It is not permitted.
pub fn network() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWNET)
}
