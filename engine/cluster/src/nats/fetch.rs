//! Records that are fetched from the stream, because they did not come by themselves.

use std::time::Duration;

use async_nats::Message;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::asker::{Asker, is_unserved};
use super::names::ClusterNames;
use super::order::Missing;
use super::settings::SUBSCRIPTION;
use super::stream::ApiError;

/// The most records of a request. They, and as many that are late, have room in the subscription.
const BATCH: u64 = (SUBSCRIPTION / 2) as u64;

/// The most bytes of a request; one record more may come.
pub(crate) const BATCH_BYTES: usize = 4 << 20;

/// The time in which the next record of a request must come.
const PATIENCE: Duration = Duration::from_millis(500);

/// The shortest and the longest time before a request that brought nothing is made again.
const DELAYS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// The fruitless requests after which the leader of the stream is asked. The others go to any server that has
/// the stream, and that may be one that is behind.
const MISSES: u32 = 3;

/// The header with the stream of a record.
const STREAM: &str = "Nats-Stream";

/// The header with the sequence of a record.
pub(crate) const SEQUENCE: &str = "Nats-Sequence";

/// The error of the JetStream API for a record that is not there.
pub(crate) const NO_MESSAGE: u32 = 10_037;

/// Fetches records from the stream, one request at a time.
#[derive(Debug)]
pub(crate) struct Fetch {
    asker: Asker,
    names: ClusterNames,
    under_way: Option<UnderWay>,
    /// The number of the last request before [`reset`](Self::reset). Its answers, and earlier ones, may be of another
    /// stream.
    forgotten: u64,
    /// The fruitless requests in a row.
    misses: u32,
    /// When the next request may leave.
    not_before: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    number: u64,
    from: u64,
    /// The records that came.
    came: u64,
    until: Instant,
    /// The leader of the stream is asked, for one record.
    of_leader: bool,
}

/// What an answer is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// A record.
    Record(u64, Bytes),
    /// The request is over. Records came.
    Enough,
    /// The request is over. The server does not have the first record that was asked for.
    Nothing,
    /// The leader of the stream does not have this record.
    LeaderHasNot(u64),
    /// Of no request that is under way, or not to be understood.
    Other,
}

impl Fetch {
    pub(crate) fn new(asker: Asker, names: &ClusterNames) -> Self {
        Self {
            asker,
            names: names.clone(),
            under_way: None,
            forgotten: 0,
            misses: 0,
            not_before: None,
        }
    }

    /// Begins anew: no request is under way, the next one may leave at once, and late answers are ignored.
    pub(crate) fn reset(&mut self) {
        self.forgotten = self.asker.number();
        (self.under_way, self.misses, self.not_before) = (None, 0, None);
    }

    /// Lets the next request leave at once: the connection is a new one, on which no answer comes any more.
    pub(crate) fn at_once(&mut self) {
        self.under_way = None;
        self.not_before = None;
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Returns when something is to be done without an answer.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.under_way {
            Some(under_way) => Some(under_way.until),
            None => self.not_before,
        }
    }

    /// Gives up a request without an answer.
    pub(crate) fn look(&mut self, now: Instant) {
        if self.under_way.is_some_and(|it| it.until <= now) {
            self.over(false, now);
        }
    }

    /// Asks for records, with answers of about `bytes`, if no request is under way and it is time.
    /// Returns whether it did.
    pub(crate) async fn start(&mut self, missing: Missing, bytes: usize, now: Instant) -> bool {
        let waits = self.not_before.is_some_and(|it| it > now);
        if self.under_way.is_some() || waits {
            return false;
        }
        let of_leader = self.misses >= MISSES && self.misses.is_multiple_of(MISSES);
        let stream = self.names.stream();
        let (subject, request) = match of_leader {
            true => (
                format!("$JS.API.STREAM.MSG.GET.{stream}"),
                json!({ "seq": missing.from }),
            ),
            false => (
                format!("$JS.API.DIRECT.GET.{stream}"),
                json!({
                    "seq": missing.from,
                    "batch": missing.count.min(BATCH),
                    // None at all would mean as many as the server likes.
                    "max_bytes": bytes.clamp(1, BATCH_BYTES),
                }),
            ),
        };
        let sent = self
            .asker
            .send(&subject, None, request.to_string().into())
            .await;
        match sent {
            Ok(number) => {
                self.under_way = Some(UnderWay {
                    number,
                    from: missing.from,
                    came: 0,
                    until: Instant::now() + PATIENCE,
                    of_leader,
                });
                true
            }
            Err(_) => {
                self.over(false, Instant::now());
                false
            }
        }
    }

    /// Returns the next answer with the number of its request; `None` once the client has ended.
    pub(crate) async fn next(&mut self) -> Option<(u64, Message)> {
        self.asker.next().await
    }

    /// Reads an answer.
    pub(crate) fn read(&mut self, number: u64, message: &Message, now: Instant) -> Fetched {
        let current = self.under_way.filter(|it| it.number == number);
        if let Some(under_way) = current
            && under_way.of_leader
        {
            return self.read_of_leader(under_way.from, message, now);
        }
        if number <= self.forgotten {
            return Fetched::Other;
        }
        if message.status.is_none() {
            let Some((sequence, record)) = record(&self.names, message) else {
                return Fetched::Other;
            };
            if let Some(under_way) = &mut self.under_way
                && under_way.number == number
            {
                under_way.came += 1;
                under_way.until = now + PATIENCE;
            }
            // Of an earlier request, it is the record all the same.
            return Fetched::Record(sequence, record);
        }
        let Some(under_way) = current else {
            return Fetched::Other;
        };
        let is_end = message.status.is_some_and(|it| it.as_u16() == 204);
        let enough = is_end && under_way.came > 0;
        self.over(enough, now);
        match enough {
            true => Fetched::Enough,
            false => Fetched::Nothing,
        }
    }

    fn read_of_leader(&mut self, asked: u64, message: &Message, now: Instant) -> Fetched {
        let answer = match is_unserved(message) {
            true => None,
            false => serde_json::from_slice::<OfLeader>(&message.payload).ok(),
        };
        let stored = answer.as_ref().and_then(|it| it.message.as_ref());
        let data = stored.and_then(|it| {
            let data = BASE64_STANDARD.decode(&it.data).ok()?;
            Some((it.seq, Bytes::from(data)))
        });
        self.over(data.is_some(), now);
        if let Some((sequence, record)) = data {
            return Fetched::Record(sequence, record);
        }
        let error = answer.and_then(|it| it.error);
        match error.is_some_and(|it| it.err_code == NO_MESSAGE) {
            true => Fetched::LeaderHasNot(asked),
            false => Fetched::Nothing,
        }
    }

    /// Ends the request.
    fn over(&mut self, was_fruitful: bool, now: Instant) {
        self.under_way = None;
        if was_fruitful {
            self.misses = 0;
            self.not_before = None;
            return;
        }
        self.misses = self.misses.saturating_add(1);
        let doubled = DELAYS.0 * (1 << self.misses.saturating_sub(1).min(8));
        self.not_before = Some(now + doubled.min(DELAYS.1));
    }
}

/// An answer of the stream's leader.
#[derive(Deserialize)]
pub(crate) struct OfLeader {
    pub(crate) error: Option<ApiError>,
    pub(crate) message: Option<Stored>,
}

/// A message as the stream's leader has it.
#[derive(Deserialize)]
pub(crate) struct Stored {
    #[serde(default)]
    pub(crate) subject: String,
    pub(crate) seq: u64,
    /// The bytes, in base 64.
    #[serde(default)]
    pub(crate) data: String,
}

/// Returns the sequence and the bytes of a record as the stream has it; `None` if it is of another stream.
pub(crate) fn record(names: &ClusterNames, message: &Message) -> Option<(u64, Bytes)> {
    let headers = message.headers.as_ref()?;
    let stream = headers.get_last(STREAM)?;
    if stream.as_str() != names.stream() {
        return None;
    }
    let sequence = headers.get_last(SEQUENCE)?.as_str().parse().ok()?;
    (sequence > 0).then(|| (sequence, alone(&message.payload)))
}

/// Bytes below this length are copied: as parts of what was read from the socket they would keep all of it.
const COPIED: usize = 32 << 10;

/// Returns bytes that keep no more memory than about their own.
pub(crate) fn alone(bytes: &Bytes) -> Bytes {
    match bytes.len() < COPIED {
        true => Bytes::copy_from_slice(bytes),
        false => bytes.clone(),
    }
}
