//! The descriptor limit, and descriptor tables of a shard's own.
//!
//! The limit (RLIMIT_NOFILE, getrlimit(2)) counts per descriptor table, not per process: a thread
//! that called `unshare(CLONE_FILES)` (unshare(2)) has a table, and so a limit, of its own. That
//! is how one process holds more connections than the limit says.

use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors of a table that are not connections: the store's files, event loops, listeners,
/// the control port and its clients.
pub(crate) const RESERVED: u64 = 512;

/// How the connections are to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tables {
    /// Each shard has a descriptor table of its own.
    pub(crate) private: bool,
    /// The descriptor limit of one table.
    pub(crate) limit: u64,
    /// Most connections of one shard.
    pub(crate) per_shard: usize,
}

/// Raises the soft limit to the hard one and chooses.
///
/// # Errors
/// The limits cannot be read.
pub(crate) fn plan(connections: usize) -> io::Result<Tables> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(choose(hard, connections))
}

fn choose(limit: u64, connections: usize) -> Tables {
    let usable = limit.saturating_sub(RESERVED).max(1);
    let private = connections as u64 > usable;
    let room = usize::try_from(usable).unwrap_or(usize::MAX);
    Tables {
        private,
        limit,
        per_shard: room.min(connections),
    }
}

/// Gives the calling thread a descriptor table of its own: a copy of what is open now.
///
/// Call it before the store and the control port are open. A copy of theirs would stay open
/// here: a file they delete would keep its blocks, a port they close would stay up. Event loops
/// and wakers on the other hand must be there by now: a waker made later would be written to in
/// somebody else's table, silently.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn unshare_table() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_FILES)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_private_only_where_one_is_too_small() {
        let check = |limit, connections, private, per_shard| {
            assert_eq!(
                choose(limit, connections),
                Tables {
                    private,
                    limit,
                    per_shard
                }
            );
        };
        check(20_000, 10_000, false, 10_000);
        check(20_000, 19_488, false, 19_488);
        check(20_000, 19_489, true, 19_488);
        check(20_000, 1_000_000, true, 19_488);
        check(100, 10, true, 1);
    }

    #[test]
    fn an_unshared_table_does_not_see_what_others_open() {
        use std::os::fd::AsRawFd;
        let (go, wait) = std::sync::mpsc::channel::<i32>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare_table().unwrap();
            tell.send(()).unwrap();
            let fd = wait.recv().unwrap();
            std::path::Path::new(&format!("/proc/thread-self/fd/{fd}")).exists()
        });
        told.recv().unwrap();
        let file = tempfile::tempfile().unwrap();
        go.send(file.as_raw_fd()).unwrap();
        assert!(!thread.join().unwrap());
    }
}
