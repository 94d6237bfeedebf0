//! Records on their way into the log, one at a time.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::asker::{Asker, is_unserved};
use super::names::ClusterNames;
use super::queue::{Queue, Room};
use super::stream::{ApiError, RECORD_MAX, WRONG_LAST};
use super::tail::Reached;
use super::{AtEnd, LIBRARY_ENDED};

/// The time in which the servers must answer. Later the record is neither known to be stored nor known not
/// to be.
pub const SILENCE: Duration = Duration::from_millis(500);

/// The header with the sequence after which a record must be stored, or not at all.
const EXPECTED_LAST: &str = "Nats-Expected-Last-Sequence";

/// The header with the stream in which a record must be stored, or not at all.
pub(crate) const EXPECTED_STREAM: &str = "Nats-Expected-Stream";

/// The outcomes that wait. The reader is behind by one and what came late.
const OUTCOMES: Room = Room {
    items: 64,
    bytes: usize::MAX,
};

/// The outcome of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The number that [`Publisher::publish`] returned.
    pub number: u64,
    /// The record had been given up: an outcome of [`Outcome::Silence`] was told before. There is at most one
    /// such for a number.
    pub is_late: bool,
    /// The outcome.
    pub outcome: Outcome,
}

/// What became of a record. Only the log itself decides: also a record that is said to be stored may be one
/// that everybody skips, and one that is said to be refused may have been stored by an earlier attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A majority of the stream's servers has it.
    Stored {
        /// The sequence of the record.
        sequence: u64,
    },
    /// The stream has another last sequence.
    WrongLast {
        /// The last sequence of the stream, if the server says it.
        last: Option<u64>,
    },
    /// The server has not stored it.
    Refused {
        /// The code of the server's error; 503 if no server serves the stream now.
        code: u32,
        /// The text of the server's error.
        text: String,
    },
    /// No answer came within [`SILENCE`]. It may be stored now, later or never.
    Silence,
    /// It has not left this node, and never will. The text is the reason.
    NotSent(String),
}

/// A record that was not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotTaken {
    /// The outcome of another is not known yet.
    #[error("a record is on its way already")]
    Busy,
    /// The record is too long.
    #[error("a record of {0} bytes is longer than {RECORD_MAX}")]
    TooLong(usize),
    /// The thread that speaks NATS has ended.
    #[error("the thread that speaks NATS has ended")]
    Ended,
}

/// The way into the log. One record is on its way at a time, for a second one that follows a rejected one
/// could be stored without it.
#[derive(Debug)]
pub struct Publisher {
    orders: mpsc::Sender<Order>,
    outcomes: Arc<Queue<Published>>,
    /// The number of the record whose outcome has not been taken yet.
    under_way: Option<u64>,
    last: u64,
}

#[derive(Debug)]
struct Order {
    number: u64,
    expected: u64,
    bytes: Bytes,
}

impl Publisher {
    /// Sends a record, which is stored only if the sequence of the stream's last record is `expected`.
    /// Returns the number under which the outcome comes.
    ///
    /// # Errors
    /// Another record is on its way, this one is longer than [`RECORD_MAX`], or the thread has ended.
    pub fn publish(&mut self, expected: u64, bytes: Bytes) -> Result<u64, NotTaken> {
        if bytes.len() > RECORD_MAX {
            return Err(NotTaken::TooLong(bytes.len()));
        }
        if self.orders.is_closed() {
            return Err(NotTaken::Ended);
        }
        if self.under_way.is_some() {
            return Err(NotTaken::Busy);
        }
        let number = self.last + 1;
        let order = Order {
            number,
            expected,
            bytes,
        };
        match self.orders.try_send(order) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(NotTaken::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(NotTaken::Ended),
        }
        self.last = number;
        self.under_way = Some(number);
        Ok(number)
    }

    /// Takes the next outcome, if there is one. The outcome of a record that was on its way when the thread
    /// ended is [`Outcome::Silence`].
    pub fn take(&mut self) -> Option<Published> {
        // Looked at first: what waits before the end comes before it.
        let is_ended = self.outcomes.is_ended();
        let Some(published) = self.outcomes.take() else {
            let number = self.under_way.take_if(|_| is_ended)?;
            return Some(Published {
                number,
                is_late: false,
                outcome: Outcome::Silence,
            });
        };
        if self.under_way == Some(published.number) {
            self.under_way = None;
        }
        Some(published)
    }

    /// Returns what tells the owner that the thread has ended.
    pub(crate) fn at_end(&self) -> AtEnd {
        let outcomes = Arc::clone(&self.outcomes);
        Box::new(move || outcomes.end())
    }
}

/// The part of the publisher that runs on the thread.
#[derive(Debug)]
pub(crate) struct Sending {
    names: ClusterNames,
    asker: Asker,
    orders: mpsc::Receiver<Order>,
    outcomes: Arc<Queue<Published>>,
    reached: Reached,
    /// The last record that was sent: its number at the asker, and its own.
    sent: Option<(u64, u64)>,
}

/// Makes both parts of the publisher.
pub(crate) fn publisher(
    names: &ClusterNames,
    wake: Arc<dyn trunkline_core::exchange::Wake>,
) -> (Publisher, impl FnOnce(Asker, Reached) -> Sending + use<>) {
    let (orders, taken) = mpsc::channel(1);
    let outcomes = Arc::new(Queue::new(OUTCOMES, wake));
    let publisher = Publisher {
        orders,
        outcomes: Arc::clone(&outcomes),
        under_way: None,
        last: 0,
    };
    let names = names.clone();
    let sending = move |asker, reached| Sending {
        names,
        asker,
        orders: taken,
        outcomes,
        reached,
        sent: None,
    };
    (publisher, sending)
}

impl Sending {
    /// Sends records until the publisher is dropped.
    pub(crate) async fn run(mut self) -> Result<(), String> {
        let (log, stream) = (self.names.log(), self.names.stream());
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.send(&log, &stream, order).await,
                    None => return Ok(()),
                },
                answer = self.asker.next() => match answer {
                    Some((asked, message)) => self.late(asked, &message),
                    None => return Err(LIBRARY_ENDED.into()),
                },
            }
        }
    }

    async fn send(&mut self, log: &str, stream: &str, order: Order) {
        let until = Instant::now() + SILENCE;
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED_LAST, order.expected.to_string());
        headers.insert(EXPECTED_STREAM, stream);
        let sent = self.asker.send(log, Some(headers), order.bytes).await;
        let asked = match sent {
            Ok(asked) => asked,
            Err(why) => return self.tell(order.number, false, Outcome::NotSent(why)),
        };
        // Nothing of the one before is worth telling any more.
        self.sent = Some((asked, order.number));
        loop {
            match timeout_at(until, self.asker.next()).await {
                Ok(Some((answered, message))) if answered == asked => {
                    self.sent = None;
                    return self.tell(order.number, false, outcome(&message));
                }
                // Of a record that was given up before.
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return self.tell(order.number, false, Outcome::Silence),
            }
        }
    }

    /// Tells what became of the last record after it was given up.
    fn late(&mut self, asked: u64, message: &Message) {
        if let Some((_, number)) = self.sent.take_if(|(sent, _)| *sent == asked) {
            self.tell(number, true, outcome(message));
        }
    }

    fn tell(&self, number: u64, is_late: bool, outcome: Outcome) {
        if let Outcome::Stored { sequence } = outcome {
            self.reached.tell(sequence);
        }
        let published = Published {
            number,
            is_late,
            outcome,
        };
        // The reader takes each outcome before it sends again: there is always room.
        self.outcomes.push_or_lose(0, published);
    }
}

#[derive(Deserialize)]
struct Ack {
    error: Option<ApiError>,
    #[serde(default)]
    seq: u64,
}

/// Returns what an answer says of a record.
pub(crate) fn outcome(message: &Message) -> Outcome {
    if is_unserved(message) {
        return Outcome::Refused {
            code: 503,
            text: "no NATS server serves the stream".into(),
        };
    }
    match serde_json::from_slice(&message.payload) {
        Ok(ack) => judged(ack),
        Err(why) => Outcome::Refused {
            code: 0,
            text: format!("the answer is not understood: {why}"),
        },
    }
}

fn judged(ack: Ack) -> Outcome {
    match ack.error {
        Some(error) if WRONG_LAST.contains(&error.err_code) => {
            let last = error.description.rsplit(' ').next();
            let last = last.and_then(|it| it.parse().ok());
            Outcome::WrongLast { last }
        }
        Some(error) => Outcome::Refused {
            code: match error.err_code {
                0 => error.code,
                code => code,
            },
            text: error.description,
        },
        None if ack.seq == 0 => Outcome::Refused {
            code: 0,
            text: "the answer has no sequence".into(),
        },
        None => Outcome::Stored { sequence: ack.seq },
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::exchange::Wake;

    use super::super::bell::Bell;
    use super::*;

    #[test]
    fn a_record_under_way_has_an_outcome_when_the_thread_ends() {
        let bell = Arc::new(Bell::default());
        let names = ClusterNames::new("c", "n").unwrap();
        let (mut publisher, sending) = publisher(&names, Arc::clone(&bell) as Arc<dyn Wake>);
        let publish = |publisher: &mut Publisher| publisher.publish(0, Bytes::new());
        assert_eq!(publish(&mut publisher), Ok(1));
        assert_eq!(publish(&mut publisher), Err(NotTaken::Busy));
        let at_end = publisher.at_end();
        drop(sending);
        at_end();
        assert!(bell.wait(Duration::ZERO));
        assert_eq!(publish(&mut publisher), Err(NotTaken::Ended));
        let silence = Published {
            number: 1,
            is_late: false,
            outcome: Outcome::Silence,
        };
        assert_eq!(publisher.take(), Some(silence));
        assert_eq!(publisher.take(), None);
    }

    #[test]
    fn answers_are_understood() {
        let read = |text: &str| judged(serde_json::from_str(text).unwrap());
        let error = |code: u32, text: &str| {
            let error = format!(
                r#"{{"error":{{"code":400,"err_code":{code},"description":"{text}"}},"stream":"S","seq":0}}"#
            );
            read(&error)
        };
        assert_eq!(
            read(r#"{"stream":"S","seq":7}"#),
            Outcome::Stored { sequence: 7 }
        );
        assert_eq!(
            error(10_071, "wrong last sequence: 4"),
            Outcome::WrongLast { last: Some(4) }
        );
        assert_eq!(
            error(10_164, "wrong last sequence"),
            Outcome::WrongLast { last: None }
        );
        let refused = |code, text: &str| Outcome::Refused {
            code,
            text: text.into(),
        };
        assert_eq!(error(10_077, "disk"), refused(10_077, "disk"));
        assert_eq!(error(0, "x"), refused(400, "x"));
        assert_eq!(read("{}"), refused(0, "the answer has no sequence"));
    }
}
