//! The output of the program: results on standard output, everything else on standard error.
//!
//! Results that cannot be written are an error of the program, which is kept here until the program
//! ends. A reader that closed its end is not an error. Standard error never holds the program up:
//! text that does not fit is dropped.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::foreign::shown;

/// The time for which the last lines on standard error wait for a reader.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The bytes that are written at a time to a descriptor that may block. A pipe that takes any byte
/// takes this many at once (pipe(7), PIPE_BUF).
const PIECE: usize = 4_096;

/// The state of standard output.
#[derive(Debug, Default, PartialEq, Eq)]
enum Fate {
    /// Everything has been written.
    #[default]
    Written,
    /// The reader has closed its end.
    Closed,
    /// A write failed. Holds the reason.
    Failed(String),
}

/// The state of the standard output of this process.
static FATE: Mutex<Fate> = Mutex::new(Fate::Written);

/// Writes lines to standard output. A failure is kept for [`failure`].
pub(crate) fn say(lines: &[String]) {
    let mut text = String::new();
    for line in lines {
        text += &shown(line);
        text.push('\n');
    }
    let mut fate = FATE.lock().unwrap_or_else(PoisonError::into_inner);
    if *fate == Fate::Written {
        *fate = fate_of(write_whole(io::stdout().as_fd(), text.as_bytes()));
    }
}

/// Notes the result of another write to standard output.
pub(crate) fn note(written: io::Result<()>) {
    let written = written.and_then(|()| io::stdout().flush());
    let mut fate = FATE.lock().unwrap_or_else(PoisonError::into_inner);
    if *fate == Fate::Written {
        *fate = fate_of(written);
    }
}

fn fate_of(written: io::Result<()>) -> Fate {
    match written {
        Ok(()) => Fate::Written,
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Fate::Closed,
        Err(why) => Fate::Failed(why.to_string()),
    }
}

/// Returns the reason why standard output is not complete; `None` if it is, or if its reader closed
/// its end.
pub(crate) fn failure() -> Option<String> {
    match &*FATE.lock().unwrap_or_else(PoisonError::into_inner) {
        Fate::Failed(why) => Some(format!(
            "cannot write to standard output: {why}; the results there are not complete"
        )),
        Fate::Written | Fate::Closed => None,
    }
}

/// Writes a line to standard error, and waits a moment for a slow reader.
pub(crate) fn complain(text: &str) {
    let mut aside = Aside::stderr();
    let _ = writeln!(aside, "{}", shown(text));
    aside.insist();
}

/// Writes all bytes, at the pace of the reader.
fn write_whole(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // Not through std: that takes a descriptor that is not open for writing for success.
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                ready(fd, Duration::from_secs(60))?;
            }
            Err(why) => return Err(why.into()),
        }
    }
    Ok(())
}

/// Waits until a descriptor takes more bytes or fails. Returns whether it did so in time.
fn ready(fd: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    match poll(
        &mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)],
        Some(&timeout),
    ) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(why) => Err(why.into()),
    }
}

/// An output that never holds the program up.
#[derive(Debug)]
pub(crate) struct Aside {
    /// The descriptor; `None` if it cannot be opened, and then nothing is written.
    out: Option<OwnedFd>,
    /// Bytes that the descriptor has not taken yet. Callers keep them few by asking
    /// [`is_clear`](Self::is_clear) first.
    rest: Vec<u8>,
}

impl Aside {
    /// Returns the output to standard error.
    pub(crate) fn stderr() -> Self {
        Self::to(io::stderr().as_fd())
    }

    /// Returns the output to a descriptor.
    pub(crate) fn to(fd: BorrowedFd<'_>) -> Self {
        Self {
            out: unblocked(fd).or_else(|| fd.try_clone_to_owned().ok()),
            rest: Vec::new(),
        }
    }

    /// Waits a moment for a slow reader.
    pub(crate) fn insist(&mut self) {
        let began = Instant::now();
        while !self.is_clear() && began.elapsed() < LAST_WORDS {
            if let Some(out) = &self.out {
                let _ = ready(out.as_fd(), LAST_WORDS.saturating_sub(began.elapsed()));
            }
        }
    }

    /// Returns whether no bytes wait: the descriptor has taken them all, or takes none any more.
    /// Bytes that are written while this is false stay in memory.
    pub(crate) fn is_clear(&mut self) -> bool {
        self.push();
        self.rest.is_empty()
    }

    /// Writes as many bytes as the descriptor takes at once. Bytes that fail are dropped.
    fn push(&mut self) {
        while let (Some(out), false) = (&self.out, self.rest.is_empty()) {
            if !matches!(ready(out.as_fd(), Duration::ZERO), Ok(true)) {
                return;
            }
            let piece = &self.rest[..self.rest.len().min(PIECE)];
            match rustix::io::write(out, piece) {
                Ok(written) => drop(self.rest.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.rest.clear(),
            }
        }
        if self.out.is_none() {
            self.rest.clear();
        }
    }
}

impl Write for Aside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.push();
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.push();
    }
}

/// Opens the pipe or terminal behind a descriptor again, so that writes to it never wait. The flag
/// for that is shared by all processes that have the descriptor, and must not be set on it. `None`
/// for files and devices, which take everything at once.
fn unblocked(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    use std::os::fd::AsRawFd;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(fd).ok()?.st_mode);
    if kind != FileType::Fifo && !fd.is_terminal() {
        return None;
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut aside = Aside::to(writer.as_fd());
        let mut said = 0;
        // As much as the pipe holds, and then no more.
        while aside.is_clear() {
            said += 1;
            writeln!(aside, "{said:099}").expect("it is kept");
        }
        assert!(said > 100, "{said}");
        drop(writer);
        let mut taken = vec![0; 100 * 50];
        reader.read_exact(&mut taken).expect("it is read");
        assert!(aside.is_clear(), "there is room again");
        drop(aside);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).expect("it is read");
        assert_eq!(taken.len() + rest.len(), said * 100, "nothing is missing");
    }

    #[test]
    fn who_does_not_listen_is_no_failure() {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let mut aside = Aside::to(writer.as_fd());
        writeln!(aside, "nobody hears this").expect("it is dropped");
        assert!(aside.is_clear());
        let gone = write_whole(writer.as_fd(), b"results");
        assert_eq!(fate_of(gone), Fate::Closed);
        let full = File::options().write(true).open("/dev/full");
        let full = full.expect("every Linux has it");
        let mut aside = Aside::to(full.as_fd());
        writeln!(aside, "no room").expect("it is dropped");
        assert!(aside.is_clear());
        let failed = fate_of(write_whole(full.as_fd(), b"results"));
        assert!(matches!(failed, Fate::Failed(_)), "{failed:?}");
        let read_only = File::open("/dev/null").expect("every Linux has it");
        let failed = fate_of(write_whole(read_only.as_fd(), b"results"));
        assert!(matches!(failed, Fate::Failed(_)), "{failed:?}");
    }
}
