//! How conversations work.

use std::time::Duration;

use trunkline_core::event::MOST_TOLD;
use trunkline_core::messaging::Messaging;

use super::ConfigError;
use super::settings::{Settings, time, value};
use super::units;

/// Most members of one group that the format and the shards are made for.
const MOST_MEMBERS: usize = 1_000_000;

/// Longer than this, acknowledgements that nobody has stored would be many.
const MOST_DELAY: Duration = Duration::from_secs(10);

/// Long enough for members who look at the same time, and for a few messages in a row; too short to
/// be noticed by who waits for an answer.
const RECEIPT_DELAY: Duration = Duration::from_millis(250);

/// Most who are there when a message comes read it within two seconds: that it was delivered is
/// then no news, and one receipt does for both.
const DELIVERED_LATER: u32 = 8;

pub(super) fn resolve(flags: &Settings, file: &Settings) -> Messaging {
    const DAY: u64 = 86_400;
    let number = |flag: Option<usize>, file, default| flag.or(file).unwrap_or(default);
    let delay = |flag: Option<units::Duration>, file: Option<units::Duration>, default| {
        flag.or(file).map_or(default, |given| given.0)
    };
    let receipt_delay = delay(flags.receipt_delay, file.receipt_delay, RECEIPT_DELAY);
    Messaging {
        fanout_limit: number(flags.fanout_limit, file.fanout_limit, 200),
        receipt_fanout: number(flags.receipt_fanout, file.receipt_fanout, 16),
        receipt_delay,
        delivered_delay: delay(
            flags.delivered_delay,
            file.delivered_delay,
            receipt_delay.saturating_mul(DELIVERED_LATER),
        ),
        group_members: number(flags.group_members, file.group_members, 200_000),
        members_add: flags.members_add.or(file.members_add).unwrap_or(false),
        recall_window: time(flags.recall_window, file.recall_window, DAY),
        group_cache: number(flags.group_cache, file.group_cache, 2_000_000),
    }
}

/// # Errors
/// A value cannot work.
pub(super) fn check(rules: &Messaging) -> Result<(), ConfigError> {
    for (setting, number, least, most) in [
        ("fanout_limit", rules.fanout_limit, 1, 10_000),
        ("receipt_fanout", rules.receipt_fanout, 2, MOST_TOLD),
        ("group_members", rules.group_members, 2, MOST_MEMBERS),
        ("group_cache", rules.group_cache, 2, 100 * MOST_MEMBERS),
    ] {
        if !(least..=most).contains(&number) {
            return Err(value(setting, format!("from {least} to {most}")));
        }
    }
    for (setting, delay) in [
        ("receipt_delay", rules.receipt_delay),
        ("delivered_delay", rules.delivered_delay),
    ] {
        if delay > MOST_DELAY {
            return Err(value(setting, "at most 10s"));
        }
    }
    if rules.recall_window > Duration::from_secs(365 * 86_400) {
        return Err(value("recall_window", "at most 365d"));
    }
    Ok(())
}
