//! Pages: owned, reusable buffers of records read from the store.

use std::fmt;

use crate::TimelineId;
use crate::log::record::{self, Record};
use crate::log::window::Window;

/// The default byte limit of a page.
const DEFAULT_BYTES: usize = 1 << 20;

/// The largest buffer in bytes that a page keeps when it is released.
const KEEP_BYTES: usize = 64 << 10;

/// The bytes from which on a record is a long one. In tests many are.
const LONG: usize = if cfg!(test) { 400 } else { 4 << 10 };

/// The end of a range that a limited read keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Keeps the oldest entries and cuts newer ones.
    Ascending,
    /// Keeps the newest entries and cuts older ones.
    Descending,
}

/// A reusable buffer of records that a [`Reader`](crate::Reader) fills, always in ascending order.
///
/// A read replaces the content. A page holds one record of any size, or several records of together
/// at most its byte limit; [`Page::more`] says whether the last read left records out. The buffers
/// grow to that size and stay until [`Page::release`], so keep pages for threads, not for
/// connections.
pub struct Page {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    limit: usize,
    more: bool,
    /// The bytes of what was read, with all that the page leaves out.
    read: usize,
    /// Positions that the reader has looked up, kept for the next read.
    pub(crate) positions: Vec<u64>,
    pub(crate) window: Window,
}

#[derive(Clone, Copy)]
struct Entry {
    position: u64,
    start: usize,
    len: usize,
}

/// The new body of a record of a page.
pub(crate) enum Replaced<'a> {
    /// The body itself.
    Body(&'a [u8]),
    /// The redacting record, at this position of the log, has a body of `len` bytes.
    Logged { position: u64, len: usize },
}

impl Replaced<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Body(body) => body.len(),
            Self::Logged { len, .. } => *len,
        }
    }
}

/// A record of a page whose new body is in the log.
pub(crate) struct Unread {
    /// The number of the record in the page, in the order of adding.
    pub(crate) number: usize,
    pub(crate) timeline: TimelineId,
    pub(crate) seq: u64,
    /// The position of the redacting record.
    pub(crate) position: u64,
}

impl Page {
    /// Makes an empty page with the default byte limit of 1 MiB.
    #[must_use]
    pub fn new() -> Self {
        Page::with_bytes(DEFAULT_BYTES)
    }

    /// Makes an empty page that holds records of together `limit` bytes, or one larger record.
    #[must_use]
    pub fn with_bytes(limit: usize) -> Self {
        Page {
            bytes: Vec::new(),
            entries: Vec::new(),
            limit,
            more: false,
            read: 0,
            positions: Vec::new(),
            window: Window::default(),
        }
    }

    /// Iterates over the records, oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        self.entries.iter().map(|entry| {
            let payload = &self.bytes[entry.start..][..entry.len];
            record::decode_payload(entry.position, payload)
                .unwrap_or_else(|| unreachable!("checked when it entered the page"))
        })
    }

    /// Returns the number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the bytes of all records, as they are in the log, but without the states of long ones.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.len).sum()
    }

    /// Returns the bytes that were read for the records: as they are in the log, with their states, and their new bodies.
    #[must_use]
    pub fn read_bytes(&self) -> usize {
        self.read
    }

    /// Returns whether the page has no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns whether the last read left out records, because of its count limit or the byte limit
    /// of the page.
    #[must_use]
    pub fn more(&self) -> bool {
        self.more
    }

    /// Removes all records and keeps the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.positions.clear();
        (self.more, self.read) = (false, 0);
    }

    /// Removes all records and frees large buffers: those that grew beyond 64 KiB.
    pub fn release(&mut self) {
        self.clear();
        self.bytes.shrink_to(KEEP_BYTES);
        self.entries.shrink_to(KEEP_BYTES / size_of::<Entry>());
        self.positions.shrink_to(KEEP_BYTES / size_of::<u64>());
        self.window.release();
    }

    /// Returns how many records the page can hold at most.
    pub(crate) fn max_records(&self) -> usize {
        self.limit / record::FIELDS + 1
    }

    pub(crate) fn set_more(&mut self) {
        self.more = true;
    }

    /// Adds a record by its payload. Leaves the states of a long record out, which nobody looks for in a page.
    /// Returns `false`, and adds nothing, if the record exceeds the byte limit.
    pub(crate) fn push(&mut self, position: u64, payload: &[u8]) -> bool {
        self.read += payload.len();
        if payload.len() >= LONG
            && let Some(record) = record::decode_payload(position, payload)
            && record.states.len() > 0
            && record.redacts.is_none()
        {
            return self.add(position, |bytes| {
                record::push_lasting(bytes, &record, None);
            });
        }
        self.add(position, |bytes| bytes.extend_from_slice(payload))
    }

    /// Adds the record whose payload `write` appends.
    fn add(&mut self, position: u64, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let start = self.bytes.len();
        write(&mut self.bytes);
        if !self.entries.is_empty() && self.bytes.len() > self.limit {
            self.bytes.truncate(start);
            return false;
        }
        self.entries.push(Entry {
            position,
            start,
            len: self.bytes.len() - start,
        });
        true
    }

    /// Adds a record with an empty body, like [`push`](Self::push).
    pub(crate) fn push_redacted(&mut self, record: &Record<'_>) -> bool {
        self.read += record.body.len();
        self.add(record.position.0, |bytes| {
            record::push_lasting(bytes, record, Some(&[]));
        })
    }

    /// Replaces the body of each record for which `replacement` returns another one, in the order in which
    /// the records were added. A new body may be longer: the page ends where it is full, and then has more.
    /// Returns which records have yet to get their bodies, by [`replace`](Self::replace).
    pub(crate) fn redact<'a>(
        &mut self,
        replacement: impl Fn(TimelineId, u64) -> Option<Replaced<'a>>,
    ) -> Vec<Unread> {
        let (mut unread, mut used) = (Vec::new(), 0);
        for i in 0..self.entries.len() {
            let entry = self.entries[i];
            let payload = &self.bytes[entry.start..][..entry.len];
            let Some(record) = record::decode_payload(entry.position, payload) else {
                continue;
            };
            let (timeline, seq, old) = (record.timeline, record.seq, record.body.len());
            let replaced = replacement(timeline, seq);
            used += entry.len;
            if let Some(replaced) = &replaced {
                used = used - old + replaced.len();
            }
            if i > 0 && used > self.limit {
                self.entries.truncate(i);
                self.more = true;
                break;
            }
            match replaced {
                Some(Replaced::Body(body)) => self.replace(i, body),
                Some(Replaced::Logged { position, .. }) => unread.push(Unread {
                    number: i,
                    timeline,
                    seq,
                    position,
                }),
                None => {}
            }
        }
        unread
    }

    /// Replaces the body of a record by its number in the order of adding.
    pub(crate) fn replace(&mut self, number: usize, body: &[u8]) {
        let Some(entry) = self.entries.get(number).copied() else {
            return;
        };
        let payload = &self.bytes[entry.start..][..entry.len];
        let Some(record) = record::decode_payload(entry.position, payload) else {
            return;
        };
        let mut redacted = Vec::new();
        record::push_lasting(&mut redacted, &record, Some(body));
        self.read += redacted.len();
        let (start, len) = (self.bytes.len(), redacted.len());
        self.bytes.extend_from_slice(&redacted);
        let entry = &mut self.entries[number];
        (entry.start, entry.len) = (start, len);
    }

    /// Reverses the order of the records.
    pub(crate) fn reverse(&mut self) {
        self.entries.reverse();
    }
}

impl Default for Page {
    fn default() -> Self {
        Page::new()
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("records", &self.entries.len())
            .field("bytes", &self.bytes.len())
            .field("more", &self.more)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_its_limit_or_one_record() {
        let payload = [0; record::FIELDS];
        let mut page = Page::with_bytes(2 * payload.len());
        assert!(page.push(8, &payload));
        assert!(page.push(16, &payload));
        assert!(!page.push(24, &payload));
        assert_eq!(page.len(), 2);
        page.reverse();
        assert_eq!(
            page.records().map(|r| r.position.0).collect::<Vec<_>>(),
            [16, 8]
        );

        page.clear();
        assert!(page.is_empty());
        assert!(page.push(8, &[0; 10 * record::FIELDS]));
        assert!(!page.push(16, &payload));
    }

    #[test]
    fn a_page_leaves_the_states_of_long_records_out() {
        let value = [7; 100];
        let states = |count: u128| {
            let keys = (0..count).map(TimelineId);
            let states = keys.map(|key| record::StateEntry { key, value: &value });
            states.collect::<Vec<_>>()
        };
        let redaction = record::Redaction { seq: 1, body: b"" };
        let mut page = Page::with_bytes(3_000);
        for (count, redacts, kept) in [(1, None, 1), (20, None, 0), (20, Some(redaction), 20)] {
            let states = states(count);
            let payload = record::payload_of(&record::Draft {
                states: &states,
                fanout: &[TimelineId(3)],
                body: b"body",
                redacts,
                ..record::Draft::default()
            });
            page.clear();
            assert!(page.push(8, &payload));
            assert_eq!(page.read_bytes(), payload.len());
            assert_eq!(page.bytes() < payload.len(), kept == 0);
            let record = page.records().next().unwrap();
            assert_eq!((record.body, record.states.len()), (&b"body"[..], kept));
            assert!(record.fanout.eq([TimelineId(3)]));
            assert_eq!(record.redacts, redacts);
        }
    }

    #[test]
    fn long_replacements_end_a_page_earlier() {
        let payload = record::payload_of(&record::Draft::default());
        let long = vec![7; 3 * payload.len()];
        let full = || {
            let mut page = Page::with_bytes(6 * payload.len());
            for position in 1..=5 {
                assert!(page.push(8 * position, &payload));
            }
            page
        };
        let mut page = full();
        assert!(page.redact(|_, _| None).is_empty());
        assert_eq!((page.len(), page.more()), (5, false));
        // Each takes four times the bytes now.
        page.redact(|_, _| Some(Replaced::Body(&long)));
        assert_eq!((page.len(), page.more()), (1, true));
        let body = page.records().next().map(|record| record.body.len());
        assert_eq!(body, Some(long.len()));
        // So it is if the bodies are read later.
        let mut page = full();
        let logged = |_, _| {
            Some(Replaced::Logged {
                position: 800,
                len: long.len(),
            })
        };
        let unread = page.redact(logged);
        assert_eq!((page.len(), page.more(), unread.len()), (1, true, 1));
        page.replace(unread[0].number, &long);
        assert_eq!(page.records().next().unwrap().body, long);
    }

    #[test]
    fn a_released_page_gives_large_buffers_back() {
        let mut page = Page::new();
        assert!(page.push(8, &[0; 2 * KEEP_BYTES]));
        page.positions.resize(KEEP_BYTES, 0);
        page.release();
        assert!(page.is_empty());
        assert!(page.bytes.capacity() <= KEEP_BYTES);
        assert!(page.positions.capacity() * 8 <= KEEP_BYTES);
    }
}
