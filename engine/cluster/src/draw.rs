//! Random bytes of the system.

use std::io::Read;

/// Returns random bytes for secrets.
///
/// # Errors
/// The system has no `/dev/urandom`.
pub(crate) fn bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut options = std::fs::OpenOptions::new();
    options
        .read(true)
        .open("/dev/urandom")?
        .read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Returns a random number.
///
/// # Errors
/// The system has no `/dev/urandom`.
pub(crate) fn number() -> std::io::Result<u64> {
    bytes().map(u64::from_le_bytes)
}
