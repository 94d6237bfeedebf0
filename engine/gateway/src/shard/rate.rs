//! The payments for input, for clients whose rate is limited.

use std::sync::Arc;

use trunkline_core::ids::UserId;
use trunkline_proto::BadCommand;
use trunkline_proto::message::{Command, CommandBody};

use super::connection::Conn;
use super::core::Core;
use crate::limits::Limits;
use crate::metrics::Limit;
use crate::rate::{Allowances, Rated, Rules, Sent, Short, UserRates};
use crate::timer::{TICKS_PER_SECOND, Tick};

/// A refusal because of a limit, as a client is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beyond {
    /// The name of the limit, mostly that of its setting.
    pub(crate) limit: &'static str,
    /// The number of ticks after which the client may try again.
    pub(crate) retry: Tick,
}

/// A rate of which nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// The limit to count.
    pub(crate) limit: Limit,
    /// The limit that the client exceeded, for the error.
    pub(crate) beyond: Beyond,
}

/// The allowances that pay for the input of a connection.
pub(super) struct Payer<'a> {
    /// The amounts that the connections of the shard may still send.
    pub(super) allowances: &'a mut Allowances,
    /// The slot of the connection.
    pub(super) slot: u32,
    /// The user of the session, if there is one.
    pub(super) user: Option<UserId>,
}

/// The rates of a gateway, the same for all its shards.
#[derive(Clone, Default)]
pub(crate) struct Charges {
    /// The rates of a connection; `None` without a limit.
    connections: Option<Arc<Rules>>,
    /// The rates of all connections of a user together; `None` without a limit.
    users: Option<Arc<UserRates>>,
}

impl Charges {
    /// Makes the rates that these limits ask for.
    pub(super) fn new(limits: &Limits) -> Self {
        let rules = |rates| Rules::new(rates, limits.rate_burst);
        let users = rules(&limits.user_rates).map(|rules| {
            let frame = u32::try_from(limits.content.message_bytes).unwrap_or(u32::MAX);
            Arc::new(UserRates::new(rules, frame))
        });
        Self {
            connections: rules(&limits.connection_rates).map(Arc::new),
            users,
        }
    }

    /// Whether anything is limited. A gateway without rates asks only this for each message.
    pub(super) const fn are_on(&self) -> bool {
        self.connections.is_some() || self.users.is_some()
    }

    /// Pays for something that a connection sent at `now`.
    ///
    /// # Errors
    /// Nothing is left of a rate.
    pub(super) fn pay(&self, payer: Payer<'_>, now: Tick, sent: Sent) -> Result<(), Exceeded> {
        if let Some(rules) = &self.connections {
            let paid = payer.allowances.pay(rules, payer.slot, now, sent);
            paid.map_err(|Short { of, ticks }| match of {
                Rated::Messages => exceeded(Limit::ConnectionMessages, "rate_messages", ticks),
                Rated::Bytes => exceeded(Limit::ConnectionBytes, "rate_bytes", ticks),
                Rated::Commands => exceeded(Limit::ConnectionCommands, "rate_commands", ticks),
            })?;
        }
        match payer.user {
            Some(user) => self.pay_user(user, now, sent),
            None => Ok(()),
        }
    }

    /// Pays for something that a user sent at `now`, on a connection or without one.
    ///
    /// # Errors
    /// Nothing is left of a rate.
    pub(crate) fn pay_user(&self, user: UserId, now: Tick, sent: Sent) -> Result<(), Exceeded> {
        if let Some(users) = &self.users {
            let paid = users.pay(user, now, sent);
            paid.map_err(|Short { of, ticks }| match of {
                Rated::Messages => exceeded(Limit::UserMessages, "user_rate_messages", ticks),
                Rated::Bytes => exceeded(Limit::UserBytes, "user_rate_bytes", ticks),
                Rated::Commands => exceeded(Limit::UserCommands, "user_rate_commands", ticks),
            })?;
        }
        Ok(())
    }
}

impl Charges {
    /// Forgets the allowance of a connection that is gone.
    pub(super) fn leave(&self, allowances: &mut Allowances, slot: u32, now: Tick) {
        if let Some(rules) = &self.connections {
            allowances.remove(rules, slot, now);
        }
    }

    /// Forgets who may send as much as a newcomer again, of the connections of one shard and of all users.
    /// Returns whether anybody is left.
    pub(super) fn forget(&self, allowances: &mut Allowances, now: Tick) -> bool {
        let connections = self.connections.as_ref();
        let connections = connections.is_some_and(|rules| allowances.forget(rules, now));
        let users = self.users.as_ref();
        // All users have a look once a second.
        let users =
            users.is_some_and(|users| !now.is_multiple_of(TICKS_PER_SECOND) || users.forget(now));
        connections || users
    }
}

impl Core {
    /// Pays for what a connection sent.
    ///
    /// # Errors
    /// Nothing is left of a rate.
    pub(super) fn pay(&mut self, slot: u32, conn: &Conn, sent: Sent) -> Result<(), Beyond> {
        let now = self.turn.now();
        if self.forgets_at > now + 1 {
            self.forget_at(now + 1);
        }
        let payer = Payer {
            allowances: &mut self.allowances,
            slot,
            user: conn.session().map(|session| session.id),
        };
        let paid = self.parts.shared.charges.pay(payer, now, sent);
        paid.map_err(|exceeded| {
            self.parts.metrics.limited(exceeded.limit);
            exceeded.beyond
        })
    }

    /// Forgets the allowances and the accounts of clients that have been idle for long enough: some of
    /// them at a time.
    pub(super) fn forget_idle(&mut self) {
        /// The ticks between two looks at accounts, which have 64 parts: half a second.
        const ACCOUNTS: Tick = 5;
        let now = self.turn.now();
        if now < self.forgets_at {
            return;
        }
        let charges = &self.parts.shared.charges;
        if charges.forget(&mut self.allowances, now) {
            return self.forget_at(now + 1);
        }
        let budgets = self.parts.shared.budgets.as_ref();
        if budgets.is_some_and(|budgets| budgets.forget(now)) {
            return self.forget_at(now + ACCOUNTS);
        }
        self.forgets_at = Tick::MAX;
    }

    /// Lets the shard look for accounts of idle clients in a while, if it does not yet: somebody has paid.
    pub(super) fn forget_accounts_later(&mut self) {
        /// The ticks after which many accounts of idle clients are full: ten seconds.
        const LATER: Tick = 100;
        if self.forgets_at == Tick::MAX {
            self.forget_at(self.turn.now() + LATER);
        }
    }

    /// Lets the shard wake at a tick to forget the allowances of idle clients.
    fn forget_at(&mut self, at: Tick) {
        self.forgets_at = at;
        self.turn.wake_at(at);
    }
}

const fn exceeded(limit: Limit, setting: &'static str, ticks: Tick) -> Exceeded {
    let beyond = Beyond {
        limit: setting,
        retry: ticks,
    };
    Exceeded { limit, beyond }
}

/// Returns what rates count for a frame with a payload of this many bytes.
pub(super) fn sent_frame(bytes: usize) -> Sent {
    Sent::Frame(u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// Returns what rates count for a command. A command that cannot be read counts as much as one
/// that can.
pub(super) const fn sent_command(command: &Result<Command<'_>, BadCommand>) -> Sent {
    match command {
        Ok(Command {
            body: CommandBody::Send(_),
            ..
        }) => Sent::Message,
        _ => Sent::Command,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trunkline_core::store::TimelineId;

    use super::*;
    use crate::limits::Rates;

    fn rules(messages: u32) -> Rules {
        let rates = Rates {
            messages,
            ..Rates::default()
        };
        Rules::new(&rates, Duration::from_secs(1)).unwrap()
    }

    #[test]
    fn a_connection_pays_first_and_its_user_for_all_connections() {
        let charges = Charges {
            connections: Some(Arc::new(rules(1))),
            users: Some(Arc::new(UserRates::new(rules(2), 1_000))),
        };
        let user = Some(TimelineId(7));
        let mut allowances = Allowances::default();
        let mut pay = |slot| {
            let payer = Payer {
                allowances: &mut allowances,
                slot,
                user,
            };
            let paid = charges.pay(payer, 0, Sent::Message);
            paid.map_err(|exceeded| (exceeded.limit, exceeded.beyond.limit))
        };
        assert_eq!(pay(1), Ok(()));
        let connection = Err((Limit::ConnectionMessages, "rate_messages"));
        assert_eq!(pay(1), connection);
        assert_eq!(pay(2), Ok(()));
        let of_user = Err((Limit::UserMessages, "user_rate_messages"));
        assert_eq!(pay(3), of_user);
        // Both are known until they are as good as new.
        assert!(charges.forget(&mut allowances, 1));
        let mut now = (2..).take(400);
        assert!(now.any(|now| !charges.forget(&mut allowances, now)));
    }

    #[test]
    fn without_rates_nobody_pays_and_no_memory_is_taken() {
        let charges = Charges::default();
        assert!(!charges.are_on());
        let mut allowances = Allowances::default();
        let payer = Payer {
            allowances: &mut allowances,
            slot: 0,
            user: None,
        };
        assert_eq!(charges.pay(payer, 0, Sent::Frame(u32::MAX)), Ok(()));
        assert!(allowances.is_empty());
        assert!(!charges.forget(&mut allowances, 10));
    }
}
