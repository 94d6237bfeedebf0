//! What clients send is paid for, where it is limited.

use trunkline_proto::BadCommand;
use trunkline_proto::message::{Command, CommandBody};

use super::connection::Conn;
use super::core::Core;
use crate::metrics::Limit;
use crate::rate::{Allowance, Cost, Rated};

/// Who has nothing left of what.
#[derive(Debug, Clone, Copy)]
enum Empty {
    Connection(Rated),
    User(Rated),
}

impl Core {
    /// Whether anything is limited: all that an unlimited gateway asks on the message path.
    pub(super) const fn is_rated(&self) -> bool {
        self.parts.rules.is_some() || self.parts.user_rates.is_some()
    }

    /// Pays for a frame; whether there was enough left.
    pub(super) fn pay_frame(&self, conn: &mut Conn, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.count(self.pay(conn, Cost::Frame(bytes)))
    }

    /// Pays for a command, also one that could not be read; whether there was enough left.
    pub(super) fn pay_command(
        &self,
        conn: &mut Conn,
        command: &Result<Command<'_>, BadCommand>,
    ) -> bool {
        let cost = match command {
            Ok(command) if matches!(command.body, CommandBody::Send(_)) => Cost::Message,
            _ => Cost::Command,
        };
        self.count(self.pay(conn, cost))
    }

    fn pay(&self, conn: &mut Conn, cost: Cost) -> Result<(), Empty> {
        let now = self.now;
        if let Some(rules) = &self.parts.rules {
            let allowance = conn
                .allowance
                .get_or_insert_with(|| Box::new(Allowance::new(rules, now)));
            let paid = allowance.pay(rules, now, cost);
            paid.map_err(Empty::Connection)?;
        }
        if let (Some(users), Some(session)) = (&self.parts.user_rates, conn.session()) {
            let paid = users.pay(session.id, now, cost);
            paid.map_err(Empty::User)?;
        }
        Ok(())
    }

    fn count(&self, paid: Result<(), Empty>) -> bool {
        let Err(empty) = paid else { return true };
        self.parts.metrics.limited(match empty {
            Empty::Connection(Rated::Messages) => Limit::ConnectionMessages,
            Empty::Connection(Rated::Bytes) => Limit::ConnectionBytes,
            Empty::Connection(Rated::Commands) => Limit::ConnectionCommands,
            Empty::User(Rated::Messages) => Limit::UserMessages,
            Empty::User(Rated::Bytes) => Limit::UserBytes,
            Empty::User(Rated::Commands) => Limit::UserCommands,
        });
        false
    }
}
