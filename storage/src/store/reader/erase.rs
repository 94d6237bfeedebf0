//! Erasing bodies of records from the files.

use std::io;

use super::Reader;
use crate::Position;

impl Reader {
    /// Overwrites the bodies of records that have no sequence with zeros in their segments, durably: in
    /// pieces, after the next [`Writer::tick`](crate::Writer::tick), once the records are on the disk. The
    /// records then read with an empty body. Records with a sequence stay: redact them. Positions behind
    /// the head, and those of records that are no longer kept, are left out.
    ///
    /// Returns the number that [`erased`](Self::erased) reaches when all of it is done; `None`, and nothing
    /// is erased, if more than 16,384 records would wait.
    ///
    /// A crash leaves each record as it was or erased. What waits is forgotten when the store closes:
    /// ask again after an opening. Backups that were made before keep what they have as copies. Values
    /// that records set stay, and so do records in runs of version 1.
    #[must_use]
    pub fn erase(&self, records: &[Position]) -> Option<u64> {
        let head = self.head();
        let records = records.iter().filter(|position| **position <= head);
        let records: Vec<u64> = records.map(|position| position.0).collect();
        self.shared.erasures.add(records.into_iter())
    }

    /// Returns the number of records that were looked at for [`erase`](Self::erase) since the store was
    /// opened.
    #[must_use]
    pub fn erased(&self) -> u64 {
        self.shared.erasures.erased()
    }

    /// Returns how many of these records could not be erased, because they are damaged or there is no
    /// record.
    #[must_use]
    pub fn not_erased(&self) -> u64 {
        self.shared.erasures.failed()
    }

    /// Removes the copies of unfinished ends of the log, which openings have cut off. They are never read.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn remove_torn_copies(&self) -> io::Result<()> {
        let backend = &*self.shared.backend;
        let _files = self.shared.files.lock();
        for name in backend.list()? {
            if name.starts_with("torn-") && name.ends_with(".bak") {
                backend.remove(&name)?;
            }
        }
        backend.sync_dir()
    }
}
