//! What the client API needs to know of tokens, rates and budgets.

use std::net::IpAddr;

use trunkline_core::cost::Cost;
use trunkline_core::exchange::{Admitted, TokenMark};
use trunkline_core::ids::{DeviceMark, UserId};
use trunkline_proto::ErrorCode;
use trunkline_proto::message::Connect;

/// Says whether a token allows to publish to a topic.
pub type MayPublish = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// The names and rights that a token grants.
pub struct Grant {
    /// The user.
    pub user: String,
    /// The namespace; empty without one.
    pub namespace: String,
    /// The only device that the token is for; `None` for any device.
    pub device: Option<String>,
    /// When the token stops being valid, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
    /// When the token was issued, and its id.
    pub token: TokenMark,
    /// The topics that the token allows to publish to.
    pub may_publish: MayPublish,
}

/// The refusal of a token.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    /// The code of the error.
    pub code: ErrorCode,
    /// The reason, for people.
    pub message: &'static str,
}

/// The limit that a client exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond {
    /// The name of the limit.
    pub limit: &'static str,
    /// The milliseconds after which the client may try again.
    pub retry_ms: u64,
}

/// Something that a client sends, as rates count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// A body of this number of bytes.
    Body(usize),
    /// A message.
    Message,
    /// Another command.
    Command,
}

/// The user, namespace and address whose accounts pay for one request.
#[derive(Debug, Clone, Copy)]
pub struct Payer<'a> {
    /// The user; `None` before the request is identified.
    pub user: Option<UserId>,
    /// The name of the user; empty without one.
    pub name: &'a str,
    /// The namespace of the user; empty without one.
    pub namespace: &'a str,
    /// The address of the connection.
    pub address: IpAddr,
}

/// Tokens, rates, budgets and counts of the gateway. Sessions on sockets and requests share them.
pub trait Door: Send + Sync + 'static {
    /// Returns whether clients need tokens, or a back end names them. Otherwise they choose their names.
    fn needs_tokens(&self) -> bool;

    /// Returns whether the gateway has keys that check tokens.
    fn has_keys(&self) -> bool;

    /// Returns what the back end of `connect` grants. What its answer does not say follows from the
    /// token, or else from what the request says.
    ///
    /// # Errors
    /// The token is not valid now, or nobody names the user.
    fn admit(&self, said: &Connect<'_>, admitted: Admitted) -> Result<Grant, Refused>;

    /// Checks a token.
    ///
    /// # Errors
    /// The token is not valid now.
    fn check(&self, token: &str) -> Result<Grant, Refused>;

    /// Returns whether a token that was good has been revoked since.
    fn is_revoked(&self, user: UserId, token: TokenMark) -> bool;

    /// Counts a connection of an address. Returns `false`, and counts nothing, at the limit.
    fn enter_address(&self, address: IpAddr) -> bool;

    /// Takes a successful [`Door::enter_address`] back.
    fn leave_address(&self, address: IpAddr);

    /// Counts a session of a user's device. Returns `false`, and counts nothing, at the limit.
    fn enter_session(&self, user: UserId, device: DeviceMark) -> bool;

    /// Takes a successful [`Door::enter_session`] back.
    fn leave_session(&self, user: UserId);

    /// Takes what a user sends from the rates of the user.
    ///
    /// # Errors
    /// Nothing is left of a rate.
    fn pay(&self, user: UserId, sent: Sent) -> Result<(), Beyond>;

    /// Books the cost of work on the accounts of the user, the address and the namespace.
    ///
    /// # Errors
    /// An account is in debt, and the debt binds: no more work is to be done now.
    fn book(&self, payer: &Payer<'_>, cost: Cost) -> Result<(), Beyond>;
}
