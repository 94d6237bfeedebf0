//! What the admin API needs of the program around it.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;
use trunkline_core::call::Service;
use trunkline_core::ids::UserId;

use super::Did;

/// Tokens of clients to be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoke {
    /// The tokens of a user that were issued before a time in milliseconds since 1970, or that do not say
    /// when.
    User {
        /// The user.
        user: UserId,
        /// The time.
        before_ms: u64,
        /// When the revocation ends; `None`: never.
        until_ms: Option<u64>,
    },
    /// The tokens with this id.
    Token {
        /// The id: the claim `jti`.
        id: String,
        /// When the revocation ends; `None`: never.
        until_ms: Option<u64>,
    },
}

/// The reason why tokens were not revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRevoked {
    /// The gateway has no keys for tokens: it runs in development mode, or a back end names the clients.
    NoTokens,
    /// There are as many revocations as there may be, or the disk is full. The text says which.
    Full(String),
    /// The disk does not take the revocation for another reason. The text says why.
    Failed(String),
}

/// The reason why no backup was begun. The texts say what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupRefused {
    /// Another backup is being made.
    Busy(String),
    /// The gateway cannot make one now.
    Unavailable(String),
}

/// The reason why no copy of the store can be taken. The texts say what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoCopy {
    /// The gateway is no node of a cluster.
    NoNode(String),
    /// The node has to reach more of the log first.
    NotYet(String),
}

/// A user by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The namespace; empty without one.
    pub namespace: String,
    /// The name of the user.
    pub user: String,
}

/// The result of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// The number of records.
    pub records: u64,
    /// The number of places in the files that are damaged and left out.
    pub damaged: usize,
}

/// The reason why no erasure was begun. The texts say what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotErased {
    /// There are as many erasures as there may be.
    Busy(String),
    /// There are as many revocations as there may be, or the disk is full. The text says which.
    Full(String),
    /// The disk does not take it for another reason.
    Failed(String),
}

/// How far an erasure is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Erasure {
    /// Whether it is under way.
    pub state: ErasureState,
    /// When it began, in milliseconds since 1970 UTC; `None` if it has ended.
    pub began: Option<u64>,
    /// When it ended, in milliseconds since 1970 UTC; `None` if it is under way.
    pub ended: Option<u64>,
    /// The number of complete parts.
    pub complete: u8,
    /// The number of all parts.
    pub parts: u8,
    /// The number of old values that erasures have overwritten in the files since the gateway started; `None`
    /// if it has ended.
    pub values: Option<u64>,
    /// In a cluster: which nodes have done parts 3 to 5, of all that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Did>,
}

/// The state of an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasureState {
    /// It is under way, or waits for others.
    Running,
    /// It has ended.
    Complete,
}

/// What the program does for the admin API.
pub trait Hands: Send + Sync + 'static {
    /// Returns the numbers of the gateway.
    fn stats(&self) -> Value;

    /// Revokes tokens: when it returns, the revocation is durable and in force. It may block its thread for
    /// a write to the disk, and in a cluster for the NATS servers. Returns in a cluster what the other nodes
    /// [take](Self::take_revocation).
    ///
    /// # Errors
    /// Nothing was revoked at this node.
    fn revoke(&self, revoke: &Revoke) -> Result<Option<String>, NotRevoked>;

    /// Takes what another node has revoked: when it returns, it is durable and in force. It may block its thread for a
    /// write to the disk.
    ///
    /// # Errors
    /// Nothing was revoked.
    fn take_revocation(&self, revoked: &str) -> Result<(), NotRevoked>;

    /// Returns the mark by which sessions know the id of their token.
    fn token_mark(&self, id: &str) -> u64;

    /// Returns the time from before which the tokens of a user are revoked, in milliseconds since 1970;
    /// `None` if they are not.
    fn revoked_before(&self, user: UserId) -> Option<u64>;

    /// Begins a backup of the store in a folder. Returns its first report.
    ///
    /// # Errors
    /// No backup was begun.
    fn begin_backup(&self, target: PathBuf) -> Result<Value, BackupRefused>;

    /// Returns whether another node can take a copy of the store now.
    ///
    /// # Errors
    /// It cannot.
    fn can_copy(&self) -> Result<(), NoCopy>;

    /// Passes a copy of the store for another node to `each`, in pieces. Ends when `each` breaks. It blocks its thread
    /// for as long as it takes to read the whole store. Returns the bytes of files that were passed.
    ///
    /// # Errors
    /// The copy is not whole. The text says why.
    fn copy(&self, each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<u64, String>;

    /// Passes lines of JSON, one for each record of the log that is about a user, to `each`, in pieces. Ends
    /// when `each` breaks. Empty pieces ask whether to go on. It blocks its thread for as long as it takes to
    /// read the whole store.
    ///
    /// # Errors
    /// The files cannot be read. The text says why.
    fn export(
        &self,
        person: &Person,
        each: &mut dyn FnMut(Vec<u8>) -> ControlFlow<()>,
    ) -> Result<Exported, String>;

    /// Revokes the tokens of a user, and begins the erasure of the user: when it returns, both are durable.
    /// Has no effect on an erasure under way. It may block its thread for writes to the disk.
    ///
    /// # Errors
    /// No erasure was begun.
    fn begin_erasure(&self, person: &Person, service: &Service) -> Result<(), NotErased>;

    /// Returns how far the erasure of a user is, or the last one was; `None` if there was none. It may block
    /// its thread for a read of the disk.
    ///
    /// # Errors
    /// The store could not be read. The text says why.
    fn erasure(&self, person: &Person) -> Result<Option<Erasure>, String>;

    /// Returns the report of the last backup; `None` if none was begun.
    fn backup_report(&self) -> Option<Value>;
}
