//! The limits of this machine, read from its kernel (proc(5), sysfs).

use std::fs::read_to_string;

use nix::sys::resource::{Resource, getrlimit};

/// The limits of this machine. A figure that the kernel does not report is `None`.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// The number of descriptors that a process may open now (RLIMIT_NOFILE, soft limit).
    pub descriptors_soft: u64,
    /// The number of descriptors up to which a process may raise its own limit (RLIMIT_NOFILE, hard
    /// limit).
    pub descriptors_hard: u64,
    /// The maximum number of open files on the whole machine (fs.file-max).
    pub file_max: Option<u64>,
    /// The number of files in use on the whole machine.
    pub files_used: u64,
    /// The number up to which root may raise the hard descriptor limit (fs.nr_open).
    pub nr_open: Option<u64>,
    /// The number of descriptors that one user may watch in event loops
    /// (fs.epoll.max_user_watches).
    pub epoll_watches: Option<u64>,
    /// The number of connections that may wait to be accepted, per listener (net.core.somaxconn).
    pub somaxconn: Option<u64>,
    /// The first and the last port for outgoing connections (net.ipv4.ip_local_port_range).
    pub port_range: Option<(u64, u64)>,
    /// The pages of all TCP buffers together: low, pressure, maximum (net.ipv4.tcp_mem).
    pub tcp_mem: Option<[u64; 3]>,
    /// The bytes of one receive buffer: minimum, default, maximum (net.ipv4.tcp_rmem).
    pub tcp_rmem: Option<[u64; 3]>,
    /// The bytes of one send buffer: minimum, default, maximum (net.ipv4.tcp_wmem).
    pub tcp_wmem: Option<[u64; 3]>,
    /// The number of tracked connections and its maximum (net.netfilter.nf_conntrack_count and
    /// _max). `None` if the kernel module is not loaded.
    pub conntrack: Option<(u64, u64)>,
    /// The maximum number of threads on the whole machine (kernel.threads-max).
    pub threads_max: Option<u64>,
    /// The size of the memory in bytes.
    pub memory_total: u64,
    /// The memory that programs can still use, in bytes.
    pub memory_available: Option<u64>,
    /// The size of the swap space in bytes.
    pub swap_total: u64,
    /// The number of processors that this process may use.
    pub cores: u64,
    /// The kernel's release, such as `6.1.0-13-amd64`.
    pub kernel: String,
    /// The kernel's clock source, such as `tsc`.
    pub clock_source: String,
    /// The use of transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: String,
}

impl Limits {
    /// Reads the limits from the kernel.
    pub fn read() -> Self {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
        let memory = read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        let tracked = numbers("net/netfilter/nf_conntrack_count");
        let track_max = numbers("net/netfilter/nf_conntrack_max");
        Self {
            descriptors_soft: soft,
            descriptors_hard: hard,
            file_max: number("fs/file-max"),
            files_used: number("fs/file-nr").unwrap_or(0),
            nr_open: number("fs/nr_open"),
            epoll_watches: number("fs/epoll/max_user_watches"),
            somaxconn: number("net/core/somaxconn"),
            port_range: match numbers("net/ipv4/ip_local_port_range")[..] {
                [first, last] if first <= last => Some((first, last)),
                _ => None,
            },
            tcp_mem: three("net/ipv4/tcp_mem"),
            tcp_rmem: three("net/ipv4/tcp_rmem"),
            tcp_wmem: three("net/ipv4/tcp_wmem"),
            conntrack: tracked.first().copied().zip(track_max.first().copied()),
            threads_max: number("kernel/threads-max"),
            memory_total: kib("MemTotal:").unwrap_or(0),
            memory_available: kib("MemAvailable:"),
            swap_total: kib("SwapTotal:").unwrap_or(0),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            kernel: setting("kernel/osrelease"),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            huge_pages: chosen(&line("/sys/kernel/mm/transparent_hugepage/enabled")),
        }
    }

    /// Returns the number of ports for outgoing connections from one source address to one target.
    pub fn ports(&self) -> u64 {
        // The kernel's own default.
        let (first, last) = self.port_range.unwrap_or((32_768, 60_999));
        last - first + 1
    }

    /// Returns the number of files that can still be opened on this machine.
    pub fn files_left(&self) -> u64 {
        self.file_max
            .map_or(u64::MAX, |max| max.saturating_sub(self.files_used))
    }
}

fn line(path: &str) -> String {
    read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn setting(name: &str) -> String {
    line(&format!("/proc/sys/{name}"))
}

fn numbers(name: &str) -> Vec<u64> {
    let text = setting(name);
    let numbers = text.split_whitespace().map(|n| n.parse().ok());
    numbers.collect::<Option<_>>().unwrap_or_default()
}

fn number(name: &str) -> Option<u64> {
    numbers(name).first().copied()
}

fn three(name: &str) -> Option<[u64; 3]> {
    numbers(name).try_into().ok()
}

/// Returns the word in brackets, as in `always [madvise] never`.
fn chosen(text: &str) -> String {
    let word = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    word.map_or(text, |(word, _)| word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_limits() {
        let limits = Limits::read();
        assert!(limits.descriptors_soft > 0 && limits.descriptors_hard >= limits.descriptors_soft);
        assert!(limits.ports() > 0 && limits.files_left() > 0);
        assert!(limits.memory_total >= limits.memory_available.unwrap_or(0));
        assert!(limits.cores > 0 && !limits.kernel.is_empty());
    }

    #[test]
    fn the_chosen_word() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("never"), "never");
    }
}
