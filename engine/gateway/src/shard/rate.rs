//! What clients send is paid for, where it is limited.

use trunkline_proto::BadCommand;
use trunkline_proto::message::{Command, CommandBody};

use super::connection::Conn;
use super::core::Core;
use crate::metrics::Limit;
use crate::rate::{Allowance, Cost, Rated, Short};
use crate::timer::Tick;

/// The setting of what there is nothing left of, and ticks after which there is.
pub(super) type Beyond = (&'static str, Tick);

impl Core {
    /// Whether anything is limited: all that an unlimited gateway asks on the message path.
    pub(super) const fn is_rated(&self) -> bool {
        self.parts.shared.rules.is_some() || self.parts.shared.user_rates.is_some()
    }

    /// Pays for a frame.
    ///
    /// # Errors
    /// There was not enough left.
    pub(super) fn pay_frame(&self, conn: &mut Conn, bytes: usize) -> Result<(), Beyond> {
        if !self.is_rated() {
            return Ok(());
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.pay(conn, Cost::Frame(bytes))
    }

    /// Pays for a command, also one that could not be read.
    ///
    /// # Errors
    /// There was not enough left.
    pub(super) fn pay_command(
        &self,
        conn: &mut Conn,
        command: &Result<Command<'_>, BadCommand>,
    ) -> Result<(), Beyond> {
        let cost = match command {
            Ok(command) if matches!(command.body, CommandBody::Send(_)) => Cost::Message,
            _ => Cost::Command,
        };
        self.pay(conn, cost)
    }

    fn pay(&self, conn: &mut Conn, cost: Cost) -> Result<(), Beyond> {
        let now = self.turn.now();
        if let Some(rules) = &self.parts.shared.rules {
            let allowance = conn
                .allowance
                .get_or_insert_with(|| Box::new(Allowance::new(rules, now)));
            if let Err(Short { of, ticks }) = allowance.pay(rules, now, cost) {
                let (limit, setting) = match of {
                    Rated::Messages => (Limit::ConnectionMessages, "rate_messages"),
                    Rated::Bytes => (Limit::ConnectionBytes, "rate_bytes"),
                    Rated::Commands => (Limit::ConnectionCommands, "rate_commands"),
                };
                self.parts.metrics.limited(limit);
                return Err((setting, ticks));
            }
        }
        if let (Some(users), Some(session)) = (&self.parts.shared.user_rates, conn.session())
            && let Err(Short { of, ticks }) = users.pay(session.id, now, cost)
        {
            let (limit, setting) = match of {
                Rated::Messages => (Limit::UserMessages, "user_rate_messages"),
                Rated::Bytes => (Limit::UserBytes, "user_rate_bytes"),
                Rated::Commands => (Limit::UserCommands, "user_rate_commands"),
            };
            self.parts.metrics.limited(limit);
            return Err((setting, ticks));
        }
        Ok(())
    }
}
