//! Commands and queries of callers in this process.
//!
//! A [`Service`] makes [`Client`]s, and each client acts as one user. A call takes the same path as a
//! connection's command, through the same checks, queues, sequencer and readers:
//!
//! 1. The call checks the command.
//! 2. The call queues the command for the sequencer or for the readers. A call that finds the queue
//!    full fails at once with the temporary error 111.
//! 3. The caller waits for the answer, which is a value: as a task, or by blocking its thread.
//!
//! When a call returns, its change is durable. The gateway pushes the event to sessions like any
//! other.

mod asking;
mod client;
mod eraser;

use std::sync::Arc;
use std::time::Duration;

use trunkline_proto::message::ErrorReply;
use trunkline_proto::names::is_name;
use trunkline_proto::{ErrorCode, Str};
use trunkline_storage::{Epochs, Reader};

use crate::directory::Directory;
use crate::exchange::{Failure, ToReaders, ToSequencer};
use crate::hub::Hub;
use crate::ids::{DeviceMark, Ids, UserId};
use crate::request::{ContentLimits, Names};

pub use client::{Carried, Client, no_answer};
pub use eraser::{Eraser, Step};

/// The error of a failed call: the error reply that a session would get.
pub type CallError = ErrorReply<'static>;

/// The default maximum time for which a call waits: see [`Service::with_timeout`].
const TIMEOUT: Duration = Duration::from_secs(30);

/// The parts of the core that a service uses.
#[derive(Clone)]
pub struct Parts {
    /// The limits of commands and pages.
    pub limits: ContentLimits,
    /// The sessions of all users.
    pub directory: Arc<Directory>,
    /// The presence of all users.
    pub hub: Arc<Hub>,
    /// The queue of the sequencer.
    pub sequencer: ToSequencer,
    /// The queue of the readers.
    pub readers: ToReaders,
}

/// Lets code in this process use the core. A service is cheap to clone: each thread can have its own.
#[derive(Clone)]
pub struct Service {
    parts: Parts,
    ids: Ids,
    epochs: Epochs,
    timeout: Duration,
}

impl Service {
    /// Returns a service on this store.
    pub fn new(store: &Reader, parts: Parts) -> Self {
        Self {
            parts,
            ids: Ids(store.key()),
            epochs: store.epochs().clone(),
            timeout: TIMEOUT,
        }
    }

    /// Returns the same service with another timeout: the maximum time for which a call waits for an
    /// answer. The default is 30 seconds.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Returns a client that acts as this user. `device` is the device in the messages that it sends.
    /// In a gateway without namespaces `namespace` is empty.
    ///
    /// # Errors
    /// A name does not have 1 to 64 bytes of `[A-Za-z0-9._@-]`.
    pub fn client(
        &self,
        namespace: &str,
        user: &str,
        device: &str,
    ) -> Result<Client<'_>, CallError> {
        const BAD_NAME: Failure = (
            ErrorCode::BadRequest,
            "a user, device or namespace is 1 to 64 bytes of [A-Za-z0-9._@-]",
        );
        if !(is_name(user) && is_name(device) && (namespace.is_empty() || is_name(namespace))) {
            return Err(failed(BAD_NAME));
        }
        let id = self.ids.user(namespace, user);
        let names = Names::new(user, device, namespace);
        Ok(Client::new(self, id, names))
    }
}

impl Service {
    /// Returns what carries out the steps of the erasure of this user.
    ///
    /// # Errors
    /// A name does not have 1 to 64 bytes of `[A-Za-z0-9._@-]`.
    pub fn eraser<'s>(
        &'s self,
        namespace: &'s str,
        user: &'s str,
    ) -> Result<Eraser<'s>, CallError> {
        self.client(namespace, user, user)?;
        let id = self.ids.user(namespace, user);
        Ok(Eraser::new(self, id, namespace, user))
    }

    /// Returns the position of the last published event, as clients get it.
    pub fn head(&self) -> String {
        let position = self.parts.directory.head();
        self.epochs.token(position).to_string()
    }

    /// Returns the mark of a device of a user.
    pub fn device_mark(&self, user: UserId, device: &str) -> DeviceMark {
        self.ids.device_mark(user, device)
    }
}

fn failed((code, message): Failure) -> CallError {
    let message: Str<'static> = message.into();
    ErrorReply::new(code, message)
}
