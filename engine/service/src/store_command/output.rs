//! Texts that several of the tools print.

use std::path::Path;

/// Returns the name of a file without its folder.
pub(super) fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The note of a tool that read a store while a gateway had it open.
pub(super) const LIVE: &str = "a gateway has this store open: the figures may have changed since";

/// Formats a number of things: `1 file`, `2 files`.
pub(super) fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {what}{plural}", indicatif::HumanCount(n as u64))
}
