//! The fields of a message that few messages have: what the sequencer checks and indexes of them.

use trunkline_proto::ErrorCode;

use super::Messages;
use crate::event::Body;
use crate::sequencer::asked::Asked;
use crate::sequencer::batch::{Changes, OpenBatch};
use crate::sequencer::recent::Recent;
use crate::sequencer::refused::{CORRUPT, NO_CONVERSATION, NO_MESSAGE, Refused};
use crate::sequencer::{mentions, series};

const NO_ANSWERED: Refused = Refused::new(
    ErrorCode::BadRequest,
    "reply_to names no message of this conversation that you can see",
);

const TOO_LONG: Refused = Refused::new(
    ErrorCode::LimitExceeded,
    "ttl is longer than half of sync_life: send it with a shorter one",
);

impl Messages {
    /// Checks that the message with the sequence in `reply_to` is one that the caller sees, and that the
    /// caller may mention whom the message mentions. Returns when the message expires, in steady time.
    #[cold]
    pub(super) fn check_extras(
        &self,
        batch: &OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
    ) -> Result<Option<u64>, Refused> {
        let body = Body::read(command.body).ok_or(CORRUPT)?;
        let extras = body.extras();
        if extras.ttl > self.most_ttl {
            return Err(TOO_LONG);
        }
        if !extras.mentions.is_empty() {
            mentions::check(batch, recent, command, &extras)?;
        }
        if let Some(seq) = extras.reply_to {
            let seen = self.subjects.see(batch, recent, command, seq);
            seen.map_err(|refused| match refused {
                NO_MESSAGE | NO_CONVERSATION => NO_ANSWERED,
                other => other,
            })?;
        }
        if extras.ttl == 0 {
            return Ok(None);
        }
        // The sender pays now for what removing the content will cost.
        batch.count_read(command.body.len());
        batch.count_read(0);
        batch.count_read(0);
        Ok(Some(batch.moment().steady + extras.ttl))
    }
}

/// Enters a message into the indexes that its extras ask for. `seq` is the sequence that it gets.
///
/// # Errors
/// The store could not be read.
#[cold]
pub(super) fn index(
    batch: &OpenBatch,
    command: Asked<'_>,
    seq: u64,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let body = Body::read(command.body).ok_or(CORRUPT)?;
    let extras = body.extras();
    mentions::index(batch, command, &extras, seq, changes)?;
    if let Some(first) = extras.reply_to {
        let key = batch.ids().thread(command.conversation, first);
        series::add(batch, key, seq, changes)?;
    }
    Ok(())
}
