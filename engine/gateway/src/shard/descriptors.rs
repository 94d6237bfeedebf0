//! The descriptor limit, and descriptor tables for single shards.
//!
//! The limit (RLIMIT_NOFILE, getrlimit(2)) counts for each descriptor table, not for the process. A
//! thread that calls `unshare(CLONE_FILES)` (unshare(2)) gets a table of its own, and with it a limit of
//! its own. So one process can hold more connections than the limit.

use std::fs::DirEntry;
use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The number of descriptors of a table that are set aside for other uses than connections, if the limit
/// is high enough: files of the store, event loops, listeners, the control port and its clients.
pub const RESERVED: u64 = 512;

/// The number of connections that a gateway needs room for to start.
pub const LEAST_ROOM: u64 = 16;

/// The descriptors of standard streams, signals, the control port's runtime, and short uses by libraries.
const BASE: u64 = 32;

/// The descriptors of a shard: an event loop, its waker and a listener.
const PER_SHARD: u64 = 3;

/// The descriptors of a store without runs: the folder, its lock, segments, and runs in the making.
const STORE: u64 = 48;

/// The most descriptors of earlier segments that the store has open.
const SEGMENTS: u64 = 64;

/// The descriptor tables of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// Each shard has a descriptor table of its own.
    pub private: bool,
    /// The descriptor limit of one table.
    pub limit: u64,
    /// The number of descriptors of a table that are set aside.
    pub reserved: u64,
    /// The number of connections of one shard at most.
    pub per_shard: usize,
}

/// The error of a descriptor limit with which the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The limit cannot be read.
    #[error("cannot read the descriptor limit: {0}")]
    Unknown(#[from] io::Error),
    /// The limit leaves no room for connections.
    #[error(
        "the descriptor limit is {limit}, and the gateway needs {need}: {own} for the store, the \
         control port and its threads, and {LEAST_ROOM} for connections; raise it (`ulimit -n \
         {need}` or more as root, LimitNOFILE= in a systemd unit, --ulimit nofile= of a container)"
    )]
    TooLow {
        /// The limit.
        limit: u64,
        /// The least limit that is enough.
        need: u64,
        /// The descriptors in `need` that are not for connections.
        own: u64,
    },
}

/// Returns the number of descriptors that are not for connections of users. `control` is the number of
/// connections of the control port, `data` the folder of the store.
pub fn own_need(shards: usize, control: usize, data: &Path) -> u64 {
    let count = |prefix: &[u8]| {
        let names = std::fs::read_dir(data).into_iter().flatten().flatten();
        let named = |entry: &DirEntry| entry.file_name().as_encoded_bytes().starts_with(prefix);
        names.filter(named).count() as u64
    };
    // During a merge, the old runs and the new ones are open. Of the segments, some are.
    let store = STORE + 2 * count(b"run-") + count(b"log-").min(SEGMENTS);
    BASE + PER_SHARD * shards as u64 + control as u64 + store
}

/// Raises the soft limit to the hard limit, and plans the tables for this number of connections. `own`
/// is the number of descriptors that are not for connections.
///
/// # Errors
/// The limit cannot be read, or is too low.
pub fn plan(connections: usize, own: u64) -> Result<Tables, Unfit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(io::Error::from)?;
    }
    choose(hard, connections, own)
}

fn choose(limit: u64, connections: usize, own: u64) -> Result<Tables, Unfit> {
    // With a low limit, the usual reserve would be most of the table.
    let reserved = RESERVED.min(limit / 4 * 3).max(own);
    let need = own + LEAST_ROOM;
    if limit < need {
        return Err(Unfit::TooLow { limit, need, own });
    }
    let usable = (limit - reserved.min(limit)).max(LEAST_ROOM);
    let private = connections as u64 > usable;
    let room = usize::try_from(usable).unwrap_or(usize::MAX);
    Ok(Tables {
        private,
        limit,
        reserved,
        per_shard: room.min(connections),
    })
}

/// Gives the calling thread a descriptor table of its own: a copy of what is open now.
///
/// Call it before the store and the control port are open. The copy of their descriptors would stay open
/// here: a deleted file would keep its blocks, a closed port would stay open. Make event loops and wakers
/// before this call: other threads could not write to a waker that is made later.
///
/// # Errors
/// The kernel refuses.
pub fn unshare_table() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_FILES)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_private_only_where_one_is_too_small() {
        let check = |limit, connections, private, per_shard| {
            let tables = choose(limit, connections, 180).unwrap();
            let found = (tables.limit, tables.private, tables.per_shard);
            assert_eq!(found, (limit, private, per_shard), "{connections}");
            assert!(tables.reserved >= 180);
        };
        check(20_000, 10_000, false, 10_000);
        check(20_000, 19_488, false, 19_488);
        check(20_000, 19_489, true, 19_488);
        check(20_000, 1_000_000, true, 19_488);
        // A low limit is shared out: a quarter, or what the gateway leaves.
        check(600, 1_000_000, true, 150);
        check(256, 1_000_000, true, 64);
        check(200, 1_000_000, true, 20);
        check(196, 10, false, 10);
    }

    #[test]
    fn a_limit_without_room_is_refused_with_the_fix() {
        for limit in [0, 24, 32, 195] {
            let error = choose(limit, 10, 180).unwrap_err().to_string();
            for word in [&limit.to_string(), "196", "180", "ulimit -n", "LimitNOFILE"] {
                assert!(error.contains(word), "{error}");
            }
        }
    }

    #[test]
    fn a_store_with_more_files_needs_more() {
        let data = tempfile::tempdir().unwrap();
        let before = own_need(2, 64, data.path());
        for n in 0..300 {
            std::fs::write(data.path().join(format!("run-{n}.tbl")), b"").unwrap();
        }
        assert_eq!(own_need(2, 64, data.path()), before + 600);
        assert_eq!(own_need(3, 64, data.path()), before + 600 + PER_SHARD);
        assert!(choose(RESERVED, 10, before + 600).is_err());
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
            Path::new(&format!("/proc/thread-self/fd/{fd}")).exists()
        });
        told.recv().unwrap();
        let file = tempfile::tempfile().unwrap();
        go.send(file.as_raw_fd()).unwrap();
        assert!(!thread.join().unwrap());
    }
}
