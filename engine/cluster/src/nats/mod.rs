//! The thread that speaks NATS.
//!
//! It carries bytes and knows nothing of what is in them. Everything from it and to it goes through bounded
//! queues; the threads that read them are woken by [`Wake`] objects of theirs, or by a [`Bell`].
//!
//! | end | what it does |
//! |---|---|
//! | [`Streams`] | creates the stream that has the log, opens it, tells about it |
//! | [`Publisher`] | brings one record at a time into the log, and tells what became of it |
//! | [`Tail`] | has the records of the log from one on, in order, each once, none missing |
//! | [`Lanes`] | has messages to other nodes and from them, which nobody stores |
//! | [`Kept`] | stores facts beside the log, and reads them |
//!
//! What the library does behind one's back, and what is done here about it:
//!
//! - On a new connection it drops what had not left, and keeps its queue: requests that were given up leave
//!   then. So nothing is handed to it without a connection, each answer names the number of its request, and
//!   a record says which must be the last before it.
//! - A subscription without room loses messages. Records have sequences, and the servers are asked every
//!   second where the log ends; for other messages the loss is said.
//! - Its own requests keep an entry each that never goes if no answer comes. `asker` does it with one
//!   subscription.
//!
//! The servers too have habits: a request for records may go to a server that is behind (`fetch` then asks the
//! leader of the stream), a server that has just started may not know a stream for a moment (`watch` believes
//! it after a second), and the one that repeats a record does so just before it acknowledges it.

mod asker;
mod bell;
mod fetch;
mod kept;
mod lanes;
mod line;
mod names;
mod order;
mod publish;
mod queue;
mod settings;
mod stream;
mod streams;
mod tail;
mod watch;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, ServerAddr};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use trunkline_core::exchange::Wake;

pub use bell::Bell;
pub use kept::{Fact, Kept, is_full};
pub use lanes::{Lane, Lanes, NotSaid, Said, To};
pub use line::Condition;
pub use names::{BadName, ClusterNames};
pub use publish::{NotTaken, Outcome, Published, Publisher, SILENCE};
pub use settings::{BadSettings, NatsSettings, NodeCertificate, shown_url};
pub use stream::{Follower, RECORD_MAX, StreamError, StreamInfo, StreamPlan};
pub use streams::Streams;
pub use tail::{Heard, Tail, TailCondition};
pub use watch::Stop;

use asker::Asker;
use kept::Keeping;
use lanes::Carrying;
use line::Line;
use publish::Sending;
use streams::Answering;
use tail::{Reached, Tailing};

/// The time that the last messages have to leave when the thread ends. Long enough for a busy machine; only a node whose
/// servers do not answer waits for all of it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The time that look-ups of names have to end when the thread ends.
const LOOK_UPS: Duration = Duration::from_millis(100);

/// The reason of a task that cannot go on.
const LIBRARY_ENDED: &str = "the library for NATS has ended";

/// What tells the owner of an end that the thread has ended.
type AtEnd = Box<dyn Fn() + Send>;

/// The wake-ups of the threads that read the ends.
#[derive(Clone, Debug)]
pub struct Wakes {
    /// Outcomes of records.
    pub publisher: Arc<dyn Wake>,
    /// Records.
    pub tail: Arc<dyn Wake>,
    /// Messages of other nodes.
    pub lanes: Arc<dyn Wake>,
    /// Messages of other nodes about ephemeral state.
    pub digests: Arc<dyn Wake>,
}

impl Wakes {
    /// Returns the same wake-up for everything.
    pub fn all(wake: &Arc<dyn Wake>) -> Self {
        Self {
            publisher: Arc::clone(wake),
            tail: Arc::clone(wake),
            lanes: Arc::clone(wake),
            digests: Arc::clone(wake),
        }
    }
}

/// A thread that cannot be started.
#[derive(Debug, Error)]
pub enum NotStarted {
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] BadSettings),
    /// The operating system refuses.
    #[error("cannot start the thread that speaks NATS: {0}")]
    System(#[from] std::io::Error),
}

/// The thread that speaks NATS. Dropping it lets the last messages leave, also those that
/// [`Lanes`] took and did not hand over yet, for at most half a second, and ends it; its ends then say so.
#[derive(Debug)]
pub struct Nats {
    line: Line,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What other threads have of it.
#[derive(Debug)]
pub struct Ends {
    /// The stream.
    pub streams: Streams,
    /// The way into the log.
    pub publisher: Publisher,
    /// The way out of the log.
    pub tail: Tail,
    /// Messages to other nodes.
    pub lanes: Lanes,
    /// The end for messages about ephemeral state.
    pub digests: Arc<Lanes>,
    /// What the cluster keeps beside the log.
    pub kept: Kept,
}

/// Tells the owners that the thread has ended, also when it panics: nobody waits for what never comes.
struct LastWord {
    line: Line,
    ends: [AtEnd; 3],
}

impl Drop for LastWord {
    fn drop(&mut self) {
        self.line.ended();
        for end in &self.ends {
            end();
        }
    }
}

/// What the thread has of it.
struct Inside<F> {
    answering: Answering,
    sending: F,
    tailing: Tailing,
    carrying: Carrying,
    keeping: Keeping,
}

impl Nats {
    /// Starts the thread. It connects as soon as a server can be reached, and again whenever the connection
    /// ends.
    ///
    /// # Errors
    /// The settings cannot be used, or the system has no thread.
    pub fn start(
        settings: &NatsSettings,
        names: &ClusterNames,
        wakes: Wakes,
    ) -> Result<(Self, Ends), NotStarted> {
        let (servers, options) = settings.options(names)?;
        let line = Line::new();
        let (streams, answering) = streams::streams(names, &line);
        let (publisher, sending) = publish::publisher(names, wakes.publisher);
        let (tail, tailing) = tail::tail(names, &line, wakes.tail);
        let ([lanes, digests], carrying) =
            lanes::lanes(names, &line, &[wakes.lanes, wakes.digests]);
        let (kept, keeping) = kept::kept(names, &line);
        let inside = Inside {
            answering,
            sending,
            tailing,
            carrying,
            keeping,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (end, ended) = oneshot::channel();
        let of_thread = line.clone();
        let last_word = LastWord {
            line: line.clone(),
            ends: [publisher.at_end(), tail.at_end(), lanes.at_end()],
        };
        let thread = std::thread::Builder::new()
            .name("nats".into())
            .spawn(move || {
                // Dropped last, when no task can say anything any more.
                let _last_word = last_word;
                let work = work(servers, options, of_thread, inside, ended);
                if let Err(why) = runtime.block_on(work) {
                    tracing::error!(why, "the thread that speaks NATS ends");
                }
                runtime.shutdown_timeout(LOOK_UPS);
            })?;
        let nats = Self {
            line,
            end: Some(end),
            thread: Some(thread),
        };
        let ends = Ends {
            streams,
            publisher,
            tail,
            lanes,
            digests: Arc::new(digests),
            kept,
        };
        Ok((nats, ends))
    }

    /// Returns the condition of the connection.
    pub fn condition(&self) -> Condition {
        self.line.condition()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // The panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}

async fn work(
    servers: Vec<ServerAddr>,
    options: ConnectOptions,
    line: Line,
    inside: Inside<impl FnOnce(Asker, Reached) -> Sending>,
    ended: oneshot::Receiver<()>,
) -> Result<(), String> {
    let heard = line.clone();
    let options = options.event_callback(move |event| {
        heard.happened(&event);
        std::future::ready(())
    });
    let client = options.connect(servers).await;
    let client = client.map_err(|why| why.to_string())?;
    line.is_of(&client);
    let last_messages = inside.carrying.last_messages();
    let mut tasks = JoinSet::new();
    start(&mut tasks, &client, &line, inside).await?;
    let result = tokio::select! {
        _ = ended => Ok(()),
        // An end that was dropped is no reason to end the others.
        failed = first_failure(&mut tasks) => Err(failed),
    };
    let last_words = async {
        if result.is_ok() {
            last_messages.leave().await;
        }
        client.flush().await
    };
    let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    result
}

async fn start(
    tasks: &mut JoinSet<Result<(), String>>,
    client: &Client,
    line: &Line,
    inside: Inside<impl FnOnce(Asker, Reached) -> Sending>,
) -> Result<(), String> {
    let reached = inside.tailing.reached();
    let sending = (inside.sending)(Asker::new(client, line).await?, reached);
    let api = Asker::new(client, line).await?;
    tasks.spawn(sending.run());
    tasks.spawn(async move {
        inside.answering.run(api).await;
        Ok(())
    });
    let asker = Asker::new(client, line).await?;
    tasks.spawn(async move {
        inside.keeping.run(asker).await;
        Ok(())
    });
    tasks.spawn(inside.tailing.run(client.clone()));
    tasks.spawn(inside.carrying.run(client.clone()));
    Ok(())
}

/// Waits until a task fails, if ever.
async fn first_failure(tasks: &mut JoinSet<Result<(), String>>) -> String {
    loop {
        match tasks.join_next().await {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(why))) => return why,
            Some(Err(why)) => return why.to_string(),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_thread_is_said_at_each_end() {
        let settings = NatsSettings {
            // Nobody listens there.
            urls: vec!["nats://127.0.0.1:1".into()],
            ..NatsSettings::default()
        };
        let names = ClusterNames::new("c", "n").unwrap();
        let bells: [Arc<Bell>; 4] = std::array::from_fn(|_| Arc::default());
        let [publisher, tail, lanes, digests] = bells.clone().map(|bell| bell as Arc<dyn Wake>);
        let wakes = Wakes {
            publisher,
            tail,
            lanes,
            digests,
        };
        let (nats, mut ends) = Nats::start(&settings, &names, wakes).unwrap();
        ends.tail.follow(1, None);
        let line = nats.line.clone();
        drop(nats);
        for bell in &bells {
            assert!(bell.wait(Duration::ZERO));
        }
        assert_eq!(ends.tail.take(), Some(Heard::Stopped(Stop::Ended)));
        assert_eq!(ends.tail.take(), None);
        let published = ends.publisher.publish(0, bytes::Bytes::new());
        assert_eq!(published, Err(NotTaken::Ended));
        assert!(ends.lanes.is_ended() && ends.digests.is_ended());
        let condition = line.condition();
        assert!(!condition.is_connected && condition.trouble.contains("has ended"));
        assert!(ends.streams.open().is_err());
    }
}
