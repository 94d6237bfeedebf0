//! What is known of the connection to the servers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::{Client, ClientError, Event, ServerError};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::stream::MESSAGE_MAX;

/// The time for which a refusal of a long message counts. The servers do not say when the limit is another one.
const REFUSED: Duration = Duration::from_mins(1);

/// The words with which a server refuses a message for its length. There is no number.
const TOO_LONG: &str = "maximum payload";

/// The condition of the connection to the NATS servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// There is a connection.
    pub is_connected: bool,
    /// The number of times that messages may have been lost: the connection ended, or the library had no
    /// room.
    pub breaks: u64,
    /// The last trouble, as a sentence; empty if there was none.
    pub trouble: String,
    /// Why the servers do not take the longest record, as a sentence that says what to set; `None` if they do, as far as
    /// is known.
    pub shortage: Option<String>,
}

/// The connection's condition, shared by the thread's tasks and the owner.
///
/// Its changes are hints: the library drops events too when many come at once. So what must not be missed is
/// noticed without them.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    moment: Arc<watch::Sender<Moment>>,
    trouble: Arc<Mutex<String>>,
    length: Arc<Length>,
}

/// What is known of the length of messages that the servers take.
#[derive(Debug, Default)]
struct Length {
    /// The connection, which knows the limit of its server.
    client: OnceLock<Client>,
    /// When a server refused a message for its length. The limit of an account shows only so.
    refused: Mutex<Option<Instant>>,
}

/// The part of the condition that tasks wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) is_connected: bool,
    /// The connections so far.
    pub(crate) connects: u64,
    pub(crate) breaks: u64,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self {
            moment: Arc::new(watch::Sender::new(Moment::default())),
            trouble: Arc::default(),
            length: Arc::default(),
        }
    }

    /// Sets the connection, which there is one of.
    pub(crate) fn is_of(&self, client: &Client) {
        let _ = self.length.client.set(client.clone());
    }

    /// Returns why the servers do not take the longest record; `None` if they do, as far as is known.
    pub(crate) fn shortage(&self) -> Option<String> {
        if self.moment.borrow().connects == 0 {
            return None;
        }
        let limit = self.length.client.get().map(Client::max_payload);
        if let Some(limit) = limit.filter(|limit| *limit < MESSAGE_MAX) {
            return Some(format!(
                "the NATS server takes messages of at most {limit} bytes, and a record of the log has up to {MESSAGE_MAX}: set max_payload to 1MB in the configuration of each NATS server"
            ));
        }
        let refused = *self.length.refused.lock();
        let is_recent = refused.is_some_and(|at| at.elapsed() < REFUSED);
        is_recent.then(|| format!(
            "the NATS server refused a message for its length, and a record of the log has up to {MESSAGE_MAX} bytes: give the NATS account of the gateways a payload limit of {MESSAGE_MAX} bytes or more, or none"
        ))
    }

    /// Takes an event of the library.
    pub(crate) fn happened(&self, event: &Event) {
        if let Event::ServerError(ServerError::Other(why)) = event
            && why.to_ascii_lowercase().contains(TOO_LONG)
        {
            *self.length.refused.lock() = Some(Instant::now());
        }
        let (change, trouble): (fn(&mut Moment), _) = match event {
            Event::Connected => (
                |it| {
                    it.is_connected = true;
                    it.connects += 1;
                },
                None,
            ),
            Event::Disconnected | Event::Closed => (
                |it| {
                    it.is_connected = false;
                    it.breaks += 1;
                },
                Some("the connection to the NATS server ended".to_owned()),
            ),
            Event::SlowConsumer(_) => (
                |it| it.breaks += 1,
                Some("the NATS server brought more than was taken".to_owned()),
            ),
            Event::ServerError(why) => (|_| (), Some(format!("the NATS server says: {why}"))),
            Event::ClientError(ClientError::Other(why)) => (
                |_| (),
                Some(format!("no NATS server can be reached: {why}")),
            ),
            Event::ClientError(why) => (|_| (), Some(why.to_string())),
            Event::LameDuckMode | Event::Draining => return,
        };
        if let Some(trouble) = trouble {
            tracing::debug!(trouble, "nats");
            *self.trouble.lock() = trouble;
        }
        self.moment.send_if_modified(|moment| {
            let before = *moment;
            change(moment);
            *moment != before
        });
    }

    /// Takes that the thread has ended.
    pub(crate) fn ended(&self) {
        "the thread that speaks NATS has ended".clone_into(&mut self.trouble.lock());
        self.moment.send_modify(|it| {
            it.is_connected = false;
            it.breaks += 1;
        });
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.moment.borrow().is_connected
    }

    /// Returns a view that can be waited on.
    pub(crate) fn watch(&self) -> watch::Receiver<Moment> {
        self.moment.subscribe()
    }

    /// Returns the condition as it is now.
    pub(crate) fn condition(&self) -> Condition {
        let Moment {
            is_connected,
            breaks,
            ..
        } = *self.moment.borrow();
        Condition {
            is_connected,
            breaks,
            trouble: self.trouble.lock().clone(),
            shortage: self.shortage(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_may_have_lost_messages_counts_as_a_break() {
        let line = Line::new();
        let mut watch = line.watch();
        for (event, is_connected, breaks) in [
            (Event::Connected, true, 0),
            (Event::SlowConsumer(3), true, 1),
            (Event::Disconnected, false, 2),
            (Event::LameDuckMode, false, 2),
            (Event::Connected, true, 2),
        ] {
            line.happened(&event);
            let moment = *watch.borrow_and_update();
            assert_eq!(
                (moment.is_connected, moment.breaks),
                (is_connected, breaks),
                "{event}"
            );
        }
        let condition = line.condition();
        assert_eq!(condition.trouble, "the connection to the NATS server ended");
        assert_eq!(condition.shortage, None);
    }

    #[test]
    fn a_message_that_was_refused_for_its_length_is_a_shortage() {
        let line = Line::new();
        line.happened(&Event::Connected);
        for (said, is_short) in [
            ("Stale Connection", false),
            ("Maximum Payload Violation", true),
        ] {
            line.happened(&Event::ServerError(ServerError::Other(said.into())));
            assert_eq!(line.shortage().is_some(), is_short, "{said}");
        }
    }
}
