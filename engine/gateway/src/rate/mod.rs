//! How much a client may send: token buckets per connection and per user.

mod bucket;
mod second;
mod users;

use std::time::Duration;

use self::bucket::{Bucket, Rate};
use crate::limits::Rates;
use crate::timer::Tick;

pub(crate) use self::second::PerSecond;
pub(crate) use self::users::UserRates;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rated {
    /// Messages.
    Messages,
    /// Bytes of frames.
    Bytes,
    /// Commands, messages among them.
    Commands,
}

/// What there is nothing left of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short {
    /// What there is too little of.
    pub(crate) of: Rated,
    /// Ticks after which there is something again.
    pub(crate) ticks: Tick,
}

/// What is to be paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// A frame of so many bytes.
    Frame(u32),
    /// A `send`: a command and a message.
    Message,
    /// Another command, or what cannot be read as one.
    Command,
}

/// The rates of everybody of one kind: connections, or users.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    messages: Rate,
    bytes: Rate,
    commands: Rate,
}

impl Rules {
    /// `None` where nothing is limited.
    pub(crate) fn new(rates: &Rates, burst: Duration) -> Option<Self> {
        let rules = Self {
            messages: Rate::new(rates.messages, burst),
            bytes: Rate::new(rates.bytes, burst),
            commands: Rate::new(rates.commands, burst),
        };
        let off = rules.messages.is_off() && rules.bytes.is_off() && rules.commands.is_off();
        (!off).then_some(rules)
    }

    /// Ticks after which an allowance that nobody touched is as good as a new one; no frame is
    /// longer than `frame` bytes.
    fn ticks_to_forget(&self, frame: u32) -> Tick {
        let each = [
            self.messages.ticks_to_fill(1),
            self.bytes.ticks_to_fill(frame),
            self.commands.ticks_to_fill(1),
        ];
        each.into_iter().max().unwrap_or_default()
    }
}

/// What is left to one connection or user.
#[derive(Debug, Clone)]
pub(crate) struct Allowance {
    at: Tick,
    messages: Bucket,
    bytes: Bucket,
    commands: Bucket,
}

impl Allowance {
    /// A full allowance.
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

    /// Pays.
    ///
    /// # Errors
    /// Nothing is left of what is named. A `send` without a message to spare counts as a command.
    pub(crate) fn pay(&mut self, rules: &Rules, now: Tick, cost: Cost) -> Result<(), Short> {
        self.refill(rules, now);
        if let Cost::Frame(bytes) = cost {
            return take(Rated::Bytes, &mut self.bytes, &rules.bytes, bytes);
        }
        take(Rated::Commands, &mut self.commands, &rules.commands, 1)?;
        if cost == Cost::Message {
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
            allowance.pay(&rules, 7, Cost::Message).map_err(|s| s.of),
            Ok(())
        );
        assert_eq!(
            allowance.pay(&rules, 7, Cost::Message).map_err(|s| s.of),
            Err(Rated::Messages)
        );
        assert_eq!(
            allowance.pay(&rules, 7, Cost::Command).map_err(|s| s.of),
            Ok(())
        );
        assert_eq!(
            allowance.pay(&rules, 7, Cost::Command).map_err(|s| s.of),
            Err(Rated::Commands)
        );
        assert_eq!(
            allowance.pay(&rules, 7, Cost::Frame(300)).map_err(|s| s.of),
            Ok(())
        );
        assert_eq!(
            allowance.pay(&rules, 7, Cost::Frame(1)).map_err(|s| s.of),
            Err(Rated::Bytes)
        );
        // An earlier tick, of another shard, gives nothing and takes nothing.
        assert_eq!(
            allowance.pay(&rules, 0, Cost::Command).map_err(|s| s.of),
            Err(Rated::Commands)
        );
        let second = 7 + TICKS_PER_SECOND;
        assert_eq!(
            allowance
                .pay(&rules, second, Cost::Message)
                .map_err(|s| s.of),
            Ok(())
        );
        assert_eq!(
            allowance
                .pay(&rules, second, Cost::Frame(1))
                .map_err(|s| s.of),
            Err(Rated::Bytes)
        );
        let third = 7 + 3 * TICKS_PER_SECOND;
        assert_eq!(
            allowance
                .pay(&rules, third, Cost::Frame(1))
                .map_err(|s| s.of),
            Ok(())
        );
    }

    #[test]
    fn nothing_limited_is_no_rules() {
        assert!(Rules::new(&Rates::default(), Duration::from_secs(1)).is_none());
    }
}
