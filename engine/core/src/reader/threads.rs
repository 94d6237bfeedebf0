//! Threads: a message with the replies to it.

use trunkline_proto::message::{HistoryReply, ReplyBody};
use trunkline_storage::Page;

use super::failure::NO_MESSAGE;
use super::messages::Messages;
use super::reading::{PIECE_BYTES, Reading};
use super::series::Stored;
use crate::exchange::slices::{LongReply, LookedUp};
use crate::exchange::{Access, Range};
use crate::fit::{Cut, PAGE_BYTES};
use crate::owned;

/// A question for a page of a thread.
#[derive(Clone, Copy)]
pub(super) struct Thread {
    pub(super) access: Access,
    /// The sequence of the message that the others reply to.
    pub(super) first: u64,
    pub(super) range: Range,
    /// The maximum number of messages.
    pub(super) limit: usize,
    /// The maximum number of bytes of a message to the client.
    pub(super) message_bytes: usize,
}

impl Thread {
    /// Returns the page. It reads the messages of the page, and a few parts of the index.
    ///
    /// # Errors
    /// The errors of [`Reading::check`], the user does not see the first message, or the store could
    /// not be read.
    pub(super) async fn read(self, reading: &Reading) -> LongReply {
        let conversation = self.access.conversation;
        let sight = reading.check(self.access)?;
        let oldest = match reading.first_seq(conversation)? {
            0 => sight.last + 1,
            oldest => oldest,
        };
        // What replies to a message that has not expired has not expired either.
        let lowest = oldest.max(sight.first);
        if self.first < lowest.max(1) || self.first > sight.last {
            return Err(NO_MESSAGE);
        }
        let key = reading.ids().thread(conversation, self.first);
        let replies = Stored::read(reading, key)?;
        // One more than asked for says whether there is more. No reply has a lower sequence than the
        // message that it replies to.
        let most = self.limit + 1;
        let first = [self.first].into_iter();
        let (mut seqs, is_forward): (Vec<u64>, _) = match self.range {
            Range::After(after) => {
                let replies = replies.from(after.saturating_add(1), most).await?;
                let first = first.filter(|first| *first > after);
                (first.chain(replies).collect(), true)
            }
            Range::Newest | Range::Before(_) => {
                let end = match self.range {
                    Range::Before(before) => before,
                    _ => u64::MAX,
                };
                let replies = replies.below(end, most).await?;
                let first = first.filter(|first| *first < end);
                (first.chain(replies).collect(), false)
            }
        };
        let mut more = seqs.len() > self.limit;
        if is_forward {
            seqs.truncate(self.limit);
        } else {
            seqs.drain(..seqs.len().saturating_sub(self.limit));
            // Those at the end are asked for: they are read first.
            seqs.reverse();
        }
        let mut messages = Messages::new(reading, self.access.user, self.message_bytes);
        let mut page = Page::with_bytes(PIECE_BYTES);
        let most = self.message_bytes.min(PAGE_BYTES);
        let (mut shown, mut bytes) = (Vec::new(), 0);
        for seq in seqs {
            if bytes > most {
                more = true;
                break;
            }
            reading.message(conversation, seq, &mut page)?;
            let sizes = page.records().map(|record| record.body.len());
            bytes += sizes.sum::<usize>();
            shown.extend(messages.show(&page)?.into_iter().map(owned::message));
            page.release();
            reading.pause_if_due().await;
        }
        let cut = if is_forward {
            Cut::Back
        } else {
            shown.reverse();
            Cut::Front
        };
        let reply = ReplyBody::History(HistoryReply {
            messages: shown,
            first: lowest,
            last: sight.last,
            more,
        });
        Ok(LookedUp::Reply(Box::new(reply), cut))
    }
}
