//! Traffic in groups, and how unevenly users send.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::{Rate, grouped, readable};

/// The traffic in groups.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Groups {
    /// The part of the messages that goes to ordinary groups, 0 to 1.
    #[serde(default)]
    pub(crate) share: f64,
    /// The sizes of ordinary groups.
    #[serde(default = "ten")]
    pub(crate) size: GroupSize,
    /// The number of ordinary groups that a user is in, on average.
    #[serde(default = "two")]
    pub(crate) per_user: f64,
    /// Large groups, with additional messages of their own.
    #[serde(default)]
    pub(crate) large: Vec<Large>,
}

/// Large groups of one size.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Large {
    /// The number of members of each group.
    pub(crate) size: u64,
    /// The number of such groups.
    pub(crate) count: u64,
    /// Messages per second in each group.
    #[serde(default = "one_a_second")]
    pub(crate) rate: Rate,
    /// A run with fewer users than members has no such group, instead of being refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) optional: bool,
}

impl Groups {
    /// Returns the large groups of a run with this many users.
    pub(crate) fn large_of(&self, users: u64) -> impl Iterator<Item = &Large> {
        let has = move |large: &&Large| !large.optional || large.size <= users;
        self.large.iter().filter(has)
    }

    /// Returns the messages per second in all large groups of a run with this many users.
    pub(crate) fn large_rate(&self, users: u64) -> f64 {
        let rates = self.large_of(users);
        rates.map(|large| large.count as f64 * large.rate.0).sum()
    }

    /// Returns the members of the largest group of a run with this many users; 0 without large
    /// groups.
    pub(crate) fn largest(&self, users: u64) -> u64 {
        self.large_of(users)
            .map(|large| large.size)
            .max()
            .unwrap_or(0)
    }

    /// Describes the groups of a run with this many users.
    pub(crate) fn explain(&self, users: u64) -> Vec<String> {
        let mut lines = Vec::new();
        if self.share > 0.0 {
            lines.push(format!(
                "groups: {:.1} % of the messages, {} members, a user in {}",
                self.share * 100.0,
                self.size,
                self.per_user
            ));
        }
        for large in self.large_of(users) {
            lines.push(format!(
                "large groups: {} of {} members, {} messages/s in each",
                grouped(large.count),
                grouped(large.size),
                readable(large.rate.0)
            ));
        }
        for large in self
            .large
            .iter()
            .filter(|it| it.optional && it.size > users)
        {
            lines.push(format!(
                "left out: the group of {} members, because the share has {} users; --connections {} is enough for it",
                grouped(large.size),
                grouped(users),
                large.size
            ));
        }
        lines
    }
}

fn is_false(it: &bool) -> bool {
    !it
}

/// The size of ordinary groups: `exp(10)` is exponential with the mean 10, `const(10)` is always
/// 10.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GroupSize {
    /// All groups have this size.
    Const(f64),
    /// Sizes are exponential around this mean: many small groups and few large ones.
    Exponential(f64),
}

impl GroupSize {
    /// Returns the mean.
    pub(crate) fn mean(self) -> f64 {
        match self {
            Self::Const(mean) | Self::Exponential(mean) => mean,
        }
    }

    /// Returns the part of the mean size that comes from groups with up to `limit` members: the
    /// integral of size × density from 0 to the limit.
    pub(crate) fn mean_up_to(self, limit: f64) -> f64 {
        match self {
            Self::Const(mean) if mean <= limit => mean,
            Self::Const(_) => 0.0,
            Self::Exponential(mean) => mean - (limit + mean) * (-limit / mean).exp(),
        }
    }
}

impl fmt::Display for GroupSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Const(mean) => write!(f, "const({mean})"),
            Self::Exponential(mean) => write!(f, "exp({mean})"),
        }
    }
}

impl FromStr for GroupSize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let of = |name: &str| inner(text, name).filter(|mean| *mean >= 2.0);
        match (of("exp"), of("const")) {
            (Some(mean), _) => Ok(Self::Exponential(mean)),
            (_, Some(mean)) => Ok(Self::Const(mean)),
            _ => Err(format!(
                "`{text}` is not a group size; write \"exp(10)\" or \"const(10)\", with 2 or more"
            )),
        }
    }
}

/// A Zipf distribution of senders, `zipf(s)`: the sender of rank *k* sends in proportion to 1 / *k*ˢ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Zipf(pub(crate) f64);

impl fmt::Display for Zipf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zipf({:?})", self.0)
    }
}

impl FromStr for Zipf {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        inner(text, "zipf")
            .filter(|s| (0.0..=5.0).contains(s))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a skew; write \"zipf(1.0)\", with 0 to 5"))
    }
}

/// Parses `name(number)` and returns the number.
fn inner(text: &str, name: &str) -> Option<f64> {
    let rest = text.trim().strip_prefix(name)?.trim();
    let number: f64 = rest
        .strip_prefix('(')?
        .strip_suffix(')')?
        .trim()
        .parse()
        .ok()?;
    number.is_finite().then_some(number)
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
as_text!(GroupSize, Zipf);

fn ten() -> GroupSize {
    GroupSize::Exponential(10.0)
}

fn two() -> f64 {
    2.0
}

fn one_a_second() -> Rate {
    Rate(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_skews_read_and_write() {
        for text in ["exp(10)", "const(10)", "exp(2.5)"] {
            assert_eq!(text.parse::<GroupSize>().unwrap().to_string(), text);
        }
        for text in ["exp", "exp()", "exp(1)", "exp(nan)", "10", "pareto(2)"] {
            assert!(text.parse::<GroupSize>().is_err(), "{text}");
        }
        assert_eq!(
            "zipf(1.0)".parse::<Zipf>().unwrap().to_string(),
            "zipf(1.0)"
        );
        for text in ["zipf", "zipf(-1)", "zipf(6)", "1.0"] {
            assert!(text.parse::<Zipf>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_mean_of_groups_up_to_a_limit() {
        assert_eq!(GroupSize::Const(10.0).mean_up_to(10.0), 10.0);
        assert_eq!(GroupSize::Const(10.0).mean_up_to(9.0), 0.0);
        let exponential = GroupSize::Exponential(10.0);
        // 10 - 20 / e = 2.6424
        assert!((exponential.mean_up_to(10.0) - 2.6424).abs() < 1e-4);
        assert!((exponential.mean_up_to(500.0) - 10.0).abs() < 1e-9);
    }
}
