//! The receivers of answers.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use trunkline_proto::Encoding;
use trunkline_proto::message::ReplyBody;

use super::{ConnRef, Failure, Finding, Query, Wanted};

/// The receiver of the answer to a command or a query.
#[derive(Debug, Clone)]
pub enum ReplyTo {
    /// A connection of a shard, which receives frames.
    Conn(ReplyConn),
    /// A caller in this process, which receives a value.
    Call(Call),
}

/// A connection that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyConn {
    /// The number of the connection's shard.
    pub shard: u16,
    /// The encoding that the connection speaks.
    pub encoding: Encoding,
    /// The connection.
    pub conn: ConnRef,
    /// The client's id for the command; 0 for a query without a command.
    pub id: u32,
}

// A batch holds thousands of these.
const _: () = assert!(size_of::<ReplyTo>() == 16);

impl ReplyTo {
    /// Returns the connection that waits; `None` for a call.
    pub fn conn(&self) -> Option<&ReplyConn> {
        match self {
            Self::Conn(conn) => Some(conn),
            Self::Call(_) => None,
        }
    }
}

/// The answer to a call in this process.
#[derive(Debug)]
pub enum CallAnswer {
    /// The reply.
    Reply(ReplyBody<'static>),
    /// The query to ask next: a reader finds the answer.
    Ask(Query),
    /// The data from which the caller makes the answer.
    Found(Finding),
    /// The error reply.
    Failed(Failure),
}

/// The answering end of a call: a caller in this process waits for one answer. The first answer
/// counts; later ones are dropped. If all copies are dropped without an answer, the caller gets
/// [`Lost::Dropped`].
#[derive(Debug, Clone)]
pub struct Call(Arc<Sender<CallAnswer>>);

/// The waiting end of a [`Call`]. When it is dropped, nobody waits any more.
#[derive(Debug)]
pub struct Pending {
    answer: Receiver<CallAnswer>,
    wanted: Wanted,
}

/// The reason why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The answer did not come in time.
    Late,
    /// All answering ends are gone, because the gateway stops.
    Dropped,
}

impl Call {
    /// Returns both ends of a new call.
    pub fn new() -> (Self, Pending) {
        let (sender, answer) = bounded(1);
        let wanted = Wanted::default();
        (Self(Arc::new(sender)), Pending { answer, wanted })
    }

    /// Gives the answer, without waiting. Drops it if there is one already, or nobody waits.
    pub fn answer(&self, answer: CallAnswer) {
        // A full channel has an answer already. A disconnected one has no receiver.
        let _ = self.0.try_send(answer);
    }
}

impl Pending {
    /// Returns the flag for queries of this call. It falls when this end is dropped.
    pub fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }

    /// Waits at most `time` for the answer.
    ///
    /// # Errors
    /// There is no answer; [`Lost`] says why.
    pub fn wait(&self, time: Duration) -> Result<CallAnswer, Lost> {
        self.answer.recv_timeout(time).map_err(|error| match error {
            RecvTimeoutError::Timeout => Lost::Late,
            RecvTimeoutError::Disconnected => Lost::Dropped,
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.wanted.end();
    }
}

#[cfg(test)]
mod tests {
    use trunkline_proto::message::Ping;

    use super::*;

    fn pong() -> CallAnswer {
        CallAnswer::Reply(ReplyBody::Ping(Ping {}))
    }

    #[test]
    fn one_answer_comes_and_no_other() {
        let (call, pending) = Call::new();
        let copy = call.clone();
        call.answer(pong());
        copy.answer(CallAnswer::Failed(super::super::NOT_A_MEMBER));
        let answer = pending.wait(Duration::ZERO);
        assert!(matches!(answer, Ok(CallAnswer::Reply(ReplyBody::Ping(_)))));
        assert_eq!(pending.wait(Duration::ZERO).unwrap_err(), Lost::Late);
    }

    #[test]
    fn a_call_that_nobody_can_answer_ends() {
        let (call, pending) = Call::new();
        drop(call.clone());
        assert_eq!(pending.wait(Duration::ZERO).unwrap_err(), Lost::Late);
        drop(call);
        assert_eq!(pending.wait(Duration::ZERO).unwrap_err(), Lost::Dropped);
    }

    #[test]
    fn a_caller_that_leaves_wants_nothing() {
        let (call, pending) = Call::new();
        let wanted = pending.wanted();
        assert!(wanted.is_so());
        drop(pending);
        assert!(!wanted.is_so());
        call.answer(pong());
    }
}
