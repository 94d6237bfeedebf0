//! Facts that the cluster keeps beside its log: a stream with the last value of each key.
//!
//! Any node stores a fact, and any node reads all of them, in the order in which they were stored. The log is for what one
//! node decides; a fact is for what must hold although nobody leads.

use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::LIBRARY_ENDED;
use super::asker::{Asker, Unasked, is_unserved};
use super::fetch::{NO_MESSAGE, OfLeader, SEQUENCE, Stored, alone};
use super::line::Line;
use super::names::ClusterNames;
use super::publish::{EXPECTED_STREAM, Outcome, outcome};
use super::stream::{ApiError, MESSAGE_MAX, RECORD_MAX, STREAM_NOT_FOUND, StreamError};
use super::streams::silence;

/// The time in which the servers must answer a question, with the time until there is a connection.
const WITHIN: Duration = Duration::from_secs(5);

/// The time in which one request must be answered before it is made again.
const ONCE: Duration = Duration::from_secs(1);

/// The time before a request that failed is made again.
const AGAIN: Duration = Duration::from_millis(100);

/// The questions that wait.
const WAITING: usize = 16;

/// The most facts of a request.
const BATCH: u64 = 1_024;

/// The most facts that there are, and the most bytes of all. Each node has a key of its own for the same thing.
const FACTS: u64 = 400_000;
const FACTS_BYTES: u64 = 128 << 20;

/// The header with the time for which the servers keep a fact.
const LIFE: &str = "Nats-TTL";

/// The header with the subject of a fact.
const SUBJECT: &str = "Nats-Subject";

/// The error of the JetStream API for a stream that is full.
const FULL: u32 = 10_077;

/// A fact of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The place in the order of all facts, from 1.
    pub sequence: u64,
    /// The key: words of ASCII with dots between them.
    pub key: String,
    /// The value.
    pub bytes: Bytes,
}

/// The facts of the cluster. The calls wait up to 5 seconds for the servers.
#[derive(Clone, Debug)]
pub struct Kept {
    line: Line,
    questions: mpsc::Sender<Question>,
}

#[derive(Debug)]
struct Question {
    what: What,
    until: Instant,
    answer: std_mpsc::SyncSender<Result<Vec<Fact>, StreamError>>,
}

#[derive(Debug)]
enum What {
    Create { replicas: u8 },
    Put(String, Bytes, Option<Duration>),
    Get(String),
    Read { below: String, from: u64 },
}

impl Kept {
    /// Creates the stream. One that is there with the same settings stays as it is.
    ///
    /// # Errors
    /// There is such a stream with other settings, or the servers refuse or do not answer.
    pub fn create(&self, replicas: u8) -> Result<(), StreamError> {
        self.ask(What::Create { replicas }).map(drop)
    }

    /// Stores the value of a key: when it returns, a majority of the servers has it. The value before is forgotten.
    /// With `life` the servers forget the fact after that time, which is cut to whole seconds.
    ///
    /// # Errors
    /// There is no stream, no room ([`is_full`]), the value is longer than [`RECORD_MAX`], or the servers refuse. After
    /// [`StreamError::Silent`] the fact may be stored all the same.
    pub fn put(&self, key: &str, bytes: Bytes, life: Option<Duration>) -> Result<(), StreamError> {
        if bytes.len() > RECORD_MAX {
            let length = bytes.len();
            let why = format!("{key} has {length} bytes, and at most {RECORD_MAX} are kept");
            return Err(StreamError::Plan(why));
        }
        self.ask(What::Put(key.to_owned(), bytes, life)).map(drop)
    }

    /// Returns facts whose keys begin with `below` and a dot, in their order from a sequence on. When nothing is
    /// returned, there is none from there on: the server that orders the facts says so.
    ///
    /// # Errors
    /// There is no stream, or the servers refuse or do not answer.
    pub fn read(&self, below: &str, from: u64) -> Result<Vec<Fact>, StreamError> {
        let below = below.to_owned();
        self.ask(What::Read { below, from })
    }

    /// Returns the fact with a key; `None` if there is none: the server that orders the facts says so.
    ///
    /// # Errors
    /// There is no stream, or the servers refuse or do not answer.
    pub fn get(&self, key: &str) -> Result<Option<Fact>, StreamError> {
        let mut facts = self.ask(What::Get(key.to_owned()))?;
        Ok(facts.pop())
    }

    fn ask(&self, what: What) -> Result<Vec<Fact>, StreamError> {
        let (answer, answered) = std_mpsc::sync_channel(1);
        let question = Question {
            what,
            until: Instant::now() + WITHIN,
            answer,
        };
        if self.questions.try_send(question).is_err() {
            let why = "the thread that speaks NATS has ended, or has too many questions";
            return Err(StreamError::Silent(why.into()));
        }
        // Questions before this one may take their time too.
        let patience = WITHIN * 2;
        match answered.recv_timeout(patience) {
            Ok(answer) => answer,
            Err(_) => Err(silence(&self.line, patience)),
        }
    }
}

/// Returns whether a fact was refused because there are as many as there may be.
#[must_use]
pub fn is_full(error: &StreamError) -> bool {
    matches!(error, StreamError::Refused { code: FULL, .. })
}

/// The part that runs on the thread.
#[derive(Debug)]
pub(crate) struct Keeping {
    names: ClusterNames,
    line: Line,
    questions: mpsc::Receiver<Question>,
}

/// Makes both parts.
pub(crate) fn kept(names: &ClusterNames, line: &Line) -> (Kept, Keeping) {
    let (questions, taken) = mpsc::channel(WAITING);
    let kept = Kept {
        line: line.clone(),
        questions,
    };
    let keeping = Keeping {
        names: names.clone(),
        line: line.clone(),
        questions: taken,
    };
    (kept, keeping)
}

/// Returns the settings of the stream.
fn settings(names: &ClusterNames) -> Value {
    json!({
        "name": names.kept(),
        "subjects": [names.fact(">")],
        "retention": "limits",
        "storage": "file",
        // A full stream refuses: forgetting the oldest would let revoked tokens come back.
        "discard": "new",
        "max_msgs": FACTS,
        "max_bytes": FACTS_BYTES,
        "max_msgs_per_subject": 1,
        "max_msg_size": MESSAGE_MAX,
        "allow_direct": true,
        "allow_msg_ttl": true,
        "deny_purge": true,
    })
}

impl Keeping {
    /// Answers until nobody can ask any more.
    pub(crate) async fn run(mut self, mut asker: Asker) {
        while let Some(question) = self.questions.recv().await {
            let until = question.until;
            let answer = match question.what {
                What::Create { replicas } => self.create(&mut asker, replicas, until).await,
                What::Put(key, bytes, life) => {
                    self.put(&mut asker, (&key, bytes, life), until).await
                }
                What::Get(key) => {
                    let request = json!({ "last_by_subj": self.names.fact(&key) });
                    self.of_leader(&mut asker, request, until).await
                }
                What::Read { below, from } => self.read(&mut asker, (&below, from), until).await,
            };
            // Who has stopped waiting hears nothing.
            let _ = question.answer.try_send(answer);
        }
    }

    async fn create(
        &self,
        asker: &mut Asker,
        replicas: u8,
        until: Instant,
    ) -> Result<Vec<Fact>, StreamError> {
        let mut config = settings(&self.names);
        config["num_replicas"] = replicas.into();
        let subject = format!("$JS.API.STREAM.CREATE.{}", self.names.kept());
        let request = config.to_string().into_bytes();
        // The servers take a request for a stream that is there already as done, if it is the same.
        let answer = self.ask(asker, &subject, request.into(), until).await?;
        self.check(&answer.payload).map(|_| Vec::new())
    }

    async fn put(
        &self,
        asker: &mut Asker,
        (key, bytes, life): (&str, Bytes, Option<Duration>),
        until: Instant,
    ) -> Result<Vec<Fact>, StreamError> {
        let subject = self.names.fact(key);
        let headers = || {
            let mut headers = HeaderMap::new();
            headers.insert(EXPECTED_STREAM, self.names.kept());
            if let Some(life) = life {
                headers.insert(LIFE, format!("{}s", life.as_secs().max(1)));
            }
            headers
        };
        loop {
            let sent = asker.send(&subject, Some(headers()), bytes.clone()).await;
            if let Ok(number) = sent {
                let once = until.min(Instant::now() + ONCE);
                if let Some(message) = answer_to(asker, number, once).await? {
                    match outcome(&message) {
                        Outcome::Stored { .. } => return Ok(Vec::new()),
                        // Nobody serves the stream now: it may not be there, or its servers elect.
                        Outcome::Refused { code: 503, .. } => {
                            self.exists(asker, until).await?;
                        }
                        Outcome::Refused { code, text } => {
                            return Err(StreamError::Refused { code, text });
                        }
                        // A second one changes nothing.
                        Outcome::WrongLast { .. } | Outcome::Silence | Outcome::NotSent(_) => {}
                    }
                }
            }
            self.rest(until).await?;
        }
    }

    /// Reads facts: many at once from any server that has the stream, and at the end from the one that orders it.
    async fn read(
        &self,
        asker: &mut Asker,
        (below, from): (&str, u64),
        until: Instant,
    ) -> Result<Vec<Fact>, StreamError> {
        let all = self.names.fact(&format!("{below}.>"));
        let facts = self.batch(asker, &all, from, until).await?;
        if !facts.is_empty() {
            return Ok(facts);
        }
        let request = json!({ "seq": from, "next_by_subj": all });
        self.of_leader(asker, request, until).await
    }

    /// Asks the server that orders the facts for one; nothing if there is none.
    async fn of_leader(
        &self,
        asker: &mut Asker,
        request: Value,
        until: Instant,
    ) -> Result<Vec<Fact>, StreamError> {
        let subject = format!("$JS.API.STREAM.MSG.GET.{}", self.names.kept());
        let request = Bytes::from(request.to_string());
        loop {
            let message = self.ask(asker, &subject, request.clone(), until).await?;
            let answer: OfLeader = serde_json::from_slice(&message.payload)
                .map_err(|why| StreamError::Unclear(why.to_string()))?;
            match (answer.message, answer.error) {
                (Some(stored), _) => return self.stored(stored).map(|fact| vec![fact]),
                (None, Some(error)) if error.err_code == NO_MESSAGE => return Ok(Vec::new()),
                (None, Some(error)) if error.err_code != 0 => return Err(self.refused(error)),
                (None, _) => self.rest(until).await?,
            }
        }
    }

    /// Reads facts from any server that has the stream. Nothing may mean that the server is behind.
    async fn batch(
        &self,
        asker: &mut Asker,
        all: &str,
        from: u64,
        until: Instant,
    ) -> Result<Vec<Fact>, StreamError> {
        let subject = format!("$JS.API.DIRECT.GET.{}", self.names.kept());
        let request = json!({ "seq": from, "next_by_subj": all, "batch": BATCH }).to_string();
        let mut facts = Vec::new();
        let Ok(number) = asker.send(&subject, None, request.into()).await else {
            return Ok(facts);
        };
        while (facts.len() as u64) < BATCH {
            let once = until.min(Instant::now() + ONCE);
            let Some(message) = answer_to(asker, number, once).await? else {
                break;
            };
            match self.fact(&message) {
                Some(fact) => facts.push(fact),
                None => break,
            }
        }
        Ok(facts)
    }

    /// Returns the fact in an answer; `None` if there are no more.
    fn fact(&self, message: &Message) -> Option<Fact> {
        let headers = message
            .headers
            .as_ref()
            .filter(|_| message.status.is_none())?;
        let sequence = headers.get_last(SEQUENCE)?.as_str().parse().ok()?;
        let key = self.key(headers.get_last(SUBJECT)?.as_str())?;
        let bytes = alone(&message.payload);
        Some(Fact {
            sequence,
            key,
            bytes,
        })
    }

    fn stored(&self, stored: Stored) -> Result<Fact, StreamError> {
        let unclear = || StreamError::Unclear("a fact of another form".to_owned());
        let bytes = BASE64_STANDARD.decode(&stored.data);
        Ok(Fact {
            sequence: stored.seq,
            key: self.key(&stored.subject).ok_or_else(unclear)?,
            bytes: bytes.map_err(|_| unclear())?.into(),
        })
    }

    fn key(&self, subject: &str) -> Option<String> {
        subject
            .strip_prefix(&*self.names.fact(""))
            .map(str::to_owned)
    }

    /// Checks that the stream is there.
    async fn exists(&self, asker: &mut Asker, until: Instant) -> Result<(), StreamError> {
        let subject = format!("$JS.API.STREAM.INFO.{}", self.names.kept());
        let answer = self.ask(asker, &subject, Bytes::new(), until).await?;
        self.check(&answer.payload)
    }

    /// Reads an answer about the stream.
    fn check(&self, answer: &[u8]) -> Result<(), StreamError> {
        let answer: About =
            serde_json::from_slice(answer).map_err(|why| StreamError::Unclear(why.to_string()))?;
        match answer.error {
            Some(error) => Err(self.refused(error)),
            None => Ok(()),
        }
    }

    fn refused(&self, error: ApiError) -> StreamError {
        match error.err_code {
            STREAM_NOT_FOUND => StreamError::Absent(self.names.kept()),
            code => StreamError::Refused {
                code,
                text: error.description,
            },
        }
    }

    /// Asks again until there is an answer.
    async fn ask(
        &self,
        asker: &mut Asker,
        subject: &str,
        bytes: Bytes,
        until: Instant,
    ) -> Result<Message, StreamError> {
        loop {
            let once = until.min(Instant::now() + ONCE);
            match asker.ask(subject, bytes.clone(), once).await {
                Ok(message) if !is_unserved(&message) => return Ok(message),
                Err(Unasked::Ended) => return Err(silence(&self.line, WITHIN)),
                // JetStream starts later than its server, and a cluster elects.
                Ok(_) | Err(Unasked::NotSent(_) | Unasked::Silence) => {}
            }
            self.rest(until).await?;
        }
    }

    /// Rests before a request is made again.
    ///
    /// # Errors
    /// There is no time for another one.
    async fn rest(&self, until: Instant) -> Result<(), StreamError> {
        if Instant::now() + AGAIN >= until {
            return Err(silence(&self.line, WITHIN));
        }
        tokio::time::sleep(AGAIN).await;
        Ok(())
    }
}

/// Waits for the next answer to a request; `None` if none comes in time. Answers to others are dropped.
async fn answer_to(
    asker: &mut Asker,
    number: u64,
    until: Instant,
) -> Result<Option<Message>, StreamError> {
    loop {
        match timeout_at(until, asker.next()).await {
            Ok(Some((answered, message))) if answered == number => return Ok(Some(message)),
            Ok(Some(_)) => {}
            Ok(None) => return Err(StreamError::Silent(LIBRARY_ENDED.into())),
            Err(_) => return Ok(None),
        }
    }
}

#[derive(Deserialize)]
struct About {
    error: Option<ApiError>,
}
