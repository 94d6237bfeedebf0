//! The memory of a gateway: what is resident now, and the most that was.

use crate::gateway::Gateway;
use crate::wait;

/// The number of bytes of a mebibyte.
pub const MIB: f64 = (1 << 20) as f64;

/// Returns the resident memory in bytes.
pub fn resident(gateway: &Gateway) -> f64 {
    gateway.metric("process_resident_memory_bytes")
}

/// Returns the resident memory in bytes without the index of what is stored, which the store frees when
/// it writes its next run.
pub fn unstored(gateway: &Gateway) -> f64 {
    resident(gateway) - gateway.metric("trunkline_store_index_bytes")
}

/// Returns the bytes that the gateway counts for its connections.
pub fn held(gateway: &Gateway) -> f64 {
    gateway.metric("trunkline_held_bytes")
}

/// Lets [`peak`] begin anew.
///
/// # Panics
/// The gateway does not run.
pub fn forget_peak(gateway: &Gateway) {
    let path = format!("/proc/{}/clear_refs", gateway.process().id());
    // proc_pid_clear_refs(5): the peak becomes what is resident now.
    std::fs::write(path, "5").expect("the gateway runs");
}

/// Returns the most bytes that were resident since [`forget_peak`], however short.
///
/// # Panics
/// The gateway does not run.
pub fn peak(gateway: &Gateway) -> f64 {
    let path = format!("/proc/{}/status", gateway.process().id());
    let status = std::fs::read_to_string(path).expect("the gateway runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    let kib: Option<f64> = kib.and_then(|kib| kib.parse().ok());
    1_024.0 * kib.expect("a number of KiB")
}

/// Waits until the resident memory is less than a fifth above `before`, without what is stored and
/// without `rest` bytes.
///
/// # Panics
/// It does not come back.
pub fn comes_back(gateway: &Gateway, before: f64, rest: f64) {
    let mut now = 0.0;
    let returned = wait::maybe(|| {
        now = unstored(gateway);
        now < 1.2 * before + rest
    });
    let [before, now, rest] = [before, now, rest].map(|bytes| bytes / MIB);
    assert!(
        returned,
        "{now:.1} MiB, {before:.1} before, {rest:.1} may stay"
    );
}
