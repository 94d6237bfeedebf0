//! What the tools print.

use std::io::{BufWriter, ErrorKind, Result, Write};
use std::path::Path;

/// How much is printed at once.
const BUFFER: usize = 64 << 10;

/// Prints to standard output. Whoever reads it may have enough before the end (`| head`): that is
/// no failure.
pub(super) fn print(write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, std::io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// The name of a file in a folder that was named already.
pub(super) fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    name.to_string_lossy().into_owned()
}

/// "1 file", "2 files".
pub(super) fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {what}{plural}", indicatif::HumanCount(n as u64))
}
