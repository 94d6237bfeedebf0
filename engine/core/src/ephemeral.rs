//! Messages that expire: whether the store keeps what is needed to find them until they are due.
//!
//! The records of such messages are found by timelines of the time at which they are due. The store keeps
//! timelines for `sync_life` only. While the setting stays, no message lives longer than half of it. With a
//! shorter setting than before, the content of messages that are still to expire would never be removed.

use std::time::Duration;

use trunkline_storage::{ReadError, Reader};

use crate::ids::Ids;
use crate::state::{self, DUE_SPAN, Ttls};

/// The time by which what the store notes as cleared is behind at most, in milliseconds, while a gateway runs.
const NOTED: u64 = 3_600_000;

/// Messages that wait until they are due, for longer than the store would keep what finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// The shortest `sync_life` with which none is lost.
    pub least: Duration,
    /// The time at which the store notes that none of them waits any more, if a gateway runs until then. In
    /// milliseconds since 1970 UTC.
    pub until: u64,
}

/// Returns the messages that would be lost with this `sync_life`, if there are some. Ask before the store expires
/// anything. The answer can name messages that are gone already: it never leaves one out.
///
/// # Errors
/// The store could not be read.
pub fn lost(store: &Reader, sync_life: Duration) -> Result<Option<Lost>, ReadError> {
    let ids = Ids(store.key());
    let ttls = store.state(ids.waiting_ttls())?;
    let Some(ttls) = ttls.and_then(|value| state::decode::<Ttls>(&value)) else {
        return Ok(None);
    };
    let cleared = store.state(ids.cleared())?;
    let cleared = cleared.and_then(|value| Some(u64::from_le_bytes(value.try_into().ok()?)));
    let longest = ttls.longest(cleared.unwrap_or_default().saturating_mul(DUE_SPAN));
    let lost = longest.map(|lives| Lost {
        least: Duration::from_millis(lives.longest.saturating_mul(2)),
        until: lives.until.saturating_add(NOTED),
    });
    Ok(lost.filter(|lost| lost.least > sync_life))
}
