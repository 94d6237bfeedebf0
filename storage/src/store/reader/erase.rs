//! Erasing content of records from the files.

use super::Reader;
use crate::Erase;

impl Reader {
    /// Overwrites content of records with zeros in their segments, durably: in pieces, after the next
    /// [`Writer::tick`](crate::Writer::tick), once the records are on the disk. Positions without a
    /// record that is kept are left out. Returns the number that [`erased`](Self::erased) reaches when
    /// all of it is done; `None`, and nothing is erased, if more than 16,384 records would wait.
    ///
    /// A crash leaves each record as it was or erased. What waits is forgotten when the store closes:
    /// ask again after an opening. Backups that were made before keep what they have as copies.
    ///
    /// Records in runs of version 1 stay as they are.
    #[must_use]
    pub fn erase(&self, erases: &[Erase]) -> Option<u64> {
        self.shared.erasures.add(erases)
    }

    /// Returns the number of records that were erased since the store was opened.
    #[must_use]
    pub fn erased(&self) -> u64 {
        self.shared.erasures.erased()
    }

    /// Removes the values that later ones have replaced from the runs, and the copies of cut-off ends of
    /// the log: after the next [`Writer::tick`](crate::Writer::tick), in the background, with one merge
    /// of all runs of values. Returns the number that [`purged`](Self::purged) reaches when it is done.
    ///
    /// Between two purges the store rests for 16 times as long as a purge takes. A purge that waits is
    /// forgotten when the store closes.
    #[must_use]
    pub fn purge(&self) -> u64 {
        self.shared.erasures.purge()
    }

    /// Returns the number of the last purge that is done; 0 if none was made since the store was
    /// opened.
    #[must_use]
    pub fn purged(&self) -> u64 {
        self.shared.erasures.purged()
    }
}
