//! Counts the syncs of a contender in the output of strace.

use std::collections::BTreeMap;

use trunkline_contender::{BEGIN, DONE};

/// The system calls that strace follows: all that can make data durable, and `write` for the marks
/// between which they count.
pub const CALLS: &str = "trace=fsync,fdatasync,sync,syncfs,sync_file_range,msync,pwritev2,\
                         open,openat,io_uring_setup,write";

/// The number of syncs between the two marks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Syncs {
    /// Calls that returned with everything durable, by name.
    pub calls: BTreeMap<String, u64>,
    /// Found ways to make data durable without such a call.
    pub blind: Vec<String>,
    /// Whether both marks were found.
    pub complete: bool,
}

impl Syncs {
    /// Returns the number of all syncs.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.calls.values().sum()
    }

    /// Counts the syncs in the lines of `strace -f`.
    pub fn parse(lines: impl Iterator<Item = String>) -> Self {
        let mut syncs = Syncs::default();
        let mut counting = false;
        // Incomplete calls, which another thread's line cut in two, by process.
        let mut begun: BTreeMap<String, String> = BTreeMap::new();
        for line in lines {
            let Some((pid, call)) = line.split_once(' ') else {
                continue;
            };
            let call = call.trim_start();
            if call.starts_with("write(1,") {
                counting |= call.contains(BEGIN);
                if counting && call.contains(DONE) {
                    syncs.complete = true;
                    break;
                }
            }
            if let Some((start, _)) = call.split_once(" <unfinished") {
                begun.insert(pid.into(), start.into());
            } else if let Some((_, rest)) = call.split_once(" resumed>") {
                let whole = begun.remove(pid).unwrap_or_default() + rest;
                syncs.see(&whole, counting);
            } else {
                syncs.see(call, counting);
            }
        }
        syncs
    }

    /// Counts a whole system call with its result.
    fn see(&mut self, call: &str, counting: bool) {
        let Some((name, _)) = call.split_once('(') else {
            return;
        };
        let result = call.rsplit_once(" = ").map_or("", |(_, result)| result);
        if result.is_empty() || result.starts_with('-') {
            return;
        }
        let has = |flag: &str| call.contains(flag);
        match name {
            "open" | "openat" if has("O_SYNC") || has("O_DSYNC") => {
                self.blind.push(format!("opens with {call}"));
            }
            "io_uring_setup" => self.blind.push("uses io_uring".into()),
            "fsync" | "fdatasync" | "sync" | "syncfs" if counting => self.count(name),
            "msync" if counting && has("MS_SYNC") => self.count(name),
            "pwritev2" if counting && (has("RWF_DSYNC") || has("RWF_SYNC")) => self.count(name),
            // sync_file_range does not make data durable: it syncs neither file sizes nor the
            // disk's cache.
            _ => {}
        }
    }

    fn count(&mut self, name: &str) {
        *self.calls.entry(name.into()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Syncs {
        Syncs::parse(text.lines().map(str::to_owned))
    }

    #[test]
    fn only_what_succeeded_between_the_marks_counts() {
        let syncs = parse(
            "7 fdatasync(3) = 0\n\
             7 write(1, \"begin groups\\n\", 13) = 13\n\
             7 fdatasync(3) = 0\n\
             8 fsync(4 <unfinished ...>\n\
             7 fdatasync(3)                            = -1 EIO (Input/output error)\n\
             8 <... fsync resumed>)                    = 0\n\
             7 write(9, \"end groups\", 10) = 10\n\
             7 pwritev2(3, [], 1, 0, RWF_DSYNC) = 8\n\
             7 pwritev2(3, [], 1, 0, 0) = 8\n\
             7 msync(0x7, 4096, MS_ASYNC) = 0\n\
             7 sync_file_range(3, 0, 9, SYNC_FILE_RANGE_WRITE) = 0\n\
             7 write(1, \"end groups\\n\", 11) = 11\n\
             7 fdatasync(3) = 0\n",
        );
        let calls: Vec<_> = syncs.calls.iter().map(|(name, n)| (&**name, *n)).collect();
        assert_eq!(calls, [("fdatasync", 1), ("fsync", 1), ("pwritev2", 1)]);
        assert!(syncs.complete && syncs.blind.is_empty());
    }

    #[test]
    fn what_cannot_be_counted_is_named() {
        let syncs = parse(
            "7 openat(AT_FDCWD, \"/x\", O_WRONLY|O_DSYNC) = 3\n\
             7 io_uring_setup(8, {}) = 4\n",
        );
        assert_eq!(syncs.blind.len(), 2);
        assert!(!syncs.complete);
    }
}
