//! The log from a record on, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use trunkline_core::exchange::Wake;

use super::asker::{Asker, is_unserved};
use super::fetch::{BATCH_BYTES, Fetch, Fetched, record};
use super::line::Line;
use super::names::ClusterNames;
use super::order::{Offered, Order};
use super::queue::{Queue, Room};
use super::settings::SUBSCRIPTION;
use super::stream::{self, StreamError, StreamInfo};
use super::watch::{Stop, Verdict, Watch};
use super::{AtEnd, LIBRARY_ENDED};

/// The records that wait for their reader. With less room, records wait on the servers.
const ROOM: Room = Room {
    items: 4_096,
    bytes: 8 << 20,
};

/// The bytes that a record takes in the queue beside its own.
const RECORD: usize = 64;

/// The room below which no records are fetched.
const ROOM_MIN: usize = 256 << 10;

/// The time after which a record is fetched that has not come by itself. Whoever stored it is told of it at
/// about the same time as the others have it.
const GRACE: Duration = Duration::from_millis(5);

/// The time between two questions to the servers: whether the stream is the same, and where it ends.
const CHECK: Duration = Duration::from_secs(1);

/// The time between two questions while something is wrong.
const CHECK_SOON: Duration = Duration::from_millis(200);

/// The time in which the servers must say where the stream ends.
const CHECK_PATIENCE: Duration = Duration::from_secs(1);

/// What the tail has for its reader.
///
/// A record may be one of another stream that took the place of the followed one: within the second until the servers are
/// asked again, nothing but its content tells. So the reader compares each record with the one before it, by hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next record.
    Record {
        /// The sequence: one more than that of the record before.
        sequence: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The log is not followed any more.
    Stopped(Stop),
}

/// What is known of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailCondition {
    /// The sequence of the last record that is known to exist.
    pub end: u64,
    /// When the servers said last where the log ends; `None` if they have not since [`Tail::follow`], the last
    /// connection or a [`Heard::Stopped`]. They are asked every second: an older answer may be old news.
    pub checked: Option<std::time::Instant>,
    /// The records that came by themselves.
    pub live: u64,
    /// The records that were fetched.
    pub fetched: u64,
    /// The requests for records.
    pub fetches: u64,
    /// The records that came and found no room. Those are fetched again.
    pub dropped: u64,
}

/// A sequence that the log is known to have reached, told by others than the tail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached(Arc<(AtomicU64, Notify)>);

impl Reached {
    pub(crate) fn tell(&self, sequence: u64) {
        let before = self.0.0.fetch_max(sequence, Ordering::Relaxed);
        if before < sequence {
            self.0.1.notify_one();
        }
    }

    fn forget(&self) {
        self.0.0.store(0, Ordering::Relaxed);
    }

    fn sequence(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    async fn changed(&self) {
        self.0.1.notified().await;
    }
}

/// The log, record after record: each once, none missing. Nothing comes before [`Tail::follow`].
#[derive(Debug)]
pub struct Tail {
    orders: watch::Sender<Option<Follow>>,
    shared: Arc<Shared>,
    generation: u64,
    /// The reader knows that the thread has ended.
    has_said_end: bool,
}

#[derive(Clone, Debug)]
struct Follow {
    generation: u64,
    from: u64,
    /// The last record that the log is known to have had.
    had: u64,
    created: Option<String>,
}

#[derive(Debug)]
struct Shared {
    records: Queue<(u64, u64, Bytes)>,
    stopped: Mutex<Option<(u64, Stop)>>,
    /// With the number of the order of which it is.
    condition: Mutex<(u64, TailCondition)>,
    reached: Reached,
    wake: Arc<dyn Wake>,
}

impl Tail {
    /// Follows the log from a record on. What was followed before and was not taken yet is forgotten.
    ///
    /// `created` is the stream of which the reader has all earlier records ([`StreamInfo::created`]). Without
    /// it, the stream of that name is followed as it is now.
    pub fn follow(&mut self, from: u64, created: Option<String>) {
        self.follow_again(from, from.saturating_sub(1), created);
    }

    /// Follows the log as [`follow`](Self::follow) does, for a reader that has seen the record `had` before. A log that
    /// ends before it has lost its end.
    pub fn follow_again(&mut self, from: u64, had: u64, created: Option<String>) {
        self.generation += 1;
        self.has_said_end = false;
        self.shared.records.clear();
        // It may have been of another stream. The servers say where this one ends.
        self.shared.reached.forget();
        let from = from.max(1);
        {
            let (generation, condition) = &mut *self.shared.condition.lock();
            *generation = self.generation;
            (condition.end, condition.checked) = (from - 1, None);
        }
        self.orders.send_replace(Some(Follow {
            generation: self.generation,
            from,
            had,
            created,
        }));
    }

    /// Takes what comes next, if it is here.
    pub fn take(&mut self) -> Option<Heard> {
        // Looked at first: what waits before the end comes before it.
        let is_ended = self.shared.records.is_ended();
        while let Some((generation, sequence, bytes)) = self.shared.records.take() {
            if generation == self.generation {
                return Some(Heard::Record { sequence, bytes });
            }
        }
        let mut stopped = self.shared.stopped.lock();
        let stop = stopped.take_if(|(generation, _)| *generation == self.generation);
        if let Some((_, stop)) = stop {
            return Some(Heard::Stopped(stop));
        }
        let says_end = is_ended && !self.has_said_end;
        self.has_said_end |= says_end;
        says_end.then_some(Heard::Stopped(Stop::Ended))
    }

    /// Returns what tells the owner that the thread has ended.
    pub(crate) fn at_end(&self) -> AtEnd {
        let shared = Arc::clone(&self.shared);
        Box::new(move || {
            shared.condition.lock().1.checked = None;
            shared.records.end();
        })
    }

    /// Tells that the log has this record, as other nodes say: if it has not come, it is fetched.
    pub fn reaches(&self, sequence: u64) {
        self.shared.reached.tell(sequence);
    }

    /// Returns what is known of the log.
    pub fn condition(&self) -> TailCondition {
        self.shared.condition.lock().1
    }
}

/// The part of the tail that runs on the thread.
#[derive(Debug)]
pub(crate) struct Tailing {
    names: ClusterNames,
    line: Line,
    orders: watch::Receiver<Option<Follow>>,
    shared: Arc<Shared>,
    /// How the settings of the stream differed last from those of a log.
    differences: Vec<String>,
}

/// Makes both parts of the tail.
pub(crate) fn tail(names: &ClusterNames, line: &Line, wake: Arc<dyn Wake>) -> (Tail, Tailing) {
    let (orders, taken) = watch::channel(None);
    let shared = Arc::new(Shared {
        records: Queue::new(ROOM, Arc::clone(&wake)),
        stopped: Mutex::default(),
        condition: Mutex::default(),
        reached: Reached::default(),
        wake,
    });
    let tail = Tail {
        orders,
        shared: Arc::clone(&shared),
        generation: 0,
        has_said_end: false,
    };
    let tailing = Tailing {
        names: names.clone(),
        line: line.clone(),
        orders: taken,
        shared,
        differences: Vec::new(),
    };
    (tail, tailing)
}

impl Tailing {
    /// Reads an answer about the stream. Says once in the log of the node how the stream differs from a log.
    fn read_check(&mut self, message: &Message) -> Result<StreamInfo, StreamError> {
        if is_unserved(message) {
            return Err(StreamError::Silent("JetStream is not there".into()));
        }
        let (info, differences) = stream::read_any(&self.names, &message.payload)?;
        if differences != self.differences {
            if !differences.is_empty() {
                tracing::warn!(?differences, "the stream of the log was changed");
            }
            self.differences = differences;
        }
        Ok(info)
    }

    /// Returns what the publisher tells of records that it stored.
    pub(crate) fn reached(&self) -> Reached {
        self.shared.reached.clone()
    }

    /// Follows the log until the tail is dropped.
    pub(crate) async fn run(mut self, client: Client) -> Result<(), String> {
        let mut fetch = Fetch::new(Asker::new(&client, &self.line).await?, &self.names);
        let mut checker = Asker::new(&client, &self.line).await?;
        let live = client.subscribe(self.names.live()).await;
        let mut live = live.map_err(|why| why.to_string())?;
        let mut before = None;
        loop {
            let follow = self.orders.borrow_and_update().clone();
            if let Some(follow) = follow {
                fetch.reset();
                let is_same = follow.created.is_some() && follow.created == before;
                before.clone_from(&follow.created);
                if !is_same {
                    forget(&mut live);
                }
                let following = Following {
                    generation: follow.generation,
                    order: Order::new(follow.from),
                    watch: Watch::new(follow.created, follow.had),
                    missing_since: None,
                    last: 0,
                    connects: self.line.watch().borrow().connects,
                    check: Check::At(Instant::now()),
                    parts: &mut self,
                    live: &mut live,
                    fetch: &mut fetch,
                    checker: &mut checker,
                };
                if following.run().await.is_none() {
                    return match self.orders.has_changed() {
                        Ok(_) => Err(LIBRARY_ENDED.into()),
                        Err(_) => Ok(()),
                    };
                }
                continue;
            }
            tokio::select! {
                changed = self.orders.changed() => if changed.is_err() {
                    return Ok(());
                },
                message = live.next() => if message.is_none() {
                    return Err(LIBRARY_ENDED.into());
                },
            }
        }
    }
}

/// The log as it is followed from one record on.
struct Following<'a> {
    generation: u64,
    order: Order,
    watch: Watch,
    /// Since when records are known to be missing.
    missing_since: Option<Instant>,
    /// The last record of the stream, as the servers said last.
    last: u64,
    /// The number of the connection.
    connects: u64,
    check: Check,
    parts: &'a mut Tailing,
    live: &'a mut Subscriber,
    fetch: &'a mut Fetch,
    checker: &'a mut Asker,
}

/// The question about the stream.
#[derive(Clone, Copy, Debug)]
enum Check {
    /// It is asked then.
    At(Instant),
    /// It has been asked, under this number, and is given up then.
    Asked(u64, Instant),
    /// The stream is not followed any more.
    Never,
}

impl Following<'_> {
    /// Follows the log until there is another order (`Some`), or the owner or the library is gone (`None`).
    async fn run(mut self) -> Option<()> {
        let shared = Arc::clone(&self.parts.shared);
        let mut line = self.parts.line.watch();
        let mut orders = self.parts.orders.clone();
        loop {
            let is_full = self.deliver();
            self.ask(is_full).await;
            let deadline = self.deadline(is_full);
            tokio::select! {
                changed = orders.changed() => return changed.ok(),
                message = self.live.next() => self.take_live(&message?),
                answer = self.fetch.next() => {
                    let (number, message) = answer?;
                    self.take_fetched(number, &message);
                }
                answer = self.checker.next() => {
                    let (number, message) = answer?;
                    self.take_checked(number, &message);
                }
                () = shared.records.taken(), if is_full => {}
                () = shared.reached.changed() => {}
                _ = line.changed() => {
                    let connects = line.borrow_and_update().connects;
                    self.line_changed(connects);
                }
                () = sleep_until(deadline) => {}
            }
            self.order.exists(shared.reached.sequence());
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.check, Check::Never)
    }

    /// Passes records on, unless they may be of another stream. Returns whether no more are to be fetched for now, until the
    /// reader has taken some.
    fn deliver(&mut self) -> bool {
        if self.watch.is_other() {
            return true;
        }
        let (passed, is_full) =
            pass_on(&mut self.order, &self.parts.shared.records, self.generation);
        if passed > 0 {
            self.watch.has();
        }
        let end = self.order.highest().max(self.order.next() - 1);
        self.note(|it| it.end = end);
        is_full
    }

    /// Changes what is known of the log, unless another order has come meanwhile.
    fn note(&self, change: impl FnOnce(&mut TailCondition)) {
        let (generation, condition) = &mut *self.parts.shared.condition.lock();
        if *generation == self.generation {
            change(condition);
        }
    }

    /// Asks for what is missing, and about the stream, when it is time.
    async fn ask(&mut self, is_full: bool) {
        if self.is_over() {
            return;
        }
        let now = Instant::now();
        self.fetch.look(now);
        match self.check {
            Check::At(at) if at <= now => {
                let subject = format!("$JS.API.STREAM.INFO.{}", self.parts.names.stream());
                let sent = self.checker.send(&subject, None, Bytes::new()).await;
                self.check = match sent {
                    Ok(number) => Check::Asked(number, now + CHECK_PATIENCE),
                    Err(_) => Check::At(now + CHECK_SOON),
                };
            }
            Check::Asked(_, until) if until <= now => self.check = Check::At(now),
            _ => {}
        }
        let missing = match is_full || self.fetch.is_under_way() {
            true => return,
            false => self.order.missing(),
        };
        let Some(missing) = missing else {
            self.missing_since = None;
            return;
        };
        let since = *self.missing_since.get_or_insert(now);
        // A second request follows a first one at once: the reader is behind.
        if now < since + GRACE {
            return;
        }
        let room = self.parts.shared.records.free().min(BATCH_BYTES);
        if self.fetch.start(missing, room, now).await {
            self.note(|it| it.fetches += 1);
        }
    }

    /// Returns when to look again without any message.
    fn deadline(&self, is_full: bool) -> Instant {
        let check = match self.check {
            Check::At(at) | Check::Asked(_, at) => at,
            Check::Never => Instant::now() + CHECK,
        };
        if self.is_over() {
            return check;
        }
        let grace = self.missing_since.filter(|_| !is_full);
        let grace = grace.filter(|_| !self.fetch.is_under_way());
        let fetch = self.fetch.deadline();
        // Behind the grace a request leaves when the fetching allows it.
        let fetch = match (grace.map(|it| it + GRACE), fetch) {
            (Some(grace), Some(fetch)) => Some(grace.max(fetch)),
            (grace, fetch) => grace.or(fetch.filter(|_| self.fetch.is_under_way())),
        };
        fetch.map_or(check, |it| it.min(check))
    }

    fn take_live(&mut self, message: &Message) {
        let Some((sequence, record)) = record(&self.parts.names, message) else {
            return;
        };
        let offered = self.offer(sequence, record);
        self.note(|it| match offered {
            Offered::Kept => it.live += 1,
            Offered::Dropped => it.dropped += 1,
            // A record that was fetched comes late, or it is of another stream that begins anew.
            Offered::Known => {}
        });
    }

    fn offer(&mut self, sequence: u64, record: Bytes) -> Offered {
        match self.is_over() {
            true => Offered::Known,
            false => self.order.offer(sequence, record),
        }
    }

    fn take_fetched(&mut self, number: u64, message: &Message) {
        let now = Instant::now();
        match self.fetch.read(number, message, now) {
            Fetched::Record(sequence, record) => {
                if self.offer(sequence, record) == Offered::Kept {
                    self.note(|it| it.fetched += 1);
                }
            }
            Fetched::Nothing => self.doubt(now),
            Fetched::LeaderHasNot(sequence) => {
                self.doubt(now);
                // Others may have been told of a record that never came to be.
                if sequence == self.order.next()
                    && sequence <= self.last
                    && let Some(stop) = self.watch.has_not(sequence, now)
                {
                    self.stop(stop);
                }
            }
            Fetched::Enough | Fetched::Other => {}
        }
    }

    /// Asks about the stream soon.
    fn doubt(&mut self, now: Instant) {
        if let Check::At(at) = &mut self.check {
            *at = (*at).min(now + CHECK_SOON);
        }
    }

    fn take_checked(&mut self, number: u64, message: &Message) {
        if !matches!(self.check, Check::Asked(asked, _) if asked == number) {
            return;
        }
        let now = Instant::now();
        let answer = self.parts.read_check(message);
        self.check = match self.watch.judge(&answer, self.order.needs(), now) {
            Verdict::Fine { last } => {
                self.order.exists(last);
                self.last = last;
                self.note(|it| it.checked = Some(now.into_std()));
                Check::At(now + CHECK)
            }
            Verdict::Unclear => Check::At(now + CHECK_SOON),
            Verdict::Stop(stop) => return self.stop(stop),
        };
    }

    /// Stops for good: what comes now is not of the log any more.
    fn stop(&mut self, stop: Stop) {
        tracing::error!(%stop, "the log is not followed any more");
        self.check = Check::Never;
        self.fetch.reset();
        self.note(|it| it.checked = None);
        let shared = &self.parts.shared;
        *shared.stopped.lock() = Some((self.generation, stop));
        shared.wake.wake();
    }

    /// Finds out what was missed.
    fn line_changed(&mut self, connects: u64) {
        let now = Instant::now();
        if self.is_over() {
            return;
        }
        if connects == self.connects {
            // The library had no room, which it says for each message, or the connection is gone.
            return self.doubt(now);
        }
        self.connects = connects;
        self.note(|it| it.checked = None);
        self.fetch.at_once();
        self.check = Check::At(now);
    }
}

/// Passes records on. Returns how many, and whether the reader has to take some before more come. With one in
/// hand that does not fit it has to, whatever room is left: those behind it would not be passed on either.
fn pass_on(
    order: &mut Order,
    records: &Queue<(u64, u64, Bytes)>,
    generation: u64,
) -> (usize, bool) {
    let mut passed = 0;
    while let Some(record) = order.ready() {
        let bytes = record.len() + RECORD;
        let item = (generation, order.next(), record);
        if records.push(bytes, item).is_err() {
            return (passed, true);
        }
        order.pop();
        passed += 1;
    }
    (passed, records.free() < ROOM_MIN)
}

/// Drops the messages that wait in a subscription: those of the stream that was followed before.
fn forget(live: &mut Subscriber) {
    for _ in 0..SUBSCRIPTION {
        if live.next().now_or_never().flatten().is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
