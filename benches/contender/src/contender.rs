//! What a store must be able to do to be compared.

use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::bail;

use crate::Message;

/// A store under comparison.
pub trait Contender: Sized {
    /// Opens or creates the store in the folder `dir`, which exists. Each message will come with
    /// `entries` index entries, none or two.
    ///
    /// # Errors
    /// Whatever the store says.
    fn open(dir: &Path, entries: usize) -> anyhow::Result<Self>;

    /// Appends a group: all of it is on disk when this returns, by a sync of its own.
    ///
    /// # Errors
    /// Whatever the store says.
    fn append(&mut self, group: &[Message]) -> anyhow::Result<()>;

    /// Gives the bodies of `seqs` of a timeline to `each`, in order.
    ///
    /// # Errors
    /// Whatever the store says; or that it has no reads.
    fn read(
        &mut self,
        timeline: u128,
        seqs: RangeInclusive<u64>,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> anyhow::Result<()> {
        let _ = (timeline, seqs, each);
        bail!("it has no reads");
    }

    /// Waits until work in the background that the store can wait for is done.
    ///
    /// # Errors
    /// Whatever the store says.
    fn settle(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Bytes the store says it wrote since it was opened, if it counts them.
    fn written(&self) -> Option<u64> {
        None
    }
}
