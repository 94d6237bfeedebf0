//! The measurement of the time that the disk takes to make a write durable.

use std::io::{Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The number of timed writes.
const WRITES: usize = 100;

/// The size of each write in bytes: one page.
const BYTES: usize = 4_096;

/// The time limit for all writes together. The measurement of a slow disk ends early.
const PATIENCE: Duration = Duration::from_secs(5);

/// The measured times of a disk.
#[derive(Debug, Clone)]
pub(super) struct Sync {
    /// The folder on the disk.
    pub(super) folder: PathBuf,
    /// The median: half of the syncs took at most this long.
    pub(super) half: Duration,
    /// The 99th percentile: 99 % of the syncs took at most this long.
    pub(super) most: Duration,
}

/// Writes pages to a file of its own in a folder, each followed by `fdatasync`, as the store's
/// log does; the file is removed.
///
/// # Errors
/// The folder cannot be written to.
pub(super) fn measure(folder: &Path) -> Result<Sync> {
    let path = folder.join(format!("trunkline-doctor-{}", std::process::id()));
    let times = times(&path);
    let removed = std::fs::remove_file(&path);
    let mut times = times?;
    removed?;
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    Ok(Sync {
        folder: folder.to_owned(),
        half: at(0.5),
        most: at(0.99),
    })
}

fn times(path: &Path) -> Result<Vec<Duration>> {
    let mut file = std::fs::File::create_new(path)?;
    let page = [7; BYTES];
    // Like the log's, the file has its size before it is written to.
    file.write_all(&vec![0; BYTES * WRITES])?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let began = Instant::now();
    let mut times = Vec::new();
    while times.is_empty() || (times.len() < WRITES && began.elapsed() < PATIENCE) {
        let start = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let sync = measure(folder.path()).unwrap();
        assert!(sync.half > Duration::ZERO && sync.half <= sync.most);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        assert!(measure(&folder.path().join("nowhere")).is_err());
    }
}
