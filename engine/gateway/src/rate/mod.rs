//! Limits what clients send per second, and what the work for them costs: buckets and accounts of
//! connections, users, addresses and namespaces.

mod account;
mod accounts;
mod allowances;
mod bucket;
mod budgets;
mod second;
mod top;
mod users;

use std::time::Duration;

use self::bucket::{Bucket, Rate};
use crate::limits::Rates;
use crate::timer::Tick;

pub(crate) use self::account::Account;
pub(crate) use self::allowances::Allowances;
pub(crate) use self::budgets::{Budgets, Debt, Holders, Settled, Welcome};
pub(crate) use self::second::PerSecond;
pub(crate) use self::users::UserRates;

/// A thing whose rate is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rated {
    /// Messages.
    Messages,
    /// Bytes of frames.
    Bytes,
    /// Commands. Messages count too.
    Commands,
}

/// A rate of which nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short {
    /// The thing that is limited.
    pub(crate) of: Rated,
    /// The number of ticks after which something is left again.
    pub(crate) ticks: Tick,
}

/// Something that a client sends and pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// A frame with this number of bytes.
    Frame(u32),
    /// A `send` command, which counts as a command and as a message.
    Message,
    /// Another command, or one that cannot be read.
    Command,
}

/// The rates of all connections, or of all users.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    messages: Rate,
    bytes: Rate,
    commands: Rate,
}

impl Rules {
    /// Makes the rates. Returns `None` if nothing is limited.
    pub(crate) fn new(rates: &Rates, burst: Duration) -> Option<Self> {
        let rules = Self {
            messages: Rate::new(rates.messages, burst),
            bytes: Rate::new(rates.bytes, burst),
            commands: Rate::new(rates.commands, burst),
        };
        let off = rules.messages.is_off() && rules.bytes.is_off() && rules.commands.is_off();
        (!off).then_some(rules)
    }

    /// Returns the number of ticks after which an unused allowance is as full as a new one. `frame` is the
    /// number of bytes of a frame at most.
    fn ticks_to_forget(&self, frame: u32) -> Tick {
        let each = [
            self.messages.ticks_to_fill(1),
            self.bytes.ticks_to_fill(frame),
            self.commands.ticks_to_fill(1),
        ];
        each.into_iter().max().unwrap_or_default()
    }
}

/// The amount that one connection or user may still send.
#[derive(Debug, Clone)]
pub(crate) struct Allowance {
    at: Tick,
    messages: Bucket,
    bytes: Bucket,
    commands: Bucket,
}

impl Allowance {
    /// Makes a full allowance.
    pub(crate) fn new(rules: &Rules, now: Tick) -> Self {
        Self {
            at: now,
            messages: Bucket::full(&rules.messages),
            bytes: Bucket::full(&rules.bytes),
            commands: Bucket::full(&rules.commands),
        }
    }

    fn refill(&mut self, rules: &Rules, now: Tick) {
        // Another shard may have seen a later tick.
        let ticks = now.saturating_sub(self.at);
        if ticks > 0 {
            self.at = now;
            self.messages.refill(&rules.messages, ticks);
            self.bytes.refill(&rules.bytes, ticks);
            self.commands.refill(&rules.commands, ticks);
        }
    }

    /// Whether the allowance is as full as a new one at `now`.
    fn is_full(&self, rules: &Rules, now: Tick) -> bool {
        let mut later = self.clone();
        later.refill(rules, now);
        let full = Self::new(rules, now);
        let same = later.messages == full.messages && later.bytes == full.bytes;
        same && later.commands == full.commands
    }

    /// Pays for something that the client sent at `now`.
    ///
    /// # Errors
    /// Nothing is left of a rate. A `send` that fails for its message has paid as a command.
    pub(crate) fn pay(&mut self, rules: &Rules, now: Tick, sent: Sent) -> Result<(), Short> {
        self.refill(rules, now);
        if let Sent::Frame(bytes) = sent {
            return take(Rated::Bytes, &mut self.bytes, &rules.bytes, bytes);
        }
        take(Rated::Commands, &mut self.commands, &rules.commands, 1)?;
        if sent == Sent::Message {
            take(Rated::Messages, &mut self.messages, &rules.messages, 1)?;
        }
        Ok(())
    }
}

fn take(of: Rated, bucket: &mut Bucket, rate: &Rate, tokens: u32) -> Result<(), Short> {
    if bucket.take(rate, tokens) {
        return Ok(());
    }
    let ticks = bucket.ticks_to_wait(rate);
    Err(Short { of, ticks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::TICKS_PER_SECOND;

    #[test]
    fn each_rate_by_itself() {
        let rates = Rates {
            messages: 1,
            bytes: 100,
            commands: 3,
        };
        let rules = Rules::new(&rates, Duration::from_secs(1)).unwrap();
        let mut allowance = Allowance::new(&rules, 7);
        assert_eq!(
            allowance.pay(&rules, 7, Sent::Message).map_err(|s| s.of),
            Ok(())
        );
        assert_eq!(
            allowance.pay(&rules, 7, Sent::Message).map_err(|s| s.of),
            Err(Rated::Messages)
        );
        assert_eq!(
            allowance.pay(&rules, 7, Sent::Command).map_err(|s| s.of),
            Ok(())
        );
        assert_eq!(
            allowance.pay(&rules, 7, Sent::Command).map_err(|s| s.of),
            Err(Rated::Commands)
        );
        assert_eq!(
            allowance.pay(&rules, 7, Sent::Frame(300)).map_err(|s| s.of),
            Ok(())
        );
        assert_eq!(
            allowance.pay(&rules, 7, Sent::Frame(1)).map_err(|s| s.of),
            Err(Rated::Bytes)
        );
        // An earlier tick, of another shard, gives nothing and takes nothing.
        assert_eq!(
            allowance.pay(&rules, 0, Sent::Command).map_err(|s| s.of),
            Err(Rated::Commands)
        );
        let second = 7 + TICKS_PER_SECOND;
        assert_eq!(
            allowance
                .pay(&rules, second, Sent::Message)
                .map_err(|s| s.of),
            Ok(())
        );
        assert_eq!(
            allowance
                .pay(&rules, second, Sent::Frame(1))
                .map_err(|s| s.of),
            Err(Rated::Bytes)
        );
        let third = 7 + 3 * TICKS_PER_SECOND;
        assert_eq!(
            allowance
                .pay(&rules, third, Sent::Frame(1))
                .map_err(|s| s.of),
            Ok(())
        );
    }

    #[test]
    fn nothing_limited_is_no_rules() {
        assert!(Rules::new(&Rates::default(), Duration::from_secs(1)).is_none());
    }
}
