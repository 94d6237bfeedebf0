//! Reads what the kernel knows about processes and disks.

use std::path::Path;

use anyhow::{Context, bail};

/// Returns the resident memory of a process in bytes, by its number or `self` (proc(5)).
///
/// # Errors
/// The kernel does not let it be read.
pub fn resident(process: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("no VmRSS")?.parse::<u64>()? * 1024)
}

/// User and system CPU seconds so far of a process, by its number, or of `self` (proc(5)); 0 where
/// there is none.
#[must_use]
pub fn cpu_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The second field, in parentheses, may hold spaces.
    let after = stat.rsplit(')').next().unwrap_or_default();
    // utime and stime are fields 14 and 15, in USER_HZ (100); field 3 follows the name.
    let fields = after.split_whitespace().skip(11).take(2);
    fields.filter_map(|f| f.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Bytes written to the device under a folder since the machine started, by everybody: `None` where
/// the file system is not on one device that counts.
///
/// What proc(5) says of a process (`write_bytes`) is of no use here: since files are in large
/// folios, it counts a megabyte for a page that was made dirty again after a sync.
///
/// # Errors
/// The folder cannot be seen.
pub fn written(dir: &Path) -> anyhow::Result<Option<u64>> {
    let device = rustix::fs::stat(dir)?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let counters = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"));
    // Sectors of 512 bytes, whatever the device has.
    let sectors = counters.ok().and_then(|counters| {
        let seventh = counters.split_whitespace().nth(6)?;
        seventh.parse::<u64>().ok()
    });
    Ok(sectors.map(|sectors| sectors * 512))
}

/// Returns the number of files below a folder and the bytes of disk that they take.
///
/// # Errors
/// The kernel does not let it be read.
pub fn files(dir: &Path) -> anyhow::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let (mut count, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // A file can be merged away meanwhile.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() {
            let (more, large) = files(&entry.path())?;
            (count, bytes) = (count + more, bytes + large);
        } else {
            (count, bytes) = (count + 1, bytes + metadata.blocks() * 512);
        }
    }
    Ok((count, bytes))
}

/// Has the kernel forget what it keeps in memory of the files in a folder; what is not on disk yet
/// stays.
///
/// # Errors
/// The kernel refuses.
pub fn forget(dir: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let file = std::fs::File::open(entry?.path())?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// Returns the free bytes on the disk of a folder.
///
/// # Errors
/// The kernel does not say.
pub fn free(dir: &Path) -> anyhow::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// Fails unless the disk of a folder has room for `bytes` and as much again as it keeps free.
///
/// # Errors
/// The disk has less room, or the kernel does not say.
pub fn require(dir: &Path, bytes: u64) -> anyhow::Result<()> {
    let (free, keep) = (free(dir)?, 2 << 30);
    if free < bytes + keep {
        bail!(
            "{}: {:.1} GB are free, and this takes up to {:.1} GB and leaves {:.1} GB free; name \
             another folder with --dir, or do less",
            dir.display(),
            free as f64 / 1e9,
            bytes as f64 / 1e9,
            keep as f64 / 1e9
        );
    }
    Ok(())
}

/// Whether a folder is on a file system in memory, where a sync does nothing.
///
/// # Errors
/// The kernel does not say.
pub fn in_memory(dir: &Path) -> anyhow::Result<bool> {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(dir)?.f_type as i64;
    Ok([TMPFS, RAMFS].contains(&kind))
}
