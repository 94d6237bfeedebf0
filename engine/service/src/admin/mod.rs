//! The admin API: what `trunkline_http` needs of the gateway for it.

mod command;
mod erasure;
mod export;
mod stats;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use serde_json::Value;
use trunkline_cluster::member::Status;
use trunkline_core::call::{Service, Step};
use trunkline_core::clock::system_ms;
use trunkline_core::erasure as erasures;
use trunkline_core::exchange::Mailbox;
use trunkline_core::ids::{Ids, UserId};
use trunkline_gateway::auth::Authority;
use trunkline_gateway::auth::revoked::{self, Revocation, Revocations};
use trunkline_http::admin::{
    Admin, AdminParts, AdminTokens, BackupRefused, Did, Erasure, ErasureState, Exported, Hands,
    NoCopy, Nodes, NotErased, NotRevoked, Person, Revoke,
};
use trunkline_proto::ErrorCode;
use trunkline_storage::{Dump, Health, Reader, Store};

use crate::backup::{Backups, NotBegun};
use crate::causes;
use crate::config::Config;
use crate::http::Serving;
use crate::nodes::{self, AmongNodes, ClusterErasures, ClusterRevocations};
pub(crate) use command::AdminTokenArgs;
pub(crate) use erasure::{Bell, ErasureParts, Erasures};
pub(crate) use export::Exports;
pub(crate) use stats::{SECOND, Stats};

/// What the admin API uses of the gateway.
pub(crate) struct Program {
    pub(crate) stats: Arc<Stats>,
    /// The revoked tokens; `None` without keys for tokens.
    pub(crate) revoked: Option<Arc<Revocations>>,
    /// The other nodes; `None` if the gateway works alone.
    pub(crate) among: Option<AmongNodes>,
    pub(crate) backups: Arc<Backups>,
    pub(crate) exports: Exports,
    pub(crate) store: Reader,
    /// Wakes the thread of the erasures.
    pub(crate) bell: Arc<Bell>,
    /// What is known of the gateway as a node of a cluster; `None` if it works alone.
    pub(crate) node: Option<Arc<Status>>,
}

/// Starts the thread of the erasures.
///
/// # Errors
/// The system has no room for a thread.
pub(crate) fn start_erasures(
    serving: &Serving<'_>,
    (revoked, cluster): (Option<Arc<Revocations>>, Option<ClusterErasures>),
    bell: &Arc<Bell>,
) -> anyhow::Result<Erasures> {
    let config = serving.config;
    let parts = ErasureParts {
        folder: config.data.clone(),
        media: config.media.clone(),
        media_owner: serving.media_owner(),
        s3_file: config.media_s3_file.clone(),
        store: serving.store.clone(),
        service: serving.service(),
        revoked,
        cluster,
        metrics: Arc::clone(&serving.metrics.admin),
        media_metrics: Arc::clone(&serving.metrics.http.media),
    };
    Erasures::start(parts, Arc::clone(bell)).context("cannot start the thread of the erasures")
}

/// Opens the log of the running store by its folder.
///
/// # Errors
/// The files cannot be read, or the folder is not that of the running store any more.
fn read_log(folder: &Path, store: &Reader) -> Result<Dump, String> {
    let dump = Store::dump(folder).map_err(|error| causes::said_once(&error.into()))?;
    if let Health::Lost { reason } = store.health() {
        return Err(reason);
    }
    // The store notices within a second that its folder is another one.
    if dump.key() != store.key() {
        let folder = folder.display();
        return Err(format!(
            "{folder} has another store than the one that runs: put the right folder back"
        ));
    }
    Ok(dump)
}

/// The admin API, and the numbers that it shows.
pub(crate) struct Served {
    pub(crate) admin: Arc<Admin>,
    pub(crate) erasures: Erasures,
    pub(crate) stats: Arc<Stats>,
    /// The orders of other nodes; `None` if the gateway works alone.
    pub(crate) orders: Option<nodes::Serving>,
}

/// Reads the file of admin tokens.
///
/// # Errors
/// The file cannot be read, or a line is wrong: the text names both.
pub(crate) fn read_tokens(file: &Path) -> anyhow::Result<AdminTokens> {
    AdminTokens::read(file).map_err(|problem| anyhow::anyhow!("{problem} (set by admin_tokens)"))
}

/// Reads the revoked tokens, and lets `authority` refuse them. Returns `None` without keys for
/// tokens.
///
/// # Errors
/// The file of revoked tokens cannot be used: the text says what to do.
pub(crate) fn revocations(
    config: &Config,
    store: &Reader,
    authority: Option<&Authority>,
) -> anyhow::Result<Option<Arc<Revocations>>> {
    let Some(authority) = authority else {
        return Ok(None);
    };
    let revoked = Arc::new(Revocations::open(&config.data, Ids(store.key()))?);
    authority.refuse_revoked(Arc::clone(&revoked));
    Ok(Some(revoked))
}

/// Makes the admin API. `owners` are the mailboxes of those who have sessions.
///
/// # Errors
/// The file of tokens cannot be used.
pub(crate) fn of(
    serving: &Serving<'_>,
    program: Program,
    owners: &[Arc<Mailbox>],
    erasures: Erasures,
) -> anyhow::Result<Served> {
    let config = serving.config;
    let tokens = { config.admin_tokens.as_deref() }
        .map(read_tokens)
        .transpose()?;
    let is_loopback = config.control.ip().is_loopback();
    match (&tokens, is_loopback) {
        (None, true) => tracing::warn!(
            "the admin API needs no token: everybody on this machine may use it; set admin_tokens"
        ),
        (None, false) => tracing::warn!(
            "the admin API is off: control is no loopback address, and admin_tokens is not set"
        ),
        _ => {}
    }
    let stats = Arc::clone(&program.stats);
    let ends = program.among.as_ref().map(|among| Arc::clone(&among.ends));
    let program = Arc::new(program);
    let admin = Admin::new(AdminParts {
        tokens,
        is_loopback,
        service: serving.service(),
        back: serving.back_ends(),
        ids: Ids(serving.store.key()),
        mailboxes: owners.to_vec(),
        message_bytes: config.limits.content.message_bytes,
        timeout: config.control_limits.timeout,
        hands: Arc::clone(&program) as Arc<dyn Hands>,
        nodes: ends.map(|ends| ends as Arc<dyn Nodes>),
        metrics: Arc::clone(&serving.metrics.admin),
    });
    let admin = Arc::new(admin);
    let orders = { program.among.as_ref() }
        .map(|among| nodes::Serving::start(among, &admin))
        .transpose()?;
    Ok(Served {
        admin,
        erasures,
        stats,
        orders,
    })
}

/// The answer to an operator who erases a user, where no answer of the store or of the leader came.
const NOT_KNOWN: &str = "the store, or the leader of the cluster, did not answer: whether the erasure has begun is not known. Erase the user \
                         again: that changes nothing if it has begun";

fn not_revoked(error: &dyn std::error::Error, is_for_room: bool) -> NotRevoked {
    let text = error.to_string();
    match is_for_room {
        true => NotRevoked::Full(text),
        false => NotRevoked::Failed(text),
    }
}

impl Program {
    /// Returns in a cluster which nodes have done their part of an erasure.
    fn nodes_that_erased(&self, running: &erasures::Running) -> Result<Option<Did>, String> {
        let Some(among) = &self.among else {
            return Ok(None);
        };
        let user = Ids(self.store.key()).user(&running.namespace, &running.user);
        let (done, missing) = among.erasures().nodes(user, running)?;
        Ok(Some(Did {
            done: done.len(),
            missing: missing.into_iter().collect(),
        }))
    }

    /// Returns the revoked tokens of the cluster.
    fn of_cluster(&self) -> Option<&ClusterRevocations> {
        self.among.as_ref()?.revoked.as_deref()
    }
}

impl Hands for Program {
    fn stats(&self) -> Value {
        self.stats.value()
    }

    fn revoke(&self, revoke: &Revoke) -> Result<Option<String>, NotRevoked> {
        let revoked = self.revoked.as_ref().ok_or(NotRevoked::NoTokens)?;
        let revocation = match revoke {
            Revoke::User {
                user,
                before_ms,
                until_ms,
            } => Revocation::User {
                user: *user,
                before_ms: *before_ms,
                until_ms: *until_ms,
            },
            Revoke::Token { id, until_ms } => Revocation::Token {
                mark: self.token_mark(id),
                until_ms: *until_ms,
            },
        };
        match self.of_cluster() {
            Some(revoked) => {
                let done = revoked.revoke(revocation).map(Some);
                done.map_err(|error| not_revoked(&error, error.is_for_room()))
            }
            None => {
                let done = revoked.revoke(revocation).map(|()| None);
                done.map_err(|error| not_revoked(&error, error.is_for_room()))
            }
        }
    }

    fn take_revocation(&self, revoked: &str) -> Result<(), NotRevoked> {
        let of_cluster = self.of_cluster().ok_or(NotRevoked::NoTokens)?;
        let done = of_cluster.take(revoked);
        done.map_err(|error| not_revoked(&error, error.is_for_room()))
    }

    fn token_mark(&self, id: &str) -> u64 {
        revoked::id_mark(id)
    }

    fn revoked_before(&self, user: UserId) -> Option<u64> {
        self.revoked.as_ref()?.of_user(user)
    }

    fn begin_backup(&self, target: PathBuf) -> Result<Value, BackupRefused> {
        let report = Arc::clone(&self.backups).begin(target);
        let report = report.map_err(|refused| {
            let text = refused.to_string();
            match refused {
                NotBegun::Busy(_) => BackupRefused::Busy(text),
                NotBegun::Stopping | NotBegun::NoThread(_) => BackupRefused::Unavailable(text),
            }
        })?;
        Ok(serde_json::to_value(report).unwrap_or_default())
    }

    fn export(
        &self,
        person: &Person,
        each: &mut dyn FnMut(Vec<u8>) -> ControlFlow<()>,
    ) -> Result<Exported, String> {
        self.exports.run(person, each)
    }

    fn begin_erasure(&self, person: &Person, service: &Service) -> Result<(), NotErased> {
        let Person { namespace, user } = person;
        // A gateway in development mode has no tokens to revoke.
        let revoke = Revoke::User {
            user: Ids(self.store.key()).user(namespace, user),
            before_ms: system_ms(),
            until_ms: None,
        };
        match self.revoke(&revoke) {
            Ok(_) | Err(NotRevoked::NoTokens) => {}
            Err(NotRevoked::Full(text)) => return Err(NotErased::Full(text)),
            Err(NotRevoked::Failed(text)) => return Err(NotErased::Failed(text)),
        }
        let failed = |error: trunkline_core::call::CallError| {
            let text = error.message.to_string();
            let is = |code: ErrorCode| error.code == code.code();
            if is(ErrorCode::TooManyRequests) {
                NotErased::Busy(text)
            } else if is(ErrorCode::StorageFull) {
                NotErased::Full(text)
            } else if is(ErrorCode::StorageUnavailable) {
                // The text speaks of commands with a key.
                tracing::warn!(text, "whether an erasure has begun is not known");
                NotErased::Failed(NOT_KNOWN.to_owned())
            } else {
                NotErased::Failed(text)
            }
        };
        let eraser = service.eraser(namespace, user).map_err(failed)?;
        eraser.carry_out(&[Step::Begin]).map_err(failed)?;
        self.bell.ring();
        Ok(())
    }

    fn erasure(&self, person: &Person) -> Result<Option<Erasure>, String> {
        let failed = |error: trunkline_storage::ReadError| error.to_string();
        let running = erasures::running(&self.store).map_err(failed)?;
        let is_it =
            |one: &&erasures::Running| one.namespace == person.namespace && one.user == person.user;
        if let Some(running) = running.iter().find(is_it) {
            return Ok(Some(Erasure {
                state: ErasureState::Running,
                began: Some(running.began),
                ended: None,
                complete: running.complete,
                parts: erasure::PARTS,
                values: Some(self.store.old_values_erased().values),
                nodes: self.nodes_that_erased(running)?,
            }));
        }
        let id = Ids(self.store.key()).user(&person.namespace, &person.user);
        let ended = erasures::ended(&self.store, id).map_err(failed)?;
        Ok(ended.map(|ended| Erasure {
            state: ErasureState::Complete,
            began: None,
            ended: Some(ended),
            complete: erasure::PARTS,
            parts: erasure::PARTS,
            values: None,
            nodes: None,
        }))
    }

    fn can_copy(&self) -> Result<(), NoCopy> {
        let node = self.node.as_ref().ok_or_else(|| {
            let text = "this gateway is no node of a cluster: name the control port of one that is";
            NoCopy::NoNode(text.to_owned())
        })?;
        match node.companions() {
            Some(_) => Ok(()),
            None => Err(NoCopy::NotYet(
                "this node has nothing of the log yet, or has stopped: name another node, or try again in a moment".to_owned(),
            )),
        }
    }

    fn copy(&self, each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<u64, String> {
        // Before the copy is begun: it has all that the mark says, and maybe more.
        let companions = self.node.as_ref().and_then(|node| node.companions());
        let companions = companions.ok_or("this node has nothing of the log")?;
        let sent = self.store.send_copy(&companions, each);
        sent.map(|sent| sent.bytes)
            .map_err(|error| causes::said_once(&error.into()))
    }

    fn backup_report(&self) -> Option<Value> {
        let report = self.backups.report()?;
        Some(serde_json::to_value(report).unwrap_or_default())
    }
}
