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

/// Returns the bytes that a process has read so far, of files and of sockets (proc(5), `rchar`).
///
/// # Errors
/// There is no such process, or the kernel does not count.
pub fn read(process: &str) -> anyhow::Result<f64> {
    let io = std::fs::read_to_string(format!("/proc/{process}/io"))?;
    let bytes = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    Ok(bytes.context("no rchar")?.trim().parse()?)
}

/// Returns the user and system CPU seconds of a process so far, by its number or `self` (proc(5));
/// 0 if there is no such process.
#[must_use]
pub fn cpu_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The second field, in parentheses, may hold spaces.
    let after = stat.rsplit(')').next().unwrap_or_default();
    // utime and stime are fields 14 and 15, in USER_HZ (100); field 3 follows the name.
    let fields = after.split_whitespace().skip(11).take(2);
    fields.filter_map(|f| f.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Returns the CPU seconds of the threads of a process so far whose names begin with one of `names`
/// (proc(5), `schedstat`: nanoseconds on a processor).
///
/// # Errors
/// There is no such process, or the kernel does not count this time.
pub fn thread_seconds(process: &str, names: &[&str]) -> anyhow::Result<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let folder = task?.path();
        let name = std::fs::read_to_string(folder.join("comm"));
        // A thread may end in between.
        if !name.is_ok_and(|name| names.iter().any(|begin| name.starts_with(begin))) {
            continue;
        }
        let stat = std::fs::read_to_string(folder.join("schedstat"))?;
        let first = stat
            .split_whitespace()
            .next()
            .context("an empty schedstat")?;
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Returns the bytes that all programs wrote to the device under a folder since the machine
/// started. `None` if the file system is not on one device that counts them.
///
/// The count of a process (`write_bytes` in proc(5)) is too high: since files are in large folios,
/// it counts a megabyte for a page that becomes dirty again after a sync.
///
/// # Errors
/// The folder cannot be read.
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

/// The files below a folder.
#[derive(Debug, Clone, Copy, Default)]
pub struct FilesBelow {
    /// The number of files.
    pub count: u64,
    /// The bytes of disk that they take.
    pub bytes: u64,
}

/// Counts the files below a folder.
///
/// # Errors
/// The folder cannot be read.
pub fn files(dir: &Path) -> anyhow::Result<FilesBelow> {
    use std::os::unix::fs::MetadataExt;
    let mut found = FilesBelow::default();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // A file can be merged away meanwhile.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() {
            let below = files(&entry.path())?;
            found.count += below.count;
            found.bytes += below.bytes;
        } else {
            found.count += 1;
            found.bytes += metadata.blocks() * 512;
        }
    }
    Ok(found)
}

/// Makes the kernel drop its cached pages of the files in a folder. Pages that are not on disk yet
/// stay.
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

/// Checks that the disk of a folder has room for `bytes`, beyond a reserve.
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

/// Returns whether a folder is on a file system in memory, where a sync does nothing.
///
/// # Errors
/// The kernel does not say.
pub fn in_memory(dir: &Path) -> anyhow::Result<bool> {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(dir)?.f_type as i64;
    Ok([TMPFS, RAMFS].contains(&kind))
}
