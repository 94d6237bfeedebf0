//! Clients that ask by requests instead of a session: their tokens, rates, budgets and counts. They share
//! all of them with the sessions of the same users, addresses and namespaces.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use trunkline_core::clock::system_ms;
use trunkline_core::cost::Cost;
use trunkline_core::exchange::{Admitted, TokenMark};
use trunkline_core::ids::UserId;
use trunkline_core::per_user::{Half, Key};
use trunkline_proto::message::Connect;

use crate::auth::{Authority, Grant, Refusal};
use crate::metrics::{Limit, ShardMetrics, Work};
use crate::rate::{Debt, Holders, Sent};
use crate::shard::{Exceeded, Shared, Source};
use crate::timer::{TICK, Tick};

/// One who asks.
#[derive(Debug, Clone, Copy)]
pub struct Guest<'a> {
    /// The user; `None` before the request is identified.
    pub user: Option<UserId>,
    /// The name of the user; empty without one.
    pub name: &'a str,
    /// The namespace of the user; empty without one.
    pub namespace: &'a str,
    /// The address that asks.
    pub address: IpAddr,
}

/// Something that a guest sends, as rates count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestSent {
    /// A body of this number of bytes.
    Body(usize),
    /// A message.
    Message,
    /// Another command.
    Command,
}

/// A limit that a guest has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The name of the limit.
    pub limit: &'static str,
    /// The time after which the guest may try again.
    pub retry: Duration,
}

/// Checks and counts guests. One thread uses it.
pub struct Guests {
    shared: Shared,
    authority: Option<Arc<Authority>>,
    metrics: Arc<ShardMetrics>,
}

impl Guests {
    /// Makes the counts of a gateway without guests. `authority` checks tokens; `None` in development
    /// mode. The thread that uses it writes `metrics`.
    pub fn new(
        shared: Shared,
        authority: Option<Arc<Authority>>,
        metrics: Arc<ShardMetrics>,
    ) -> Self {
        Self {
            shared,
            authority,
            metrics,
        }
    }

    /// Returns whether guests need tokens. Otherwise they choose their names.
    pub const fn need_tokens(&self) -> bool {
        self.authority.is_some()
    }

    /// Checks a token.
    ///
    /// # Errors
    /// The token is not valid now, or the gateway takes no tokens.
    pub fn check(&self, token: &str) -> Result<Grant, Refusal> {
        let authority = self.authority.as_ref().ok_or(Refusal::MISSING)?;
        let checked = authority.check(token, system_ms());
        match &checked {
            Ok(_) => self.metrics.tokens.accepted.one(),
            Err(refusal) => self.metrics.tokens.refused(refusal.reason),
        }
        checked
    }

    /// Returns whether a token that was good has been revoked since.
    pub fn is_revoked(&self, user: UserId, token: TokenMark) -> bool {
        let authority = self.authority.as_ref();
        authority.is_some_and(|authority| authority.is_revoked(user, token))
    }

    /// Returns what a back end grants to a guest who says this. `all_topics`: a guest whose topics nobody
    /// names may use all of them.
    ///
    /// # Errors
    /// The token is not valid now, or nobody names the user.
    pub fn admit(
        &self,
        said: &Connect<'_>,
        admitted: Admitted,
        all_topics: bool,
    ) -> Result<Grant, Refusal> {
        let token = match (&self.authority, said.token.as_deref()) {
            (Some(authority), Some(token)) => Some(authority.check(token, system_ms())?),
            (Some(_), None) => return Err(Refusal::MISSING),
            (None, _) => None,
        };
        let grant = Grant::admitted(admitted, token, said, all_topics)?;
        // The back end may name a user whose tokens are revoked.
        match &self.authority {
            Some(authority) => authority.unless_revoked(grant, system_ms()),
            None => Ok(grant),
        }
    }

    /// Returns the time after its token for which a session goes on, in milliseconds.
    pub fn leeway_ms(&self) -> u64 {
        let authority = self.authority.as_ref();
        authority.map_or(0, |authority| authority.leeway_ms())
    }

    /// Counts a connection of an address. Returns `false`, and counts nothing, at the limit.
    pub fn enter_address(&self, address: IpAddr) -> bool {
        let addresses = self.shared.addresses.as_ref();
        let enters = addresses.is_none_or(|addresses| addresses.enter(Source::of(address)));
        if !enters {
            self.metrics.limited(Limit::AddressConnections);
        }
        enters
    }

    /// Takes a successful [`Guests::enter_address`] back.
    pub fn leave_address(&self, address: IpAddr) {
        if let Some(addresses) = &self.shared.addresses {
            addresses.leave(Source::of(address));
        }
    }

    /// Counts a session of a user who has `elsewhere` more of them at other nodes of a cluster. Returns `false`, and counts
    /// nothing, at the limit.
    pub fn enter_session(&self, user: UserId, elsewhere: u32) -> bool {
        let sessions = self.shared.user_sessions.as_ref();
        let enters =
            sessions.is_none_or(|sessions| sessions.enter_beside(Half::of(user), elsewhere));
        if !enters {
            self.metrics.limited(Limit::UserConnections);
        }
        enters
    }

    /// Takes a successful [`Guests::enter_session`] back.
    pub fn leave_session(&self, user: UserId) {
        if let Some(sessions) = &self.shared.user_sessions {
            sessions.leave(Half::of(user));
        }
    }

    /// Takes what a user sends from the rates of the user.
    ///
    /// # Errors
    /// Nothing is left of a rate.
    pub fn pay(&self, user: UserId, sent: GuestSent) -> Result<(), Reached> {
        let sent = match sent {
            GuestSent::Body(bytes) => Sent::Frame(u32::try_from(bytes).unwrap_or(u32::MAX)),
            GuestSent::Message => Sent::Message,
            GuestSent::Command => Sent::Command,
        };
        let paid = self.shared.charges.pay_user(user, self.now(), sent);
        paid.map_err(|Exceeded { limit, beyond }| {
            self.metrics.limited(limit);
            Reached {
                limit: beyond.limit,
                retry: TICK * beyond.retry,
            }
        })
    }

    /// Books the cost of work on the accounts of the user, the address and the namespace.
    ///
    /// # Errors
    /// An account is in debt, and the debt binds.
    pub fn book(&self, guest: &Guest<'_>, cost: Cost) -> Result<(), Reached> {
        self.metrics.worked(Work::Http, cost);
        let Some(budgets) = &self.shared.budgets else {
            return Ok(());
        };
        let holders = Holders {
            user: guest.user,
            name: guest.name,
            namespace: guest.namespace,
            address: Source::of(guest.address),
        };
        match budgets.settle_request(&holders, self.now(), cost) {
            None => Ok(()),
            Some(Debt { of, ticks }) => {
                self.metrics.throttled(of);
                Err(Reached {
                    limit: of.name(),
                    retry: TICK * ticks,
                })
            }
        }
    }

    fn now(&self) -> Tick {
        let ticks = self.shared.began.elapsed().as_millis() / TICK.as_millis();
        Tick::try_from(ticks).unwrap_or(Tick::MAX)
    }
}
