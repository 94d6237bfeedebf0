//! Writing files so that each is whole on the disk or not there.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// Writes a file under a temporary name, makes it durable, and renames it. An earlier file of the
/// name stays until then. A device or a pipe is written to directly.
///
/// # Errors
/// The file cannot be written whole; no part of it is left.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays a link.
    let place = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if place.exists() && !place.is_file() {
        let mut there = File::options().write(true).open(&place)?;
        return there.write_all(bytes).and_then(|()| there.flush());
    }
    let beside = beside(&place);
    let written = write_through(&beside, bytes).and_then(|()| std::fs::rename(&beside, &place));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written?;
    let folder = place.parent().filter(|it| !it.as_os_str().is_empty());
    sync_folder(folder.unwrap_or(Path::new(".")))
}

/// The largest file of keys or certificates that is read, in bytes.
const SECRETS_MAX: u64 = 4 << 20;

/// Reads a file of keys or certificates.
///
/// # Errors
/// The file cannot be read, or is longer than any such file.
pub(crate) fn secrets(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(SECRETS_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > SECRETS_MAX {
        true => Err(io::Error::other("it has more than 4 MiB")),
        false => Ok(bytes),
    }
}

/// Returns the temporary name of a file: the name with `.part` behind it.
fn beside(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes new names in a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems have no such thing (fsync(2)).
        Err(why) if why.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Returns the failure of a file of results that cannot be written (exit 105).
pub(crate) fn unwritten(path: &Path, why: &io::Error) -> Failure {
    let path = path.display();
    Failure::aborted(format!(
        "cannot write {path}: {why}; the results in that folder are not complete: free some space, or name another folder with --out"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.json");
        put(&file, b"one").expect("it is written");
        put(&file, b"two").expect("it is written again");
        assert_eq!(std::fs::read(&file).expect("it is there"), b"two");
        // If the new file cannot take its place, the old one stays.
        std::fs::create_dir(beside(&file)).expect("a folder");
        put(&file, b"three").expect_err("it cannot be written");
        assert_eq!(std::fs::read(&file).expect("it is there"), b"two");
        let left = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 2, "the file and what stood in the way");
    }

    #[test]
    fn a_file_without_an_end_is_no_key() {
        secrets(Path::new("/dev/zero")).expect_err("it has no end");
        assert!(secrets(Path::new("/dev/null")).is_ok_and(|it| it.is_empty()));
    }

    #[test]
    fn devices_and_links_stay_what_they_are() {
        put(Path::new("/dev/full"), b"x").expect_err("there is no room");
        put(Path::new("/dev/null"), b"x").expect("it takes everything");
        assert!(!Path::new("/dev/null").is_file() && !Path::new("/dev/full").is_file());
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&file, "one").expect("it is written");
        std::os::unix::fs::symlink(&file, &link).expect("a link is made");
        put(&link, b"two").expect("it is written");
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).expect("it is there"), b"two");
    }
}
