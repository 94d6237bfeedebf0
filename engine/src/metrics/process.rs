//! The kernel's figures about this process (proc(5)).

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
        Self {
            // utime and stime, in USER_HZ, which Linux fixes at 100 for user space.
            cpu_seconds: (field(14) + field(15)) as f64 / 100.0,
            resident_bytes: field(24) * 4_096,
        }
    }
}
