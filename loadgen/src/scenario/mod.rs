//! Scenarios: what a run stands for and what it must hold, as a TOML file says it.
//!
//! The types are the file's, strict: an unknown key, a missing unit or a contradiction is an error
//! with its line. [`load`](load::load) reads and checks; [`sizing`] does the arithmetic.

pub(crate) mod chaos;
mod executor;
pub(crate) mod groups;
pub(crate) mod load;
mod locate;
pub(crate) mod network;
pub(crate) mod payload;
pub(crate) mod plan;
pub(crate) mod presets;
pub(crate) mod sizing;
mod strict;
pub(crate) mod threshold;
pub(crate) mod validate;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::{Compress, Rate, Share, Span};
pub(crate) use executor::{ABRUPT, AWAY, Executor, Kind};
use groups::{Groups, Zipf};
pub(crate) use payload::Payload;
use threshold::Threshold;

/// The version of the scenario language that this program reads.
pub(crate) const SCHEMA: u32 = 1;

/// A whole scenario file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The language's version, [`SCHEMA`].
    pub(crate) schema: u32,
    /// The source of everything random.
    pub(crate) seed: u64,
    /// Who takes part.
    pub(crate) population: Population,
    /// What they send.
    pub(crate) traffic: Traffic,
    /// What a plan assumes of machines and storage; a run does not look at it.
    #[serde(default)]
    pub(crate) plan: plan::Assumptions,
    /// How the generator connects.
    #[serde(default)]
    pub(crate) client: Client,
    /// What happens, by name.
    pub(crate) scenarios: BTreeMap<String, Executor>,
    /// What is done to a gateway of the run's own.
    #[serde(default, skip_serializing_if = "chaos::Chaos::is_empty")]
    pub(crate) chaos: chaos::Chaos,
    /// What is checked.
    #[serde(default)]
    pub(crate) checks: Checks,
    /// What the figures must hold, by metric.
    #[serde(default)]
    pub(crate) thresholds: BTreeMap<String, Vec<Threshold>>,
    /// What the generator must hold for its figures to count.
    #[serde(default)]
    pub(crate) health: Health,
}

impl Scenario {
    /// Whether sessions end in it to come back.
    pub(crate) fn has_returns(&self) -> bool {
        let mut kinds = self.scenarios.values().map(|it| it.executor);
        kinds.any(Kind::cuts) || !self.chaos.is_empty()
    }
}

/// Who takes part.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Population {
    /// Users of the service.
    pub(crate) users: u64,
    /// The part of them that this run stands for.
    pub(crate) share: Share,
    /// The part of the share that is connected, 0 to 1.
    #[serde(default = "one")]
    pub(crate) online: f64,
    /// Mean devices of a connected user, 1 to 8.
    #[serde(default = "one")]
    pub(crate) devices: f64,
    /// Messages that a user sends in 24 hours.
    pub(crate) msgs_per_user_day: f64,
    /// The stretch of the day in which they send them: the base of the mean.
    pub(crate) window: Span,
    /// The busiest moment as a multiple of the mean.
    #[serde(default = "one")]
    pub(crate) peak_factor: f64,
    /// How much faster than life the day is replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compress: Option<Compress>,
}

/// What they send.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Traffic {
    /// How arrivals are spaced.
    pub(crate) arrival: Arrival,
    /// How long the texts are.
    pub(crate) payload: Payload,
    /// What goes to groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) groups: Option<Groups>,
    /// How unevenly users send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sender_skew: Option<Zipf>,
    /// To how many others a user writes; even.
    #[serde(default = "eight")]
    pub(crate) contacts: u32,
    /// Recipients acknowledge what arrived, and that it was read.
    #[serde(default)]
    pub(crate) receipts: bool,
    /// From arrival to reading.
    #[serde(default = "half_a_second")]
    pub(crate) read_after: Span,
    /// One message in so many carries an idempotency key; 0: none.
    #[serde(default)]
    pub(crate) key_every: u32,
}

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrival {
    /// Independent of each other: exponential gaps.
    Poisson,
}

/// How the generator connects.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Client {
    /// `json` or `proto`.
    pub(crate) encoding: WireEncoding,
    /// Source addresses; chosen by the number of connections where missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// Generator threads; one per core where missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<u32>,
    /// Connections being opened at one time, all threads together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connecting_max: Option<u32>,
    /// A session that is not open after so long counts as failed.
    pub(crate) connect_timeout: ConnectTimeout,
    /// A session that is not open again after so long does not come back.
    pub(crate) reconnect_timeout: ReconnectTimeout,
}

/// How long a session may take to come back.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct ReconnectTimeout(pub(crate) Span);

impl Default for ReconnectTimeout {
    fn default() -> Self {
        Self(Span(std::time::Duration::from_secs(300)))
    }
}

/// How long a session may take to open.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct ConnectTimeout(pub(crate) Span);

impl Default for ConnectTimeout {
    fn default() -> Self {
        Self(Span(std::time::Duration::from_secs(30)))
    }
}

/// How messages are encoded on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WireEncoding {
    /// Text frames.
    #[default]
    Json,
    /// Binary frames.
    Proto,
}

/// Where a stage leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// So many.
    Count(u64),
    /// So many percent of all sessions of the share.
    Percent(f64),
    /// So many messages per second.
    Rate(Rate),
}

impl Target {
    /// The number of connections, where all are `sessions`; none for a rate, which validation
    /// refuses there.
    pub(crate) fn of(self, sessions: u64) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => (sessions as f64 * percent / 100.0).round() as u64,
            Self::Rate(_) => 0,
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
            Self::Rate(rate) => serializer.collect_str(rate),
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountOrPercent;
        impl Visitor<'_> for CountOrPercent {
            type Value = Target;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a number of connections, a percentage such as \"100%\" or a rate such as \"500/s\"",
                )
            }
            fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Target, E> {
                let count = u64::try_from(count);
                count
                    .map(Target::Count)
                    .map_err(|_| E::custom("a target is not negative"))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Target, E> {
                if text.ends_with("/s") {
                    return text.parse().map(Target::Rate).map_err(E::custom);
                }
                let percent = text
                    .strip_suffix('%')
                    .and_then(|n| n.trim().parse::<f64>().ok());
                match percent {
                    Some(percent) if (0.0..=100.0).contains(&percent) => {
                        Ok(Target::Percent(percent))
                    }
                    _ => Err(E::custom(format!(
                        "`{text}` is neither a percentage from 0% to 100% nor a rate such as \"500/s\""
                    ))),
                }
            }
        }
        deserializer
            .deserialize_any(CountOrPercent)
            .map_err(|e| D::Error::custom(e.to_string()))
    }
}

/// What is checked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Checks {
    /// How often each device gets each message.
    pub(crate) delivery: Delivery,
    /// Which order is kept.
    pub(crate) order: Order,
    /// The part of the conversations that is read back and compared.
    pub(crate) history: Share,
    /// How long to wait for what is still on its way.
    pub(crate) drain: Span,
}

/// How often each device gets each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Delivery {
    /// Once: neither lost nor twice.
    ExactlyOnce,
}

/// Which order is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// Each sender's messages in each conversation, and each conversation's sequences.
    PerSenderPerConversation,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            delivery: Delivery::ExactlyOnce,
            order: Order::PerSenderPerConversation,
            history: Share { part: 1, whole: 1 },
            drain: Span(std::time::Duration::from_secs(30)),
        }
    }
}

/// What the generator must hold for its figures to count.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Health {
    /// 99 % of the sends at most so late.
    pub(crate) send_lag_p99: Span,
    /// Part of the scheduled sends that were really sent.
    pub(crate) achieved_min: f64,
    /// Longest time an event loop may be away.
    pub(crate) loop_stall_max: Span,
    /// Part of the CPU time that the hypervisor took.
    pub(crate) steal_max: f64,
    /// Part of the CPU time that must have been idle.
    pub(crate) cpu_idle_min: f64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            send_lag_p99: Span(std::time::Duration::from_millis(5)),
            achieved_min: 0.99,
            loop_stall_max: Span(std::time::Duration::from_millis(250)),
            steal_max: 0.02,
            cpu_idle_min: 0.0,
        }
    }
}

fn one() -> f64 {
    1.0
}

fn eight() -> u32 {
    8
}

fn half_a_second() -> Span {
    Span(std::time::Duration::from_millis(500))
}
