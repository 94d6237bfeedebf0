//! Erasing bodies of records from the files.

use std::io;

use super::Reader;
use crate::store::old_values::{OldValuesErased, Request};
use crate::{Position, TimelineId};

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
    /// that records set stay ([`erase_old_values`](Self::erase_old_values)), and so do records in runs of
    /// version 1.
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

    /// Overwrites old values under these keys with zeros, durably: those at positions up to `until` that a
    /// later value under the key has replaced, or that were removed. The latest value of each key stays. The
    /// store does it in pieces, after [`Writer::tick`](crate::Writer::tick), in new files of its segments. With
    /// `purges` old values of all keys leave the runs too.
    ///
    /// The store waits until the segment of `until` is in runs, and the one after it too. It seals them early,
    /// with the next records ([`OldValuesErased::waits_for_record`]).
    ///
    /// Returns the number that [`OldValuesErased::calls`] reaches when all of it is done; `None`, and nothing is
    /// erased, if another call is under way, or if there are more than 65,536 keys.
    ///
    /// What is under way is forgotten when the store closes: ask again after an opening. Backups that were made
    /// before keep their files. While a backup is made, this waits.
    #[must_use]
    pub fn erase_old_values(
        &self,
        keys: Vec<TimelineId>,
        until: Position,
        purges: bool,
    ) -> Option<u64> {
        let until = until.min(self.head());
        self.shared.old_values.ask(Request {
            keys,
            until,
            purges,
        })
    }

    /// Returns how far the erasure of old values is.
    #[must_use]
    pub fn old_values_erased(&self) -> OldValuesErased {
        self.shared.old_values.erased()
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
