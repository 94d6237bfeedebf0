//! What is known of the connection to the servers.

use std::sync::Arc;

use async_nats::{ClientError, Event};
use parking_lot::Mutex;
use tokio::sync::watch;

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
}

/// The connection's condition, shared by the thread's tasks and the owner.
///
/// Its changes are hints: the library drops events too when many come at once. So what must not be missed is
/// noticed without them.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    moment: Arc<watch::Sender<Moment>>,
    trouble: Arc<Mutex<String>>,
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
        }
    }

    /// Takes an event of the library.
    pub(crate) fn happened(&self, event: &Event) {
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
        assert_eq!(
            line.condition().trouble,
            "the connection to the NATS server ended"
        );
    }
}
