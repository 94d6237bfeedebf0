//! The texts of messages, in the order of the log.

use std::ops::ControlFlow;
use std::sync::Arc;

use trunkline_storage::{Page, Position, Reader, Record, TimelineId};

use super::failure::CORRUPT;
use super::follow::{self, Followed, Looked};
use super::reading::Reading;
use crate::clock::Clock;
use crate::event::{Body, RecordKind};
use crate::exchange::Failure;

/// A change of the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextChange<'a> {
    /// A message has this text now.
    Written {
        /// The conversation.
        conversation: TimelineId,
        /// The sequence of the message.
        seq: u64,
        /// The position of the message's record.
        position: Position,
        /// The steady time of the message's record, in milliseconds since 1970 UTC.
        time: u64,
        /// The text.
        text: &'a str,
    },
    /// A message has no longer the text that it had.
    Gone {
        /// The conversation.
        conversation: TimelineId,
        /// The sequence of the message.
        seq: u64,
    },
}

/// Reads the texts of messages by following the log. Each method reads the store: call it where a thread may
/// wait.
pub struct Texts {
    reading: Reading,
    clock: Arc<Clock>,
}

impl Texts {
    /// Returns what reads the texts of a store.
    pub fn new(store: &Reader, clock: &Arc<Clock>) -> Self {
        Self {
            reading: Reading::new(store, clock),
            clock: Arc::clone(clock),
        }
    }

    /// Returns the steady time, in milliseconds since 1970 UTC: that of [`TextChange::Written`].
    pub fn now(&self) -> u64 {
        self.clock.steady()
    }

    /// Returns the position of the last record of the log.
    pub fn head(&self) -> Position {
        self.reading.store().head()
    }

    /// Returns the text of a position, which no other history of the store accepts.
    pub fn token(&self, position: Position) -> String {
        self.reading.epochs().token(position).to_string()
    }

    /// Returns the position of a text of [`token`](Self::token); `None` if the text belongs to another
    /// store or to another history.
    pub fn position(&self, text: &str) -> Option<Position> {
        self.reading.epochs().check(text).ok()
    }

    /// Returns the free bytes of the disk with the store.
    ///
    /// # Errors
    /// The error of the system.
    pub fn free_bytes(&self) -> std::io::Result<u64> {
        self.reading.store().free_bytes()
    }

    /// Gives the changes of texts after a position to `each`, in the order of the log. Reads at most 1,000
    /// records, and no more once `each` breaks off; of the last record `each` gets all.
    ///
    /// A record that cannot be decoded, or whose message is damaged, is counted, and the next one is read: reading
    /// it again would change nothing. A damaged record of the log ends the reading: nothing says where the next
    /// one begins.
    pub fn follow(
        &self,
        after: Position,
        each: &mut dyn FnMut(TextChange<'_>) -> ControlFlow<()>,
    ) -> Followed {
        let mut page = Page::default();
        follow::follow(&self.reading, after, self.head(), &mut |record, _| {
            let mut flow = ControlFlow::Continue(());
            let mut tell = |change: TextChange<'_>| {
                if each(change).is_break() {
                    flow = ControlFlow::Break(());
                }
            };
            let result = self.changes(record, &mut page, &mut tell);
            Looked { result, flow }
        })
    }

    /// Tells the changes that a record makes.
    fn changes(
        &self,
        record: &Record<'_>,
        page: &mut Page,
        tell: &mut dyn FnMut(TextChange<'_>),
    ) -> Result<(), Failure> {
        let conversation = record.timeline;
        if let Some(redaction) = record.redaction() {
            let seq = redaction.seq;
            tell(TextChange::Gone { conversation, seq });
            return self.latest(conversation, seq, page, tell);
        }
        if RecordKind::of(record) != Some(RecordKind::Message) {
            return Ok(());
        }
        // The first body of a message that was edited or recalled is overwritten soon. There is a later one.
        match record.body.is_empty() {
            true => self.latest(conversation, record.seq, page, tell),
            false => self.written(record, tell),
        }
    }

    /// Tells the text that a message has by now, if it has any.
    fn latest(
        &self,
        conversation: TimelineId,
        seq: u64,
        page: &mut Page,
        tell: &mut dyn FnMut(TextChange<'_>),
    ) -> Result<(), Failure> {
        self.reading.message(conversation, seq, page)?;
        for record in page.records() {
            self.written(&record, tell)?;
        }
        page.release();
        Ok(())
    }

    fn written(
        &self,
        record: &Record<'_>,
        tell: &mut dyn FnMut(TextChange<'_>),
    ) -> Result<(), Failure> {
        if record.body.is_empty() {
            return Ok(());
        }
        let body = Body::read(record.body).ok_or(CORRUPT)?;
        if let Some(text) = body.text
            && !body.recalled
            && !self.reading.is_due(&body, record.time)
        {
            tell(TextChange::Written {
                conversation: record.timeline,
                seq: record.seq,
                position: record.position,
                time: record.time,
                text,
            });
        }
        Ok(())
    }
}
