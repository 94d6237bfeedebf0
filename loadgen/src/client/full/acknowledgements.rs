//! The due acknowledgements of recipients: delivered at once, read some time later.

use std::collections::VecDeque;

use crate::clock::Nanos;

/// A recipient's own side of a conversation, and the device that acknowledges there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reader {
    /// The stream of the recipient in the conversation.
    pub(super) stream: u32,
    pub(super) device: u32,
}

/// The acknowledgements that a thread owes.
#[derive(Debug)]
pub(super) struct Acknowledgements {
    /// The time from arrival to reading; `None` if nothing is acknowledged.
    read_after: Option<Nanos>,
    /// Readers with something to acknowledge as delivered, in the order of arrival.
    fresh: VecDeque<Reader>,
    /// Whether each stream is in `fresh`, by stream.
    is_fresh: Vec<bool>,
    /// Readers with something to acknowledge as read, in the order of time.
    to_read: VecDeque<(Nanos, Reader)>,
}

impl Acknowledgements {
    /// Makes a list without due acknowledgements. `streams` is the number of all readers' streams,
    /// including memberships.
    pub(super) fn new(read_after: Option<Nanos>, streams: usize) -> Self {
        Self {
            read_after,
            fresh: VecDeque::new(),
            is_fresh: vec![false; if read_after.is_some() { streams } else { 0 }],
            to_read: VecDeque::new(),
        }
    }

    /// Returns whether recipients acknowledge at all.
    pub(super) fn is_wanted(&self) -> bool {
        self.read_after.is_some()
    }

    /// A message arrived for a reader.
    pub(super) fn arrived(&mut self, reader: Reader) {
        if self.is_wanted() && !std::mem::replace(&mut self.is_fresh[reader.stream as usize], true)
        {
            self.fresh.push_back(reader);
        }
    }

    /// Takes the next reader that has a delivery to acknowledge. The reading follows some time
    /// after `now`.
    pub(super) fn next_delivered(&mut self, now: Nanos) -> Option<Reader> {
        let reader = self.fresh.pop_front()?;
        self.is_fresh[reader.stream as usize] = false;
        self.read_later(now, reader);
        Some(reader)
    }

    /// Takes the next reader that has something to acknowledge as read by now.
    pub(super) fn next_read(&mut self, now: Nanos) -> Option<Reader> {
        let (_, reader) = self.to_read.pop_front_if(|(at, _)| *at <= now)?;
        Some(reader)
    }

    /// Lets a reader repeat the acknowledgements from before its session broke. The reading time
    /// passes again first.
    pub(super) fn read_later(&mut self, now: Nanos, reader: Reader) {
        if let Some(read_after) = self.read_after {
            self.to_read.push_back((now + read_after, reader));
        }
    }

    /// Returns when the next reader has read its messages.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.to_read.front().map(|(at, _)| *at)
    }

    /// Returns whether nothing is left to acknowledge.
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.to_read.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(stream: u32) -> Reader {
        Reader {
            stream,
            device: stream + 100,
        }
    }

    #[test]
    fn each_reader_acknowledges_once_and_reads_later() {
        let mut owed = Acknowledgements::new(Some(500), 4);
        for stream in [2, 0, 2] {
            owed.arrived(reader(stream));
        }
        assert_eq!(owed.due(), None);
        assert_eq!(owed.next_delivered(10), Some(reader(2)));
        assert_eq!(owed.next_delivered(11), Some(reader(0)));
        assert_eq!(owed.next_delivered(12), None);
        // What arrives from now on is another acknowledgement.
        owed.arrived(reader(2));
        assert_eq!(owed.next_delivered(13), Some(reader(2)));
        assert_eq!(owed.due(), Some(510));
        assert_eq!(owed.next_read(509), None);
        assert_eq!(owed.next_read(511), Some(reader(2)));
        assert_eq!(owed.next_read(511), Some(reader(0)));
        assert_eq!(owed.next_read(511), None);
        assert!(!owed.is_empty());
        assert_eq!(owed.next_read(513), Some(reader(2)));
        assert!(owed.is_empty());
    }

    #[test]
    fn nothing_is_owed_where_nobody_acknowledges() {
        let mut owed = Acknowledgements::new(None, 4);
        owed.arrived(reader(1));
        owed.read_later(0, reader(1));
        assert!(!owed.is_wanted() && owed.is_empty());
        assert_eq!((owed.next_delivered(9), owed.next_read(9)), (None, None));
    }
}
