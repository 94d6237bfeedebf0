//! The kernel's figures about this process (proc(5)).

use std::path::Path;

/// What the process has used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Process {
    /// The time of processors, of the program and of the kernel for it, in seconds.
    pub(crate) cpu_seconds: f64,
    /// The memory in bytes.
    pub(crate) resident_bytes: u64,
}

impl Process {
    /// Reads the figures.
    pub(crate) fn read() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field, in parentheses, may hold spaces.
        let after = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<u64> = after
            .split_whitespace()
            .map(|f| f.parse().unwrap_or(0))
            .collect();
        let field = |n: usize| fields.get(n - 3).copied().unwrap_or(0);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            // utime and stime, in USER_HZ, which Linux fixes at 100 for user space.
            cpu_seconds: (field(14) + field(15)) as f64 / 100.0,
            resident_bytes: resident(&status),
        }
    }
}

/// Returns the memory that `/proc/self/status` tells, in bytes. `/proc/self/stat` counts in pages, which have 4, 16 or 64 KiB.
fn resident(status: &str) -> u64 {
    let found = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = found.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}

/// Returns the number of open descriptors in the table of the process, and with `private` in those of its
/// shards as well.
pub(super) fn open_descriptors(private: bool) -> u64 {
    let own = table(Path::new("/proc/self/fd"));
    if !private {
        return own;
    }
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let shards = threads
        .flatten()
        .map(|thread| thread.path())
        .filter(|path| {
            // The threads have these names from `gateway/shards.rs`.
            std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("shard-"))
        });
    own + shards.map(|path| table(&path.join("fd"))).sum::<u64>()
}

/// Returns the number of descriptors of a table. Linux has it as the size of the folder since 6.2; before
/// that they are counted one by one.
fn table(folder: &Path) -> u64 {
    match std::fs::metadata(folder).map_or(0, |meta| meta.len()) {
        0 => std::fs::read_dir(folder).map_or(0, |names| names.count() as u64),
        count => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_bytes_whatever_a_page_has() {
        let status = "VmHWM:\t   90112 kB\nVmRSS:\t   65536 kB\nRssAnon:\t   1024 kB\n";
        assert_eq!(resident(status), 64 << 20);
        assert!(Process::read().resident_bytes > 1 << 20);
    }

    #[test]
    fn an_open_file_is_one_descriptor() {
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count() as i64;
        // Other tests open and close files meanwhile, and counting takes one.
        let near = |a: i64, b: i64| (a - b).abs() < 64;
        let files: Vec<_> = (0..500)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        let counted = open_descriptors(false) as i64;
        assert!(counted > 500 && near(counted, count()), "{counted}");
        drop(files);
        let counted = open_descriptors(false) as i64;
        assert!(near(counted, count()), "{counted}");
    }
}
