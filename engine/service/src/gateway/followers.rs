//! The threads that follow the log: webhooks, and the index for searches.

use super::back_ends::{self, Telling};
use super::search::{Made, Searching};
use crate::http::Serving;
use crate::nodes::AmongNodes;

/// The running threads.
pub(super) struct Followers {
    telling: Option<Telling>,
    searching: Option<Searching>,
}

impl Followers {
    /// Starts the threads. Call this before clients can send.
    ///
    /// # Errors
    /// A thread cannot be started, or what waits for webhooks cannot be read.
    pub(super) fn start(
        serving: &Serving<'_>,
        index: Made,
        among: Option<&AmongNodes>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            telling: back_ends::tell(serving, among)?,
            searching: index.start()?,
        })
    }

    /// Ends the threads. Call this after the last message is stored.
    ///
    /// # Errors
    /// A thread panicked.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        if let Some(searching) = self.searching {
            searching.stop()?;
        }
        match self.telling {
            Some(telling) => telling.stop(),
            None => Ok(()),
        }
    }
}
