//! What the tools print.

use std::path::Path;

/// The name of a file in a folder that was named already.
pub(super) fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    name.to_string_lossy().into_owned()
}

/// What a tool says that looked at a store which a gateway has open.
pub(super) const LIVE: &str = "a gateway has this store open: this is of the moment of the look";

/// "1 file", "2 files".
pub(super) fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {what}{plural}", indicatif::HumanCount(n as u64))
}
