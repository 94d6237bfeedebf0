//! How long the messages live that have a `ttl` and may not be cleared yet.

use serde::{Deserialize, Serialize};

use super::Form;

/// The milliseconds of which all messages that expire are in one timeline.
pub(crate) const DUE_SPAN: u64 = 10_000;

/// The time by which [`Lives::until`] is later than needed at most, or an eighth of the `ttl` if that is more: so few
/// messages write a value.
const AHEAD: u64 = 600_000;

/// Messages whose `ttl` has as many binary digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lives {
    /// The longest `ttl` of them, in milliseconds.
    pub(crate) longest: u64,
    /// The steady time from which on all of them are due, in milliseconds.
    pub(crate) until: u64,
}

/// The messages with a `ttl` that may wait, by the number of binary digits of it: at most 25 entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ttls(Vec<Lives>);

impl Form<'_> for Ttls {
    const TAG: u8 = 73;
}

impl Ttls {
    /// Notes a message that is due at `due`. All that was due before `cleared` is cleared. Returns whether
    /// the value changes.
    pub(crate) fn note(&mut self, ttl: u64, due: u64, cleared: u64) -> bool {
        let digits = |ttl: u64| u64::BITS - ttl.leading_zeros();
        let is_of = |one: &&mut Lives| digits(one.longest) == digits(ttl);
        let until = due.saturating_add(AHEAD.max(ttl / 8));
        match self.0.iter_mut().find(is_of) {
            Some(one) if one.until < cleared => {
                *one = Lives {
                    longest: ttl,
                    until,
                }
            }
            Some(one) if ttl <= one.longest && due <= one.until => return false,
            Some(one) => {
                one.longest = one.longest.max(ttl);
                one.until = one.until.max(until);
            }
            None => self.0.push(Lives {
                longest: ttl,
                until,
            }),
        }
        true
    }

    /// Returns the messages with the longest `ttl` of which some may not be cleared; `None` if all are.
    pub(crate) fn longest(&self, cleared: u64) -> Option<Lives> {
        let waiting = self.0.iter().filter(|one| one.until >= cleared);
        waiting.max_by_key(|one| one.longest).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn few_messages_change_the_value_and_the_longest_of_them_is_known() {
        let (mut ttls, mut now, mut changes) = (Ttls::default(), 1_000 * HOUR, 0);
        assert!(ttls.note(240 * HOUR, now + 240 * HOUR, now));
        for _ in 0..36_000 {
            changes += usize::from(ttls.note(HOUR, now + HOUR, now));
            now += 1_000;
        }
        // One of ten minutes.
        assert!((50..70).contains(&changes), "{changes}");
        assert_eq!(ttls.longest(now).map(|one| one.longest), Some(240 * HOUR));
        now += 300 * HOUR;
        assert_eq!(ttls.longest(now), None, "all are due");
        assert!(ttls.note(HOUR, now + HOUR, now));
        assert_eq!(ttls.longest(now).map(|one| one.longest), Some(HOUR));
        // A shorter one of as many digits is the longest, once the others are gone.
        assert!(ttls.note(200 * HOUR, now + 200 * HOUR, now));
        assert_eq!(ttls.longest(now).map(|one| one.longest), Some(200 * HOUR));
    }

    #[test]
    fn there_are_few_entries() {
        let mut ttls = Ttls::default();
        for ttl in (1_000..=365 * 24 * HOUR).step_by(999_983) {
            ttls.note(ttl, ttl, 0);
        }
        assert!(ttls.0.len() <= 25, "{}", ttls.0.len());
    }
}
