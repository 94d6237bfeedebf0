//! Answers to callers in this process: values instead of frames.

use super::failure::{NO_SESSION, TOO_LARGE};
use super::{JOB, Worker};
use crate::exchange::slices::LookedUp;
use crate::exchange::{CallAnswer, Job};
use crate::fit::fitted;
use crate::owned;

impl Worker {
    /// Answers a job of a caller in this process. Returns `None` if the job is not finished after a
    /// slice. A page that does not fit into one message to a client ends at the same entry as it
    /// does for a client with JSON.
    pub(super) fn value(&mut self, job: &mut Job) -> Option<CallAnswer> {
        let message_bytes = self.message_bytes;
        let answer = match self.look_up(job, None)? {
            Ok(LookedUp::Reply(body, cut)) => match fitted(*body, message_bytes, &cut) {
                Some(body) => CallAnswer::Reply(owned::reply(body)),
                None => CallAnswer::Failed(TOO_LARGE),
            },
            Ok(LookedUp::Finding(finding)) => CallAnswer::Found(finding),
            // Only connections catch up.
            Ok(LookedUp::Answer(_)) => CallAnswer::Failed(NO_SESSION),
            Err(failure) => CallAnswer::Failed(failure),
        };
        self.reading.meter().add(JOB);
        Some(answer)
    }
}
