//! The descriptor limit, and descriptor tables of a shard's own.
//!
//! The limit (RLIMIT_NOFILE, getrlimit(2)) counts per descriptor table, not per process: a thread
//! that called `unshare(CLONE_FILES)` (unshare(2)) has a table, and so a limit, of its own. That
//! is how one process holds more connections than the limit says.

use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors of a table that are set aside for what is no connection, where the limit leaves
/// them: the store's files, event loops, listeners, the control port and its clients.
pub const RESERVED: u64 = 512;

/// Connections that there must be room for, or the gateway does not start.
pub const LEAST_ROOM: u64 = 16;

/// Standard streams, signals, the control port's runtime, and what libraries open for a moment.
const BASE: u64 = 32;

/// An event loop, its waker and a listener.
const PER_SHARD: u64 = 3;

/// The folder, its lock, segments that wait, are used or are made, and runs being made.
const STORE: u64 = 48;

/// How the connections are to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// Each shard has a descriptor table of its own.
    pub private: bool,
    /// The descriptor limit of one table.
    pub limit: u64,
    /// What of a table is set aside.
    pub reserved: u64,
    /// Most connections of one shard.
    pub per_shard: usize,
}

/// Why the gateway cannot start with the descriptor limit.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The kernel does not tell it.
    #[error("cannot read the descriptor limit: {0}")]
    Unknown(#[from] io::Error),
    /// It leaves no room for connections.
    #[error(
        "the descriptor limit is {limit}, and the gateway needs {need}: {own} for the store, the \
         control port and its threads, and {LEAST_ROOM} for connections; raise it (`ulimit -n \
         {need}` or more as root, LimitNOFILE= in a systemd unit, --ulimit nofile= of a container)"
    )]
    TooLow {
        /// The limit.
        limit: u64,
        /// The least that is enough.
        need: u64,
        /// Of that, what is no connection.
        own: u64,
    },
}

/// Descriptors that are no connections of users: of so many shards, of the control port with so
/// many connections, and of the store in this folder.
pub fn own_need(shards: usize, control: usize, data: &Path) -> u64 {
    let names = std::fs::read_dir(data).into_iter().flatten().flatten();
    let runs = names.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"run-"));
    // A merge has the old ones and the new ones.
    let store = STORE + 2 * runs.count() as u64;
    BASE + PER_SHARD * shards as u64 + control as u64 + store
}

/// Raises the soft limit to the hard one and chooses, where `own` descriptors are no connections.
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
    // Of a low limit not all of the usual reserve: most of it would be nobody's.
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
/// Call it before the store and the control port are open. A copy of theirs would stay open
/// here: a file they delete would keep its blocks, a port they close would stay up. Event loops
/// and wakers on the other hand must be there by now: a waker made later would be written to in
/// somebody else's table, silently.
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
