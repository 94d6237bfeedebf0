//! The text of the counters of the index for searches.

use super::families::{Families, Written};
use super::text::Exporter;

impl Exporter {
    /// Writes the counters of the index. All are 0 without one.
    pub(super) fn search(&self, to: &mut Families<'_, '_>) -> Written {
        let search = &self.metrics.search;
        for (name, help, value) in [
            (
                "trunkline_search_ready",
                "1 if searches are answered, 0 while the index is being made or without one",
                search.ready.get(),
            ),
            (
                "trunkline_search_messages",
                "Messages in the index for searches",
                search.messages.get(),
            ),
            (
                "trunkline_search_bytes",
                "Bytes of the files of the index for searches",
                search.bytes.get(),
            ),
            (
                "trunkline_search_behind_bytes",
                "Bytes of the log that the index for searches does not have yet",
                search.behind.get(),
            ),
        ] {
            to.gauge(name, help, value)?;
        }
        for (name, help, value) in [
            (
                "trunkline_search_failures",
                "Times that the index for searches stopped because of an error",
                search.failures.get(),
            ),
            (
                "trunkline_search_rebuilds",
                "Times that the index for searches was made from the beginning of the log",
                search.rebuilds.get(),
            ),
            (
                "trunkline_search_undecodable",
                "Messages that are not in the index for searches because they are damaged or cannot be decoded",
                search.undecodable.get(),
            ),
        ] {
            to.counter(name, help, value)?;
        }
        Ok(())
    }
}
