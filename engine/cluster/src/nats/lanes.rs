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
#[derive(Debug)]
pub struct Lanes {
    names: ClusterNames,
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
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.shared.close();
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
            shared.wake.wake();
        })
    }

    /// Takes what came, if anything did: losses first, then the most urgent lane.
    pub fn take(&self) -> Option<Said> {
        let shared = &self.shared;
        let unsent = shared.unsent.swap(0, Ordering::Relaxed);
        if shared.unsure.swap(0, Ordering::Relaxed) > 0 {
            return Some(Said::Unsent { messages: 0 });
        }
        if unsent > 0 {
            return Some(Said::Unsent { messages: unsent });
        }
        for (lane, arrivals) in Lane::ALL.into_iter().zip(&shared.lanes) {
            let messages = arrivals.messages.take_lost();
            if arrivals.breaks.swap(0, Ordering::Relaxed) > 0 {
                return Some(Said::Missed { lane, messages: 0 });
            }
            if messages > 0 {
                return Some(Said::Missed { lane, messages });
            }
        }
        Lane::ALL
            .into_iter()
            .zip(&shared.lanes)
            .find_map(|(lane, arrivals)| {
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

/// Makes both parts of the lanes.
pub(crate) fn lanes(names: &ClusterNames, line: &Line, wake: &Arc<dyn Wake>) -> (Lanes, Carrying) {
    let said = Arc::new(ToSend::default());
    let arrivals = |_| Arrivals {
        messages: Queue::new(ROOM, Arc::clone(wake)),
        breaks: AtomicU64::new(0),
    };
    let shared = Arc::new(Shared {
        lanes: Lane::ALL.map(arrivals),
        leaving: Lane::ALL.map(|_| Queue::new(LEAVING, Arc::clone(&said) as Arc<dyn Wake>)),
        said,
        is_closed: AtomicBool::new(false),
        drained: Notify::new(),
        unsent: AtomicU64::new(0),
        unsure: AtomicU64::new(0),
        wake: Arc::clone(wake),
    });
    let lanes = Lanes {
        names: names.clone(),
        shared: Arc::clone(&shared),
    };
    let carrying = Carrying {
        names: names.clone(),
        line: line.clone(),
        shared,
    };
    (lanes, carrying)
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
                    shared.wake.wake();
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
                    shared.unsure.fetch_add(1, Ordering::Relaxed);
                    shared.wake.wake();
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
            shared.unsent.fetch_add(1, Ordering::Relaxed);
            shared.wake.wake();
        }
    }
}

/// Returns whether a message has waited for so long that it would say what is not so any more.
fn is_stale(lane: Lane, waited: Duration) -> bool {
    lane == Lane::Heartbeat && waited > BEAT_MAX
}

#[cfg(test)]
mod tests {
    use super::super::bell::Bell;
    use super::*;

    fn made() -> (Lanes, Carrying, Arc<Bell>) {
        let bell = Arc::new(Bell::default());
        let wake = Arc::clone(&bell) as Arc<dyn Wake>;
        let names = ClusterNames::new("c", "n").unwrap();
        let (lanes, carrying) = lanes(&names, &Line::new(), &wake);
        (lanes, carrying, bell)
    }

    #[test]
    fn what_leaves_is_bounded_in_number_and_bytes() {
        let (lanes, ..) = made();
        let say = |length: usize| lanes.say(Lane::Heartbeat, To::All, vec![0; length].into());
        assert_eq!(say(RECORD_MAX + 1), Err(NotSaid::TooLong(RECORD_MAX + 1)));
        let many = LEAVING.bytes / RECORD_MAX;
        for _ in 0..many {
            assert_eq!(say(RECORD_MAX), Ok(()));
        }
        assert_eq!(say(RECORD_MAX), Err(NotSaid::Full));
        for _ in many..LEAVING.items {
            assert_eq!(say(1), Ok(()));
        }
        assert_eq!(say(1), Err(NotSaid::Full));
        lanes.at_end()();
        assert_eq!(say(1), Err(NotSaid::Ended));
    }

    #[test]
    fn a_flood_on_one_lane_leaves_after_signs_of_life() {
        let (lanes, carrying, _) = made();
        let say = |lane| lanes.say(lane, To::All, Bytes::new());
        while say(Lane::Digest) == Ok(()) {}
        assert_eq!(say(Lane::Digest), Err(NotSaid::Full));
        assert_eq!(say(Lane::Forward), Ok(()));
        assert_eq!(say(Lane::Heartbeat), Ok(()));
        let leaves = || carrying.shared.next_to_leave().map(|it| it.0);
        for lane in [Lane::Heartbeat, Lane::Forward, Lane::Digest] {
            assert_eq!(leaves(), Some(lane));
        }
        assert_eq!(std::iter::from_fn(leaves).count(), LEAVING.items - 1);
        assert!(is_stale(Lane::Heartbeat, Duration::from_millis(301)));
        assert!(!is_stale(Lane::Heartbeat, Duration::from_millis(300)));
        assert!(!is_stale(Lane::Forward, Duration::from_secs(9)));
    }

    #[test]
    fn losses_are_said_before_messages_and_the_urgent_before_others() {
        let (lanes, carrying, bell) = made();
        let arrivals = &carrying.shared.lanes;
        let message = |text: &'static str| (false, Bytes::from_static(text.as_bytes()));
        arrivals[Lane::Digest as usize]
            .messages
            .push_or_lose(1, message("d"));
        arrivals[0].messages.push_or_lose(1, message("b"));
        arrivals[1].messages.lose(2);
        arrivals[2].breaks.fetch_add(1, Ordering::Relaxed);
        carrying.shared.unsent.fetch_add(4, Ordering::Relaxed);
        assert!(bell.wait(Duration::ZERO));
        let said: Vec<_> = std::iter::from_fn(|| lanes.take()).collect();
        let came = |lane, text: &'static str| Said::Message {
            lane,
            to_me: false,
            bytes: Bytes::from_static(text.as_bytes()),
        };
        let missed = |lane, messages| Said::Missed { lane, messages };
        let wanted = [
            Said::Unsent { messages: 4 },
            missed(Lane::Forward, 2),
            missed(Lane::Answers, 0),
            came(Lane::Heartbeat, "b"),
            came(Lane::Digest, "d"),
        ];
        assert_eq!(said, wanted);
    }

    #[test]
    fn a_break_is_every_change_but_the_first_connection() {
        let moment = |connects, breaks| Moment {
            is_connected: true,
            connects,
            breaks,
        };
        for (before, now, is) in [
            ((0, 0), (1, 0), false),
            ((1, 0), (1, 1), true),
            ((1, 1), (2, 1), true),
            ((0, 0), (2, 1), true),
            ((2, 1), (2, 1), false),
        ] {
            let found = is_break(moment(before.0, before.1), moment(now.0, now.1));
            assert_eq!(found, is, "{before:?} {now:?}");
        }
    }
}
