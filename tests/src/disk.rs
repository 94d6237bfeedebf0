//! Disks of a test: small ones that fill up.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A tmpfs. Dropping it takes it away.
///
/// Mount it in a thread with mounts of its own, for it must not reach other tests.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts a tmpfs of this size, such as `100m`, on a folder.
    ///
    /// # Errors
    /// It is not permitted.
    pub fn mount(folder: &Path, size: &str) -> Result<Self, Errno> {
        let size = format!("size={size}");
        let (flags, size) = (MsFlags::empty(), Some(size.as_str()));
        mount(Some("tmpfs"), folder, Some("tmpfs"), flags, size)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Changes the size.
    ///
    /// # Panics
    /// It is not permitted.
    pub fn resize(&self, size: &str) {
        let size = format!("size={size}");
        let (flags, size) = (MsFlags::MS_REMOUNT, Some(size.as_str()));
        mount(None::<&str>, &self.folder, None::<&str>, flags, size)
            .expect("what may be mounted may be resized");
    }

    /// Fills the disk.
    ///
    /// # Panics
    /// The disk cannot be written, for another reason.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).expect("a file");
        let full = std::io::copy(&mut std::io::repeat(0), &mut file);
        let why = full.expect_err("it is full").kind();
        assert_eq!(why, ErrorKind::StorageFull);
    }

    /// Makes room again after [`Disk::fill`].
    ///
    /// # Panics
    /// The file that fills the disk is gone.
    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).expect("the disk is full");
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever still has files open there keeps them.
        let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
    }
}
