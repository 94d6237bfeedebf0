//! The interface of stores that are compared.

use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::bail;

use crate::Message;
use crate::steady::StoreReading;

/// A store under comparison.
pub trait Contender: Sized {
    /// Opens or creates the store in the folder `dir`, which exists. Each message will come with
    /// `entries` index entries, none or two.
    ///
    /// # Errors
    /// The error of the store.
    fn open(dir: &Path, entries: usize) -> anyhow::Result<Self>;

    /// Appends a group. All of it is on disk when this returns, by a separate sync.
    ///
    /// # Errors
    /// The error of the store.
    fn append(&mut self, group: &[Message]) -> anyhow::Result<()>;

    /// Gives the bodies of `seqs` of a timeline to `each`, in order.
    ///
    /// # Errors
    /// The error of the store, or the store cannot read.
    fn read(
        &mut self,
        timeline: u128,
        seqs: RangeInclusive<u64>,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> anyhow::Result<()> {
        let _ = (timeline, seqs, each);
        bail!("it has no reads");
    }

    /// Waits for the work in the background, as far as the store can wait for it.
    ///
    /// # Errors
    /// The error of the store.
    fn settle(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Returns the counters of the store since it was opened; `None` if it does not tell the bytes
    /// that it writes and the work that it defers.
    fn reading(&self) -> Option<StoreReading> {
        None
    }
}
