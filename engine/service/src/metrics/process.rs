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
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            cpu_seconds: cpu_seconds(&stat),
            resident_bytes: resident(&status),
        }
    }
}

/// The processor time that the threads of a message's path have used, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Threads {
    /// That of each shard, by its number. `None`: the kernel does not say.
    pub(crate) shards: Vec<Option<f64>>,
    pub(crate) sequencer: Option<f64>,
}

impl Threads {
    /// Reads the figures of so many shards. One file is read for each thread of the process.
    pub(crate) fn read(shards: usize) -> Self {
        let mut found = Self {
            shards: vec![None; shards],
            sequencer: None,
        };
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        for thread in threads.flatten() {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            found.take(&stat);
        }
        found
    }

    /// Takes the figures of one thread, if it is one of these. `gateway.rs` and `gateway/shards.rs` name them.
    fn take(&mut self, stat: &str) {
        let name = stat
            .split_once('(')
            .and_then(|(_, rest)| rest.rsplit_once(')'));
        let Some((name, _)) = name else {
            return;
        };
        let place = match name.strip_prefix("shard-") {
            Some(number) => number
                .parse()
                .ok()
                .and_then(|n: usize| self.shards.get_mut(n)),
            None => (name == "sequencer").then_some(&mut self.sequencer),
        };
        if let Some(place) = place {
            *place = Some(cpu_seconds(stat));
        }
    }
}

/// Returns the time of processors that a text of `stat` tells, of the program and of the kernel for it, in seconds.
fn cpu_seconds(stat: &str) -> f64 {
    // The second field, in parentheses, may hold spaces.
    let after = stat.rsplit(')').next().unwrap_or_default();
    // utime and stime, in USER_HZ, which Linux fixes at 100 for user space.
    let times = after.split_whitespace().skip(14 - 3).take(2);
    times.map(|time| time.parse().unwrap_or(0.0)).sum::<f64>() / 100.0
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
    fn times_of_threads_are_told_by_their_names() {
        let mut threads = Threads::read(2);
        let rest = "S 1 1 1 0 -1 4194304 10 0 0 0 150 50 9 9 20 0 12 0 100 0 0";
        for name in ["shard-1", "shard-2", "shard-x", "sequencer", "a (b) c"] {
            threads.take(&format!("12 ({name}) {rest}"));
        }
        threads.take("");
        let wanted = Threads {
            shards: vec![None, Some(2.0)],
            sequencer: Some(2.0),
        };
        assert_eq!(threads, wanted);
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
