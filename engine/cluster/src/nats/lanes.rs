//! Messages to other nodes that nobody stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use trunkline_core::exchange::Wake;

use super::fetch::alone;
use super::line::{Line, Moment};
use super::names::ClusterNames;
use super::queue::{Queue, Room};
use super::stream::RECORD_MAX;
use super::{AtEnd, LIBRARY_ENDED};

/// The messages of a lane that wait for their reader.
const ROOM: Room = Room {
    items: 1_024,
    bytes: 8 << 20,
};

/// The messages of a lane that wait to leave.
const LEAVING: Room = Room {
    items: 1_024,
    bytes: 8 << 20,
};

/// The time in which the connection must take what leaves.
const TAKEN_WITHIN: Duration = Duration::from_millis(500);

/// The age from which on a sign of life does not leave: the next one is there, and a late one would prolong what
/// has ended.
const BEAT_MAX: Duration = Duration::from_millis(300);

/// A kind of messages between nodes. Each lane has queues of its own, in and out: a flood on one takes no room of another,
/// and the more urgent leave first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Signs of life. The servers send them back to their node too.
    Heartbeat,
    /// Commands for the leader.
    Forward,
    /// Answers that are in no record.
    Answers,
    /// Orders of operators that a node has got, and what became of them.
    Orders,
    /// What ephemeral state a node has, and its changes.
    Digest,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 5] = [
        Self::Heartbeat,
        Self::Forward,
        Self::Answers,
        Self::Orders,
        Self::Digest,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Forward => "forward",
            Self::Answers => "answers",
            Self::Orders => "orders",
            Self::Digest => "digest",
        }
    }
}

/// The recipients of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To<'a> {
    /// All nodes, this one too.
    All,
    /// The node of this name.
    Node(&'a str),
}

/// The lanes that one end takes messages from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    /// What the log needs.
    Log,
    /// Ephemeral state: its messages wait for a thread of their own.
    Ephemeral,
}

impl Share {
    const ALL: [Self; 2] = [Self::Log, Self::Ephemeral];

    const fn of(lane: Lane) -> Self {
        match lane {
            Lane::Heartbeat | Lane::Forward | Lane::Answers | Lane::Orders => Self::Log,
            Lane::Digest => Self::Ephemeral,
        }
    }
}

/// What came over the lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A message.
    Message {
        /// The lane.
        lane: Lane,
        /// The message is for this node alone.
        to_me: bool,
        /// The bytes.
        bytes: Bytes,
    },
    /// Messages of this lane to this node are lost. `messages` found no room; with 0 it is not known how many,
    /// or whether any.
    Missed {
        /// The lane.
        lane: Lane,
        /// The number.
        messages: u64,
    },
    /// Messages from this node are lost on their way to the servers, or may be. Which is not known.
    Unsent {
        /// The number of lost messages; 0 if it is not known.
        messages: u64,
    },
}

/// A message that was not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotSaid {
    /// Too many messages wait to leave.
    #[error("the connection to the NATS servers takes messages more slowly than they come")]
    Full,
    /// The message is too long.
    #[error("a message of {0} bytes is longer than {RECORD_MAX}")]
    TooLong(usize),
    /// The thread that speaks NATS has ended.
    #[error("the thread that speaks NATS has ended")]
    Ended,
}

/// Messages to other nodes, and from them. They come in the order in which one node sent them on one lane, at
/// most once, and may be lost: what is known to be lost is said.
///
/// There are two such ends: one for [`Lane::Digest`], and one for all other lanes. Either takes messages for any lane.
#[derive(Debug)]
pub struct Lanes {
    names: ClusterNames,
    share: Share,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// In the order of [`Lane::ALL`].
    lanes: [Arrivals; Lane::ALL.len()],
    /// What waits to leave, in the order of [`Lane::ALL`].
    leaving: [Queue<Departure>; Lane::ALL.len()],
    /// Told of what is to leave.
    said: Arc<ToSend>,
    /// No more is taken.
    is_closed: AtomicBool,
    /// Told when all has left that was taken.
    drained: Notify,
    /// What each end has to know, in the order of [`Share::ALL`].
    ends: [EndOfLanes; Share::ALL.len()],
}

#[derive(Debug)]
struct EndOfLanes {
    /// The messages that left in vain, and the times that it is not known.
    unsent: AtomicU64,
    unsure: AtomicU64,
    wake: Arc<dyn Wake>,
}

#[derive(Debug)]
struct Arrivals {
    messages: Queue<(bool, Bytes)>,
    /// The times that messages may be lost.
    breaks: AtomicU64,
}

/// A message that waits to leave.
#[derive(Debug)]
struct Departure {
    subject: String,
    bytes: Bytes,
    since: Instant,
}

/// A wake-up for the task that sends.
#[derive(Debug, Default)]
struct ToSend(Notify);

impl Wake for ToSend {
    fn wake(&self) {
        self.0.notify_one();
    }
}

impl Shared {
    /// Takes the most urgent message that waits to leave.
    fn next_to_leave(&self) -> Option<(Lane, Departure)> {
        let mut lanes = Lane::ALL.into_iter().zip(&self.leaving);
        lanes.find_map(|(lane, leaving)| Some((lane, leaving.take()?)))
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.said.wake();
    }

    fn wake_all(&self) {
        for end in &self.ends {
            end.wake.wake();
        }
    }

    /// Notes that a message of a lane did not leave.
    fn lost(&self, lane: Lane) {
        let end = &self.ends[Share::of(lane) as usize];
        end.unsent.fetch_add(1, Ordering::Relaxed);
        end.wake.wake();
    }

    /// Notes that messages may not have left.
    fn unsure(&self) {
        for end in &self.ends {
            end.unsure.fetch_add(1, Ordering::Relaxed);
        }
        self.wake_all();
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        // A node that has no log any more has nothing to say. Without ephemeral state it goes on.
        if self.share == Share::Log {
            self.shared.close();
        }
    }
}

/// The end of what leaves.
#[derive(Debug)]
pub(crate) struct LastMessages(Arc<Shared>);

impl LastMessages {
    /// Takes no more messages, and waits until those that were taken have left.
    pub(crate) async fn leave(&self) {
        self.0.close();
        self.0.drained.notified().await;
    }
}

impl Lanes {
    /// Sends a message.
    ///
    /// # Errors
    /// The message is longer than [`RECORD_MAX`], too much of its lane waits already, or the thread has ended: the
    /// caller keeps the message, or does without it.
    pub fn say(&self, lane: Lane, to: To<'_>, bytes: Bytes) -> Result<(), NotSaid> {
        let length = bytes.len();
        if length > RECORD_MAX {
            return Err(NotSaid::TooLong(length));
        }
        if self.is_ended() {
            return Err(NotSaid::Ended);
        }
        let departure = Departure {
            subject: match to {
                To::All => self.names.to_all(lane.name()),
                To::Node(node) => self.names.to_node(lane.name(), node),
            },
            bytes,
            since: Instant::now(),
        };
        let leaving = &self.shared.leaving[lane as usize];
        leaving.push(length, departure).map_err(|_| NotSaid::Full)
    }

    /// Returns whether the thread that speaks NATS ends: nothing is taken any more, and little comes.
    pub fn is_ended(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }

    /// Returns what tells the owner that the thread has ended.
    pub(crate) fn at_end(&self) -> AtEnd {
        let shared = Arc::clone(&self.shared);
        Box::new(move || {
            shared.close();
            shared.wake_all();
        })
    }

    /// Takes what came, if anything did: losses first, then the most urgent lane of this end.
    pub fn take(&self) -> Option<Said> {
        let end = &self.shared.ends[self.share as usize];
        let unsent = end.unsent.swap(0, Ordering::Relaxed);
        if end.unsure.swap(0, Ordering::Relaxed) > 0 {
            return Some(Said::Unsent { messages: 0 });
        }
        if unsent > 0 {
            return Some(Said::Unsent { messages: unsent });
        }
        let own = || {
            let lanes = Lane::ALL.into_iter().zip(&self.shared.lanes);
            lanes.filter(|(lane, _)| Share::of(*lane) == self.share)
        };
        for (lane, arrivals) in own() {
            let messages = arrivals.messages.take_lost();
            if arrivals.breaks.swap(0, Ordering::Relaxed) > 0 {
                return Some(Said::Missed { lane, messages: 0 });
            }
            if messages > 0 {
                return Some(Said::Missed { lane, messages });
            }
        }
        own().find_map(|(lane, arrivals)| {
            let (to_me, bytes) = arrivals.messages.take()?;
            Some(Said::Message { lane, to_me, bytes })
        })
    }
}

/// The part of the lanes that runs on the thread.
#[derive(Debug)]
pub(crate) struct Carrying {
    names: ClusterNames,
    line: Line,
    shared: Arc<Shared>,
}

/// Makes the ends for the log and for ephemeral state, which `wakes` wake, and the part that runs on the thread.
pub(crate) fn lanes(
    names: &ClusterNames,
    line: &Line,
    wakes: &[Arc<dyn Wake>; 2],
) -> ([Lanes; 2], Carrying) {
    let said = Arc::new(ToSend::default());
    let arrivals = |lane| Arrivals {
        messages: Queue::new(ROOM, Arc::clone(&wakes[Share::of(lane) as usize])),
        breaks: AtomicU64::new(0),
    };
    let shared = Arc::new(Shared {
        lanes: Lane::ALL.map(arrivals),
        leaving: Lane::ALL.map(|_| Queue::new(LEAVING, Arc::clone(&said) as Arc<dyn Wake>)),
        said,
        is_closed: AtomicBool::new(false),
        drained: Notify::new(),
        ends: wakes.clone().map(|wake| EndOfLanes {
            unsent: AtomicU64::new(0),
            unsure: AtomicU64::new(0),
            wake,
        }),
    });
    let ends = Share::ALL.map(|share| Lanes {
        names: names.clone(),
        share,
        shared: Arc::clone(&shared),
    });
    let carrying = Carrying {
        names: names.clone(),
        line: line.clone(),
        shared,
    };
    (ends, carrying)
}

/// A message of a lane, as it came.
type Arrived = (usize, bool, Bytes);

impl Carrying {
    /// Returns what lets the last messages leave.
    pub(crate) fn last_messages(&self) -> LastMessages {
        LastMessages(Arc::clone(&self.shared))
    }

    /// Carries messages until the lanes are dropped.
    pub(crate) async fn run(self, client: Client) -> Result<(), String> {
        let Self {
            names,
            line,
            shared,
        } = self;
        let arrivals = subscribe(&names, &client).await?;
        let receive = receive(arrivals, line.clone(), Arc::clone(&shared));
        let send = send(client, line, shared);
        tokio::select! {
            () = receive => Err(LIBRARY_ENDED.into()),
            () = send => Ok(()),
        }
    }
}

type Arrivings = SelectAll<futures_util::stream::BoxStream<'static, Arrived>>;

async fn subscribe(names: &ClusterNames, client: &Client) -> Result<Arrivings, String> {
    let mut all = Vec::new();
    for (index, lane) in Lane::ALL.into_iter().enumerate() {
        let me = names.to_node(lane.name(), names.node());
        for (to_me, subject) in [(false, names.to_all(lane.name())), (true, me)] {
            let messages: Subscriber = client
                .subscribe(subject)
                .await
                .map_err(|why| why.to_string())?;
            let messages = messages.map(move |message| (index, to_me, alone(&message.payload)));
            all.push(messages.boxed());
        }
    }
    Ok(select_all(all))
}

async fn receive(mut arrivals: Arrivings, line: Line, shared: Arc<Shared>) {
    let mut watch = line.watch();
    // Before the first connection nothing can be missed.
    let mut before = *watch.borrow_and_update();
    loop {
        tokio::select! {
            arrived = arrivals.next() => match arrived {
                Some((lane, to_me, bytes)) => {
                    let length = bytes.len();
                    shared.lanes[lane].messages.push_or_lose(length, (to_me, bytes));
                }
                None => return,
            },
            _ = watch.changed() => {
                let now = *watch.borrow_and_update();
                if is_break(before, now) {
                    for lane in &shared.lanes {
                        lane.breaks.fetch_add(1, Ordering::Relaxed);
                    }
                    shared.wake_all();
                }
                before = now;
            }
        }
    }
}

/// Returns whether messages may have been missed: it is said when they come again, and when they stop.
fn is_break(before: Moment, now: Moment) -> bool {
    let is_first = now.connects == 1 && before.connects == 0;
    now.breaks != before.breaks || now.connects != before.connects && !is_first
}

/// Hands messages to the library, the most urgent first, until no more can come.
async fn send(client: Client, line: Line, shared: Arc<Shared>) {
    let mut unflushed = 0;
    loop {
        // Looked at first: what was said before the end leaves.
        let is_closed = shared.is_closed.load(Ordering::Acquire);
        let Some((lane, departure)) = shared.next_to_leave() else {
            if unflushed > 0 {
                // When no more waits, the messages must have left for the socket.
                unflushed = 0;
                let flushed = timeout(TAKEN_WITHIN, client.flush()).await;
                if !matches!(flushed, Ok(Ok(()))) {
                    shared.unsure();
                }
                continue;
            }
            if is_closed {
                shared.drained.notify_one();
                return;
            }
            shared.said.0.notified().await;
            continue;
        };
        let Departure {
            subject,
            bytes,
            since,
        } = departure;
        let is_taken = line.is_connected()
            && !is_stale(lane, since.elapsed())
            && matches!(
                timeout(TAKEN_WITHIN, client.publish(subject, bytes)).await,
                Ok(Ok(()))
            );
        if is_taken {
            unflushed += 1;
        } else {
            shared.lost(lane);
        }
    }
}

/// Returns whether a message has waited for so long that it would say what is not so any more.
fn is_stale(lane: Lane, waited: Duration) -> bool {
    lane == Lane::Heartbeat && waited > BEAT_MAX
}

#[cfg(test)]
mod tests;
