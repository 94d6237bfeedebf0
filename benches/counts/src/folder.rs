//! Folders for stores.

use std::path::PathBuf;

/// A folder that is removed in the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// Makes a folder in the temporary folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let name = format!("gate-counts-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
