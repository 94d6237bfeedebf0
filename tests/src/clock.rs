//! Clocks of gateways that are wrong: libfaketime moves the clock of a process, and only that.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::gateway::{Gateway, Setup};
use crate::wait::until;

/// Returns the path where distributions install libfaketime; `None` if it is not installed.
pub fn library() -> Option<PathBuf> {
    let folders = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    let paths = folders.map(|folder| Path::new(folder).join("faketime/libfaketimeMT.so.1"));
    paths.into_iter().find(|path| path.exists())
}

/// The clock of a gateway.
#[derive(Debug)]
pub struct Clock {
    folder: TempDir,
}

impl Default for Clock {
    /// Makes a clock that is right.
    fn default() -> Self {
        let folder = TempDir::with_prefix("trunkline-clock-").expect("a folder");
        let clock = Self { folder };
        clock.set("+0");
        clock
    }
}

impl Clock {
    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Sets the offset of the clock, such as `+10m`. The write is atomic, since the gateway may be reading.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn set(&self, offset: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, offset).expect("a file");
        std::fs::rename(new, self.file()).expect("in its place");
    }

    /// Moves the clock and waits until the gateway has noticed.
    ///
    /// # Panics
    /// The gateway does not notice.
    pub fn leap(&self, gateway: &Gateway, offset: &str) {
        let leaps = || gateway.metric("trunkline_clock_leaps_total");
        let before = leaps();
        self.set(offset);
        until("the leap", || (leaps() > before).then_some(()));
    }

    /// Gives a gateway this clock.
    #[must_use]
    pub fn of(&self, setup: Setup, library: &Path) -> Setup {
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        setup
            .environment("LD_PRELOAD", &text(library))
            .environment("FAKETIME_TIMESTAMP_FILE", &text(&self.file()))
            .environment("FAKETIME_NO_CACHE", "1")
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .environment("DONT_FAKE_MONOTONIC", "1")
    }
}
