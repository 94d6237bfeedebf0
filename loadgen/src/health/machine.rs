//! Figures of the kernel about this machine and its processes (proc(5)).

use serde::{Deserialize, Serialize};

/// How the CPU time between two looks was spent, in parts of all CPU time.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
pub(crate) struct Cpu {
    /// The part that the hypervisor took, 0 to 1.
    pub(crate) steal: f64,
    /// The part that was idle, 0 to 1.
    pub(crate) idle: f64,
}

/// The kernel's CPU counters at one time.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
pub(crate) struct CpuTimes {
    steal: u64,
    idle: u64,
    all: u64,
}

impl CpuTimes {
    /// Adds the counters of another machine.
    pub(crate) fn add(&mut self, other: Self) {
        self.steal += other.steal;
        self.idle += other.idle;
        self.all += other.all;
    }
}

impl Cpu {
    /// Reads the counters now.
    pub(crate) fn look() -> CpuTimes {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        let times: Vec<u64> = line
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; guest times are in user already.
        let at = |i: usize| times.get(i).copied().unwrap_or(0);
        CpuTimes {
            steal: at(7),
            idle: at(3) + at(4),
            all: times.iter().take(8).sum(),
        }
    }

    /// Returns how the time between two looks was spent.
    pub(crate) fn between(before: CpuTimes, after: CpuTimes) -> Self {
        // The time waited for I/O, which is part of these, may fall (proc(5)).
        let part = |before: u64, after: u64| after.saturating_sub(before) as f64;
        let all = part(before.all, after.all).max(1.0);
        Self {
            steal: part(before.steal, after.steal) / all,
            idle: part(before.idle, after.idle) / all,
        }
    }
}

/// The CPU time and the memory of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Process {
    /// User and system time, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub(crate) rss_bytes: u64,
}

impl Process {
    /// Adds the figures of another process.
    pub(crate) fn add(&mut self, other: Self) {
        self.cpu_seconds += other.cpu_seconds;
        self.rss_bytes += other.rss_bytes;
    }

    /// Reads the figures of a process now; zeros without such a process.
    pub(crate) fn look(pid: u32) -> Self {
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let stat = read("stat");
        // The name, in parentheses, may hold spaces; utime and stime are fields 14 and 15, in
        // hundredths of a second (USER_HZ).
        let fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let ticks: f64 = fields
            .skip(11)
            .take(2)
            .filter_map(|n| n.parse::<f64>().ok())
            .sum();
        let status = read("status");
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            cpu_seconds: ticks / 100.0,
            rss_bytes: kib.unwrap_or(0) * 1024,
        }
    }
}

/// Raises the soft descriptor limit to the hard one, and returns that.
pub(crate) fn descriptor_limit() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        return soft;
    }
    hard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_fall_are_no_time() {
        let times = |steal, idle, all| CpuTimes { steal, idle, all };
        let cpu = Cpu::between(times(1, 50, 100), times(2, 49, 110));
        assert_eq!((cpu.steal, cpu.idle), (0.1, 0.0));
        let none = Cpu::between(times(1, 50, 100), times(1, 49, 99));
        assert_eq!((none.steal, none.idle), (0.0, 0.0));
    }
}
