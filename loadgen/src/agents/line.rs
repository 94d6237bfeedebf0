//! The connection to a NATS server: a thread with the client library, and queues to and from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Event, Message, ServerAddr};
use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use tokio::sync::mpsc as queue;

use crate::exit::{Failure, Outcome};

/// The messages that wait in each direction, at most. A message beyond that ends the run.
const WAITING: usize = 4_096;

/// The messages that are taken from the queue in one go.
const AT_ONCE: usize = 256;

/// The time in which a server must answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time between two pings to the server. Two of them without an answer end the connection.
const PING: Duration = Duration::from_secs(2);

/// Answers a message at once, without a queue: returns the subject and the bytes of the answer. The time
/// is that of the arrival.
pub(crate) type Reflex = Box<dyn FnMut(&[u8], Instant) -> Option<(String, Vec<u8>)> + Send>;

/// What came over the line.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message, with the time of its arrival.
    Message {
        subject: String,
        bytes: Vec<u8>,
        at: Instant,
    },
    /// Messages may be missing from here on: the connection ended, or too much came at once. The reason
    /// is a sentence. The line connects again by itself.
    Broken(String),
}

/// A message to send.
type Said = (String, Vec<u8>);

/// A connection to a NATS server. Dropping it sends what waits and ends the connection.
#[derive(Debug)]
pub(crate) struct Line {
    say: Option<queue::Sender<Said>>,
    heard: Receiver<Heard>,
    /// A message found no room in the queue.
    overflowed: Arc<AtomicBool>,
    message_max: usize,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// Connects to the server and subscribes to the subjects.
    ///
    /// # Errors
    /// The server does not answer, or refuses (exit 94).
    pub(crate) fn open(url: &str, subjects: Vec<String>, reflex: Reflex) -> Outcome<Self> {
        let (say, said) = queue::channel(WAITING);
        let (tell, heard) = mpsc::sync_channel(WAITING);
        let (ready, is_ready) = mpsc::sync_channel(1);
        let overflowed = Arc::<AtomicBool>::default();
        let (server, full) = (url.to_owned(), Arc::clone(&overflowed));
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    match connect(&server, subjects, tell.clone()).await {
                        Ok(joined) => {
                            let _ = ready.send(Ok(joined.client.max_payload()));
                            joined.work(said, Heads { tell, full }, reflex).await;
                        }
                        Err(why) => drop(ready.send(Err(why))),
                    }
                }),
                Err(why) => drop(ready.send(Err(why.to_string()))),
            }
        };
        let thread = std::thread::Builder::new().name("nats".into()).spawn(work);
        let thread =
            thread.map_err(|why| Failure::aborted(format!("cannot start a thread: {why}")))?;
        let ended = || Err("its thread ended".to_owned());
        let message_max = is_ready.recv().unwrap_or_else(|_| ended());
        let message_max = message_max.map_err(|why| {
            Failure::preflight(format!(
                "no NATS server answers at {}: {why}; start one there (nats-server), or name another with --nats",
                shown_url(url)
            ))
        })?;
        Ok(Self {
            say: Some(say),
            heard,
            overflowed,
            message_max,
            thread: Some(thread),
        })
    }

    /// Returns the most bytes of a message.
    pub(crate) fn message_max(&self) -> usize {
        self.message_max
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The message is longer than the server takes, or the server takes none. The text is a sentence.
    pub(crate) fn say(&self, subject: String, bytes: Vec<u8>) -> Result<(), String> {
        if bytes.len() > self.message_max {
            return Err(format!(
                "the NATS server takes messages of at most {} bytes, and one has {}: raise its max_payload",
                self.message_max,
                bytes.len()
            ));
        }
        let say = self.say.as_ref().map(|say| say.try_send((subject, bytes)));
        match say {
            Some(Ok(())) => Ok(()),
            _ => Err("the NATS server does not take messages any more".to_owned()),
        }
    }

    /// Returns whether the line is down for good.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Returns what comes within a time, and what has come by then, up to a bound.
    pub(crate) fn hear_all(&self, within: Duration) -> impl Iterator<Item = Heard> {
        let mut within = within;
        std::iter::from_fn(move || {
            let heard = self.hear(within);
            within = Duration::ZERO;
            heard
        })
        .take(AT_ONCE)
    }

    /// Returns what comes within a time; `None` if nothing does.
    pub(crate) fn hear(&self, within: Duration) -> Option<Heard> {
        if self.overflowed.swap(false, Ordering::SeqCst) {
            return Some(Heard::Broken("NATS brought too much at once".into()));
        }
        match self.heard.recv_timeout(within) {
            Ok(heard) => Some(heard),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // The thread has ended. Callers ask again and again, and shall not spin.
                std::thread::sleep(within);
                Some(Heard::Broken("the connection to NATS ended".into()))
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.say = None;
        if let Some(thread) = self.thread.take() {
            // The panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}

/// Returns the URL without user and password.
pub(crate) fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{host}")
}

/// Returns a part of a URL with its escaped bytes, such as `%40`, as what they stand for.
fn decoded(part: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), part.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind.get(..2).filter(|_| *first == b'%');
        let escaped = escaped.and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The queue to the rest of the program.
struct Heads {
    tell: SyncSender<Heard>,
    full: Arc<AtomicBool>,
}

impl Heads {
    /// Passes on what came. Without room it is dropped, and the reader is told that.
    fn tell(&self, heard: Heard) {
        if self.tell.try_send(heard).is_err() {
            self.full.store(true, Ordering::SeqCst);
        }
    }
}

/// A client with its subscriptions.
struct Joined {
    client: Client,
    messages: SelectAll<async_nats::Subscriber>,
}

async fn connect(
    url: &str,
    subjects: Vec<String>,
    tell: SyncSender<Heard>,
) -> Result<Joined, String> {
    let server: ServerAddr = url.parse().map_err(|why| format!("{why}"))?;
    let options = match (server.username(), server.password()) {
        (Some(user), Some(password)) => {
            ConnectOptions::with_user_and_password(decoded(user), decoded(password))
        }
        (Some(token), None) => ConnectOptions::with_token(decoded(token)),
        (None, _) => ConnectOptions::new(),
    };
    let options = options
        .name("loadgen")
        .connection_timeout(PATIENCE)
        .ping_interval(PING)
        .subscription_capacity(WAITING)
        .event_callback(move |event| {
            let why = match event {
                Event::Disconnected => Some("the connection to NATS ended".to_owned()),
                Event::SlowConsumer(_) => Some("NATS brought too much at once".to_owned()),
                Event::ServerError(why) => Some(format!("the NATS server says: {why}")),
                _ => None,
            };
            let tell = tell.clone();
            async move {
                if let Some(why) = why {
                    let _ = tell.try_send(Heard::Broken(why));
                }
            }
        });
    let client = tokio::time::timeout(PATIENCE, options.connect(server)).await;
    let client = client.map_err(|_| format!("it did not answer within {PATIENCE:?}"))?;
    let client = client.map_err(|why| why.to_string())?;
    let mut messages = Vec::new();
    for subject in subjects {
        let one = client.subscribe(subject).await;
        messages.push(one.map_err(|why| why.to_string())?);
    }
    // The server has the subscriptions before anybody answers.
    client.flush().await.map_err(|why| why.to_string())?;
    Ok(Joined {
        messages: select_all(messages),
        client,
    })
}

impl Joined {
    /// Sends and receives until the line is dropped.
    async fn work(mut self, mut said: queue::Receiver<Said>, heads: Heads, mut reflex: Reflex) {
        loop {
            tokio::select! {
                message = said.recv() => match message {
                    Some((subject, bytes)) => self.publish(subject, bytes, &heads).await,
                    None => break,
                },
                message = self.messages.next() => match message {
                    Some(message) => self.take(message, &heads, &mut reflex).await,
                    None => break,
                },
            }
        }
        // The last words of a run are not worth more than this.
        let _ = tokio::time::timeout(PATIENCE, self.client.flush()).await;
    }

    async fn publish(&self, subject: String, bytes: Vec<u8>, heads: &Heads) {
        if let Err(why) = self.client.publish(subject, bytes.into()).await {
            let why = format!("a message to NATS could not be sent: {why}");
            heads.tell(Heard::Broken(why));
        }
    }

    async fn take(&self, message: Message, heads: &Heads, reflex: &mut Reflex) {
        let at = Instant::now();
        if let Some((subject, bytes)) = reflex(&message.payload, at) {
            self.publish(subject, bytes, heads).await;
            return;
        }
        heads.tell(Heard::Message {
            subject: message.subject.to_string(),
            bytes: message.payload.to_vec(),
            at,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("nats://u:p@h:4222", "nats://h:4222"),
            ("tls://token@h", "tls://h"),
            ("h:4222", "nats://h:4222"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }

    #[test]
    fn what_a_url_escapes_is_what_it_stands_for() {
        for (part, text) in [
            ("plain", "plain"),
            ("a%40b%3A", "a@b:"),
            ("50%", "50%"),
            ("%zz", "%zz"),
        ] {
            assert_eq!(decoded(part), text);
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = nobody.local_addr().expect("an address").port();
        drop(nobody);
        let url = format!("nats://u:secret@127.0.0.1:{port}");
        let failed = Line::open(&url, Vec::new(), Box::new(|_, _| None)).unwrap_err();
        assert_eq!(failed.exit.code(), 94);
        assert!(
            failed.message.contains(&format!("127.0.0.1:{port}")),
            "{failed}"
        );
        assert!(!failed.message.contains("secret"), "{failed}");
    }
}
