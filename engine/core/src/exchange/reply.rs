//! The receivers of answers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use trunkline_proto::Encoding;
use trunkline_proto::message::ReplyBody;

use super::{ConnRef, Failure, Finding, Query, Wanted};
use crate::cost::Cost;

/// The receiver of the answer to a command or a query.
#[derive(Debug, Clone)]
pub enum ReplyTo {
    /// A connection of a shard, which receives frames.
    Conn(ReplyConn),
    /// A caller in this process, which receives a value.
    Call(Call),
    /// Another node, which passes the answer on when it has learnt of the commit.
    Remote(Remote),
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

/// A command of another node. The node knows who waits for its answer.
///
/// It is one number, so that a [`ReplyTo`] does not grow: connections and calls of other nodes would need a longer
/// name, and every node has to keep what it has forwarded anyway, because the next leader may have to decide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote(u64);

impl Remote {
    /// The number of numbers that a node has for its commands: enough for eight years with a million commands per
    /// second.
    pub const NUMBERS: u64 = 1 << 48;

    /// The number that this process gives to itself, for the commands that it forwards. Other nodes have others.
    pub const OWN: u16 = 0;

    /// Returns the name of a command. `node` is the number that this process gives to the other node, and `number` that
    /// which the other node gives to the command, modulo [`NUMBERS`](Self::NUMBERS).
    #[must_use]
    pub const fn new(node: u16, number: u64) -> Self {
        Self(((node as u64) << 48) | (number % Self::NUMBERS))
    }

    /// Returns the number that this process gives to the other node.
    #[must_use]
    pub const fn node(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// Returns the number that the other node gives to the command.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 % Self::NUMBERS
    }
}

// A batch holds thousands of these.
const _: () = assert!(size_of::<ReplyTo>() == 16);

impl ReplyTo {
    /// Returns the connection of this process that waits; `None` for a call and for another node.
    pub fn conn(&self) -> Option<&ReplyConn> {
        match self {
            Self::Conn(conn) => Some(conn),
            Self::Call(_) | Self::Remote(_) => None,
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

/// The answer to a call, with its cost.
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub answer: CallAnswer,
    /// The cost of the work for the answer, with that of the pushes that follow from it.
    pub cost: Cost,
}

/// The answering end of a call: a caller in this process waits for one answer. The first answer
/// counts; later ones are dropped. If all copies are dropped without an answer, the caller gets
/// [`Lost::Dropped`].
#[derive(Debug, Clone)]
pub struct Call(Arc<Answering>);

/// Tells the caller when the last copy of a [`Call`] is dropped.
#[derive(Debug)]
struct Answering(Arc<Shared>);

/// The waiting end of a [`Call`]: a future, for callers that must not block their thread. When it is
/// dropped, nobody waits any more.
#[derive(Debug)]
pub struct Pending {
    shared: Arc<Shared>,
    wanted: Wanted,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    came: Condvar,
}

/// The state of a call. It goes from `Waiting` to one of the others, and from `Answered` to `Taken`.
#[derive(Debug)]
enum State {
    /// There is no answer. The waker belongs to the task that waits.
    Waiting(Option<Waker>),
    /// There is an answer.
    Answered(Box<Answered>),
    /// The caller has the answer.
    Taken,
    /// No answer comes any more.
    Dropped,
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
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Waiting(None)),
            came: Condvar::new(),
        });
        let call = Self(Arc::new(Answering(Arc::clone(&shared))));
        let wanted = Wanted::default();
        (call, Pending { shared, wanted })
    }

    /// Gives the answer, without waiting. Drops it if there is one already, or nobody waits.
    pub fn answer(&self, answer: CallAnswer, cost: Cost) {
        let answered = Box::new(Answered { answer, cost });
        self.0.0.end(State::Answered(answered));
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.end(State::Dropped);
    }
}

impl Shared {
    /// Ends the waiting, if it has not ended yet.
    fn end(&self, with: State) {
        let mut state = self.state.lock();
        let State::Waiting(waker) = &mut *state else {
            return;
        };
        let waker = waker.take();
        *state = with;
        drop(state);
        self.came.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl State {
    /// Takes the answer. Returns `None` while there is none.
    fn take(&mut self) -> Option<Result<Answered, Lost>> {
        match std::mem::replace(self, Self::Taken) {
            Self::Answered(answered) => Some(Ok(*answered)),
            Self::Dropped => {
                *self = Self::Dropped;
                Some(Err(Lost::Dropped))
            }
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Pending {
    /// Returns the flag for queries of this call. It falls when this end is dropped.
    pub fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }

    /// Blocks the thread until the answer comes, at most for `time`.
    ///
    /// # Errors
    /// There is no answer; [`Lost`] says why.
    pub fn wait(&self, time: Duration) -> Result<Answered, Lost> {
        let until = Instant::now() + time;
        let mut state = self.shared.state.lock();
        loop {
            if let Some(taken) = state.take() {
                return taken;
            }
            if self.shared.came.wait_until(&mut state, until).timed_out() {
                return state.take().unwrap_or(Err(Lost::Late));
            }
        }
    }
}

impl Future for Pending {
    type Output = Result<Answered, Lost>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.state.lock();
        if let Some(taken) = state.take() {
            return Poll::Ready(taken);
        }
        if let State::Waiting(waker) = &mut *state {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
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
        call.answer(pong(), Cost::micros(7));
        copy.answer(CallAnswer::Failed(super::super::NOT_A_MEMBER), Cost::NONE);
        let Answered { answer, cost } = pending.wait(Duration::ZERO).unwrap();
        assert!(matches!(answer, CallAnswer::Reply(ReplyBody::Ping(_))));
        assert_eq!(cost, Cost::micros(7));
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
        call.answer(pong(), Cost::NONE);
    }

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[test]
    fn a_task_that_waits_is_woken_once() {
        let woken = Arc::new(Woken::default());
        let count = || woken.0.load(std::sync::atomic::Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let (call, mut pending) = Call::new();
        let copy = call.clone();
        assert!(Pin::new(&mut pending).poll(&mut context).is_pending());
        drop(copy);
        assert_eq!(count(), 0);
        call.answer(pong(), Cost::NONE);
        call.answer(pong(), Cost::NONE);
        drop(call);
        assert_eq!(count(), 1);
        let polled = Pin::new(&mut pending).poll(&mut context);
        assert!(matches!(polled, Poll::Ready(Ok(_))));

        let (call, mut pending) = Call::new();
        assert!(Pin::new(&mut pending).poll(&mut context).is_pending());
        drop(call);
        assert_eq!(count(), 2);
        let polled = Pin::new(&mut pending).poll(&mut context);
        assert!(matches!(polled, Poll::Ready(Err(Lost::Dropped))));
    }
}
