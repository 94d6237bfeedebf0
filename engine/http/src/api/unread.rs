//! The bytes of streams and answers that clients have not taken.
//!
//! A client that does not read lets its page of events, or its answer, wait in memory. Each of them is limited, and
//! so is the time for which it waits. This is the limit of all of them together.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use trunkline_proto::ErrorCode;

use crate::mapped::MAPPED_BYTES;
use crate::metrics::HttpMetrics;
use crate::problem::Problem;
use crate::server::Line;

/// The bytes below which nothing is dropped and no answer refused, whatever waits: an answer that says that
/// something was stored has fewer.
const SMALL: usize = 4 << 10;

/// The bytes from which on a rest is worth a page.
const LEAST: usize = 1 << 10;

/// The time between two looks whether too much waits.
const LOOK: Duration = Duration::from_secs(1);

/// The limit of all bytes that wait for clients.
pub(super) struct Unread {
    most: usize,
    metrics: Arc<HttpMetrics>,
}

/// Bytes that wait until a client has taken them. They count until this is dropped.
pub(super) struct Waits {
    bytes: usize,
    metrics: Arc<HttpMetrics>,
}

impl Unread {
    /// Makes a limit of `most` bytes, which `metrics` counts.
    pub(super) const fn new(most: usize, metrics: Arc<HttpMetrics>) -> Self {
        Self { most, metrics }
    }

    fn count(&self, bytes: usize) -> Waits {
        self.metrics.unread.fetch_add(bytes, Relaxed);
        self.metrics.unread_parts.fetch_add(1, Relaxed);
        let metrics = Arc::clone(&self.metrics);
        Waits { bytes, metrics }
    }

    /// Returns whether bytes have to go because all together are too many: those that are as many as the mean of
    /// all, or more.
    fn is_too_much(&self, bytes: usize) -> bool {
        let held = self.metrics.unread.load(Relaxed);
        let parts = self.metrics.unread_parts.load(Relaxed);
        held > self.most && bytes >= SMALL && bytes.saturating_mul(parts) >= held
    }

    /// Counts an answer of this many bytes.
    ///
    /// # Errors
    /// The answer is long, and too much waits already.
    pub(super) fn answer(&self, bytes: usize) -> Result<Waits, Problem> {
        let waits = self.count(bytes);
        if self.is_too_much(bytes) {
            let text = "what clients of the API do not read takes too much memory (http_unread_bytes): try again, and \
                        read the answer";
            return Err(Problem::new(ErrorCode::StorageUnavailable, text));
        }
        Ok(waits)
    }

    /// Sends bytes to a client, which has `time` to take them. What its socket does not take at once waits in a
    /// buffer of its own.
    ///
    /// # Errors
    /// The client has gone, its time is over, or too much waits, of which this has a large part.
    pub(super) async fn send(
        &self,
        line: &mut Line,
        bytes: Vec<u8>,
        time: Duration,
    ) -> io::Result<()> {
        let bytes = match line.begin(&bytes).await? {
            Some(sent) => rest(bytes, sent),
            None => bytes,
        };
        let _waits = self.count(bytes.len());
        let until = Instant::now() + time;
        let mut sending = pin!(line.send(&bytes));
        loop {
            let look = until.min(Instant::now() + LOOK);
            if let Ok(sent) = timeout_at(look, &mut sending).await {
                return sent;
            }
            let is_late = Instant::now() >= until;
            if is_late || self.is_too_much(bytes.len()) {
                if !is_late {
                    self.metrics.unread_dropped.one();
                }
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.metrics.unread.fetch_sub(self.bytes, Relaxed);
        self.metrics.unread_parts.fetch_sub(1, Relaxed);
    }
}

/// Returns what is left of bytes that are to wait. A rest that is worth a page gets a mapped buffer: of thousands of
/// small ones, free blocks between others would stay in the process.
fn rest(bytes: Vec<u8>, sent: usize) -> Vec<u8> {
    let left = &bytes[sent..];
    if left.is_empty() {
        return Vec::new();
    }
    if sent == 0 && bytes.capacity() >= MAPPED_BYTES {
        return bytes;
    }
    let capacity = if left.len() < LEAST { 0 } else { MAPPED_BYTES };
    let mut own = Vec::with_capacity(left.len().max(capacity));
    own.extend_from_slice(left);
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_and_is_worth_a_page_is_mapped() {
        let bytes = |len: usize| [7].repeat(len);
        for (len, sent, mapped) in [
            (900, 0, false),
            (5_000, 4_500, false),
            (5_000, 0, true),
            (90_000, 80_000, true),
        ] {
            let rest = rest(bytes(len), sent);
            assert_eq!(rest, bytes(len - sent));
            assert_eq!(rest.capacity() >= MAPPED_BYTES, mapped, "{len} {sent}");
        }
        assert_eq!(rest(bytes(90_000), 80_000).capacity(), MAPPED_BYTES);
        assert_eq!(rest(bytes(5_000), 5_000).capacity(), 0);
        let long = bytes(90_000);
        let at = long.as_ptr();
        let kept = rest(long, 0);
        assert_eq!(kept.as_ptr(), at, "a mapped buffer stays");
    }

    #[test]
    fn beyond_the_limit_what_is_long_goes_and_what_is_short_stays() {
        let metrics = Arc::<HttpMetrics>::default();
        let unread = Unread::new(100_000, Arc::clone(&metrics));
        let short: Vec<_> = (0..10).map(|_| unread.answer(SMALL - 1).unwrap()).collect();
        let long = unread.answer(50_000).unwrap();
        assert!(unread.answer(50_000).is_err());
        let held = 10 * (SMALL - 1) + 50_000;
        assert_eq!(
            metrics.unread.load(Relaxed),
            held,
            "what is refused counts no more"
        );
        let _more = unread.count(20_000);
        assert!(unread.is_too_much(50_000) && unread.is_too_much(20_000));
        assert!(!unread.is_too_much(SMALL) && !unread.is_too_much(1));
        assert!(unread.answer(100).is_ok(), "what was stored is answered");
        drop(long);
        assert!(!unread.is_too_much(50_000));
        drop(short);
        assert_eq!(metrics.unread_parts.load(Relaxed), 1);
    }
}
