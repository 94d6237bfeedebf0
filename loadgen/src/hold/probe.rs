//! The resources that both sides and the kernel use at one time.

use std::time::Instant;

use crate::control_port;
use crate::health::Process;
use crate::run::conduct::GatewayAccess;

/// The resources that both sides and the kernel use at one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) gateway: Option<Process>,
    pub(super) generator: Process,
    pub(super) kernel: Kernel,
}

/// The memory that the kernel uses, for the whole machine, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kernel {
    /// The memory of kernel objects in bytes: sockets, descriptors, entries of event loops (Slab in
    /// proc(5) meminfo).
    pub(super) slab: u64,
    /// Data in TCP buffers (/proc/net/sockstat).
    pub(super) buffers: u64,
}

impl Kernel {
    /// Returns the sum of both.
    pub(super) fn bytes(self) -> u64 {
        self.slab + self.buffers
    }

    fn look() -> Self {
        let read = |file| std::fs::read_to_string(file).unwrap_or_default();
        let memory = read("/proc/meminfo");
        let slab = memory.lines().find_map(|line| line.strip_prefix("Slab:"));
        let sockets = read("/proc/net/sockstat");
        let tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:"));
        let pages = tcp.and_then(|tcp| tcp.split_once(" mem "));
        let number = |text: Option<&str>| -> u64 {
            let word = text.and_then(|text| text.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        Self {
            slab: number(slab) * 1_024,
            buffers: number(pages.map(|(_, pages)| pages)) * 4_096,
        }
    }
}

impl Sample {
    /// Reads all figures now.
    pub(super) fn look(ends: GatewayAccess) -> Self {
        Self {
            at: Instant::now(),
            gateway: gateway(ends),
            generator: Process::look(std::process::id()),
            kernel: Kernel::look(),
        }
    }
}

/// Returns the figures of the gateway: from the kernel, or from the metrics of a gateway on another
/// machine.
fn gateway(ends: GatewayAccess) -> Option<Process> {
    if let Some(pid) = ends.pid {
        return Some(Process::look(pid));
    }
    let metrics = control_port::metrics(ends.control?).ok()?;
    Some(Process {
        cpu_seconds: metrics.get("process_cpu_seconds_total")?,
        rss_bytes: metrics.get("process_resident_memory_bytes")? as u64,
    })
}

/// Returns the number of open sessions, by the metrics of the gateway.
pub(super) fn sessions(ends: GatewayAccess) -> Option<u64> {
    let metrics = control_port::metrics(ends.control?).ok()?;
    metrics.get("trunkline_sessions").map(|n| n as u64)
}
