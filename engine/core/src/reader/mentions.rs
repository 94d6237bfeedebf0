//! The unread messages that mention a user.

use trunkline_storage::{Page, TimelineId};

use super::reading::Reading;
use super::series::Stored;
use super::view::View;
use crate::event::Body;
use crate::exchange::Failure;
use crate::ids::UserId;

/// The maximum number of unread mentions that are counted in one conversation.
const MOST: u64 = 100;

/// The maximum number of messages that are read to count them: some were recalled, for example. So
/// others cannot make the list of conversations slow.
const MOST_READ: usize = 1_000;

/// Counts the unread messages of one conversation that mention a user.
pub(super) struct Mentions<'a> {
    pub(super) reading: &'a Reading,
    pub(super) user: UserId,
    /// The user's name.
    pub(super) name: &'a str,
    /// Whether the user has deleted messages from the own view.
    pub(super) hides: bool,
    pub(super) conversation: TimelineId,
}

impl Mentions<'_> {
    /// Counts the messages of others after `read` that mention the user and can still be read,
    /// up to [`MOST`] of them.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) async fn count(&self, read: u64, page: &mut Page) -> Result<u64, Failure> {
        let Self {
            reading,
            user,
            conversation,
            ..
        } = *self;
        let ids = reading.ids();
        let all = ids.mentions_of_all(conversation);
        if reading.bytes(all)?.is_none() {
            return Ok(0);
        }
        let mut seqs = Stored::read(reading, all)?.above(read, MOST_READ).await?;
        let own = Stored::read(reading, ids.mentions(conversation, user))?;
        seqs.extend(own.above(read, MOST_READ).await?);
        seqs.sort_unstable_by(|one, other| other.cmp(one));
        seqs.dedup();
        seqs.truncate(MOST_READ);
        let (mut view, mut count) = (View::new(reading, user), 0);
        for seq in seqs {
            if count == MOST {
                break;
            }
            reading.message(conversation, seq, page)?;
            let found = page.records().next();
            let is_unread = found.is_some_and(|record| {
                let body = Body::read(record.body);
                body.is_some_and(|body| {
                    let is_gone = body.recalled || reading.is_due(&body, record.time);
                    !is_gone && body.user != self.name
                })
            });
            if is_unread {
                let hidden = self.hides && view.hides(conversation, seq)?;
                count += u64::from(!hidden);
            }
            if reading.is_slice_over() {
                page.release();
                reading.pause_if_due().await;
            }
        }
        Ok(count)
    }
}
