//! Commands and queries of callers in this process.
//!
//! A [`Service`] is the way in; a [`Client`] of it acts as one user. A call goes the way that a
//! connection's command goes, through the same checks, queues, sequencer and readers, and gets its
//! answer as a value:
//!
//! 1. The command is checked as a client's is.
//! 2. It goes to the sequencer or to the readers. Where their queue is full the call fails at once with
//!    the temporary error 111.
//! 3. The calling thread waits for the answer.
//!
//! What a call stores is durable when it returns, and pushed to sessions as any event is.

mod client;

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Sender;
use trunkline_proto::message::ErrorReply;
use trunkline_proto::names::is_name;
use trunkline_proto::{ErrorCode, Str};
use trunkline_storage::{Epochs, Reader};

use crate::directory::Directory;
use crate::exchange::{Failure, Job, ToSequencer};
use crate::hub::Hub;
use crate::ids::Ids;
use crate::request::{ContentLimits, Names};

pub use client::Client;

/// Why a call failed: the error reply that a client would get.
pub type CallError = ErrorReply<'static>;

/// The longest that a call waits, unless [`Service::with_timeout`] says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What a service works with.
#[derive(Clone)]
pub struct Parts {
    /// What commands and pages may hold.
    pub limits: ContentLimits,
    /// Which shards hold sessions of which user.
    pub directory: Arc<Directory>,
    /// Who is online, and when the others left.
    pub hub: Arc<Hub>,
    /// The queue of the sequencer.
    pub sequencer: ToSequencer,
    /// The queue of the readers.
    pub readers: Sender<Job>,
}

/// The way into the core for callers in this process. Cheap to clone; every thread may have one.
#[derive(Clone)]
pub struct Service {
    parts: Parts,
    ids: Ids,
    epochs: Epochs,
    timeout: Duration,
}

impl Service {
    /// A service on this store.
    pub fn new(store: &Reader, parts: Parts) -> Self {
        Self {
            parts,
            ids: Ids(store.key()),
            epochs: store.epochs().clone(),
            timeout: TIMEOUT,
        }
    }

    /// The same service, whose calls wait for at most `timeout` for each answer. The default is 30
    /// seconds.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Returns a client that acts as this user. `device` names the caller in messages that it sends;
    /// an empty `namespace` is the one of a gateway without namespaces.
    ///
    /// # Errors
    /// A name is not 1 to 64 bytes of `[A-Za-z0-9._@-]`.
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

fn failed((code, message): Failure) -> CallError {
    let message: Str<'static> = message.into();
    ErrorReply::new(code, message)
}
