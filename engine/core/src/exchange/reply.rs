//! To whom an answer goes, and in which form.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use trunkline_proto::Encoding;
use trunkline_proto::message::ReplyBody;

use super::{ConnRef, Failure, Finding, Query, Wanted};

/// To whom the answer to a command or a query goes, and in which form.
#[derive(Debug, Clone)]
pub enum ReplyTo {
    /// Frames in an encoding, to a connection of a shard.
    Conn(ReplyConn),
    /// A value, to a caller in this process.
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
    /// The client's id for the command; 0 where nothing asked.
    pub id: u32,
}

// A batch holds thousands of them.
const _: () = assert!(size_of::<ReplyTo>() == 16);

impl ReplyTo {
    /// Returns the connection that waits, if one does.
    pub fn conn(&self) -> Option<&ReplyConn> {
        match self {
            Self::Conn(conn) => Some(conn),
            Self::Call(_) => None,
        }
    }
}

/// The answer to a call.
#[derive(Debug)]
pub enum CallAnswer {
    /// The answer itself.
    Reply(ReplyBody<'static>),
    /// A reader knows the answer: this is to be asked next.
    Ask(Query),
    /// What the caller needs to make the answer.
    Found(Finding),
    /// The error reply.
    Failed(Failure),
}

/// A caller in this process that waits for one answer. The first answer counts, later ones are
/// dropped; where the last copy goes without an answer the caller gets [`Lost::Dropped`].
#[derive(Debug, Clone)]
pub struct Call(Arc<Sender<CallAnswer>>);

/// The other end of a [`Call`]. Dropping it says that nobody waits any more.
#[derive(Debug)]
pub struct Pending {
    answer: Receiver<CallAnswer>,
    wanted: Wanted,
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It did not come in time.
    Late,
    /// Nobody is left to give it: the gateway stops.
    Dropped,
}

impl Call {
    /// Makes a call: the end that is answered, and the end that waits.
    pub fn new() -> (Self, Pending) {
        let (sender, answer) = bounded(1);
        let wanted = Wanted::default();
        (Self(Arc::new(sender)), Pending { answer, wanted })
    }

    /// Gives the answer. Never waits.
    pub fn answer(&self, answer: CallAnswer) {
        // Full: it has one. Disconnected: nobody waits.
        let _ = self.0.try_send(answer);
    }
}

impl Pending {
    /// Returns the flag that a query of this call is to carry.
    pub fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// There is none, see [`Lost`].
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
