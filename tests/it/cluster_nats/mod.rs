//! The thread that speaks NATS, over real servers. Without a server the tests are skipped with a word;
//! `tests/run` installs one.

mod kept;
mod lanes;
mod majority;
mod secured;
mod streams;
mod tail;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_cluster::nats::{
    Bell, ClusterNames, Ends, Heard, Nats, NatsSettings, Outcome, Stop, StreamInfo, StreamPlan,
    Wakes,
};
use trunkline_tests::nats::Servers;
use trunkline_tests::wait::LIMIT;

/// The name of the cluster of the tests.
const CLUSTER: &str = "c";

/// A subject, a stream, as the servers know them.
const LOG: &str = "trunkline.c.log";
const STREAM: &str = "TRUNKLINE_c";

/// A node of a cluster, as far as NATS is concerned.
struct Node {
    nats: Nats,
    ends: Ends,
    bell: Arc<Bell>,
    /// The records of the tail so far, by their sequences.
    records: BTreeMap<u64, Vec<u8>>,
    stopped: Option<Stop>,
}

fn plan(replicas: u8) -> StreamPlan {
    StreamPlan {
        replicas,
        max_bytes: 256 << 20,
    }
}

impl Node {
    /// Starts a node that knows all servers.
    fn start(servers: &Servers, name: &str) -> Self {
        Self::at(servers.urls(), name)
    }

    fn at(urls: Vec<String>, name: &str) -> Self {
        let bell = Arc::new(Bell::default());
        let settings = NatsSettings {
            urls,
            ..NatsSettings::default()
        };
        let names = ClusterNames::new(CLUSTER, name).expect("a name");
        let wake = Arc::clone(&bell) as Arc<_>;
        let (nats, ends) = Nats::start(&settings, &names, Wakes::all(&wake)).expect("a thread");
        Self {
            nats,
            ends,
            bell,
            records: BTreeMap::new(),
            stopped: None,
        }
    }

    /// Creates the stream.
    fn create(&self, replicas: u8) -> StreamInfo {
        self.ends.streams.create(plan(replicas)).expect("a stream")
    }

    /// Takes what the tail has, at most a number of records, and checks that they follow each other.
    fn take(&mut self, records: usize) {
        for _ in 0..records {
            match self.ends.tail.take() {
                Some(Heard::Record { sequence, bytes }) => {
                    if let Some((last, _)) = self.records.last_key_value() {
                        assert_eq!(sequence, last + 1);
                    }
                    self.records.insert(sequence, bytes.to_vec());
                }
                Some(Heard::Stopped(stop)) => self.stopped = Some(stop),
                None => return,
            }
        }
    }

    /// Takes records until a condition is met.
    fn until<T>(&mut self, what: &str, mut met: impl FnMut(&mut Self) -> Option<T>) -> T {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            self.take(usize::MAX);
            if let Some(found) = met(self) {
                return found;
            }
            self.bell.wait(Duration::from_millis(5));
        }
        let tail = self.ends.tail.condition();
        let last = self.records.last_key_value().map(|it| *it.0);
        panic!(
            "waited for {what}: {:?}, {tail:?}, {last:?}",
            self.nats.condition()
        );
    }

    /// Waits until the tail has had a record.
    fn has(&mut self, sequence: u64) {
        let what = format!("record {sequence}");
        self.until(&what, |it| it.records.contains_key(&sequence).then_some(()));
    }

    fn is_connected(&mut self) {
        self.until("a connection", |it| {
            it.nats.condition().is_connected.then_some(())
        });
    }

    /// Publishes a record and waits for its outcome.
    fn publish(&mut self, expected: u64, bytes: impl Into<Vec<u8>>) -> Outcome {
        let bytes: Vec<u8> = bytes.into();
        let number = self
            .ends
            .publisher
            .publish(expected, bytes.into())
            .expect("it is taken");
        self.outcome(number)
    }

    /// Waits for the outcome of a record.
    fn outcome(&mut self, number: u64) -> Outcome {
        self.until("an outcome", |it| {
            let published = it.ends.publisher.take()?;
            let is_ours = published.number == number && !published.is_late;
            is_ours.then_some(published.outcome)
        })
    }

    /// Publishes records that are stored.
    fn publish_all(&mut self, sequences: std::ops::Range<u64>) {
        for sequence in sequences {
            let outcome = self.publish(sequence - 1, text(sequence));
            assert_eq!(outcome, Outcome::Stored { sequence });
        }
    }
}

/// The record of a sequence.
fn text(sequence: u64) -> Vec<u8> {
    format!("record {sequence}").into_bytes()
}
