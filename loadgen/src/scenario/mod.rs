//! Scenarios: the load of a run and its thresholds, as a TOML file.
//!
//! The types are those of the file and strict: an unknown key, a missing unit or a contradiction is
//! an error with its line. [`load`](load::load) reads and checks; [`sizing`] does the arithmetic.

pub(crate) mod chaos;
pub(crate) mod cluster;
mod executor;
pub(crate) mod groups;
pub(crate) mod limits;
pub(crate) mod load;
mod locate;
pub(crate) mod network;
pub(crate) mod payload;
pub(crate) mod plan;
pub(crate) mod presets;
pub(crate) mod protocol;
pub(crate) mod sizing;
mod strict;
pub(crate) mod threshold;
pub(crate) mod validate;
pub(crate) mod variables;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::{Compress, Rate, Share, Span};
pub(crate) use executor::{ABRUPT, AWAY, Executor, ExecutorKind};
use groups::{Groups, Zipf};
pub(crate) use payload::Payload;
use protocol::Protocol;
use threshold::Threshold;

/// Checks the text of a scenario as `loadgen validate` does, and does its arithmetic. Prints
/// nothing.
///
/// Files that the scenario names are looked for in the working folder.
///
/// # Errors
/// The scenario is wrong. The text names the place, the reason and a remedy.
pub fn check_scenario(text: &str) -> Result<(), String> {
    let loaded = load::parse("scenario".into(), "scenario".into(), text.into());
    let loaded = loaded.map_err(|failure| failure.message)?;
    let explained = sizing::Sizing::of(&loaded.scenario).explain(&loaded.scenario);
    debug_assert!(!explained.is_empty());
    // A scenario to plan with is right, too.
    let _ = loaded.runnable();
    Ok(())
}

/// The version of the scenario language that this program reads.
pub(crate) const SCHEMA: u32 = 1;

/// A whole scenario file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The version of the scenario language, [`SCHEMA`].
    pub(crate) schema: u32,
    /// The seed of all random numbers.
    pub(crate) seed: u64,
    /// The users that take part.
    pub(crate) population: Population,
    /// The messages that they send.
    pub(crate) traffic: Traffic,
    /// The assumptions of a plan about machines and storage; a run ignores them.
    #[serde(default)]
    pub(crate) plan: plan::Assumptions,
    /// The protocol of the server; by default the gateway's own.
    #[serde(default, skip_serializing_if = "Protocol::is_own")]
    pub(crate) protocol: Protocol,
    /// The connections of the generator.
    #[serde(default)]
    pub(crate) client: Client,
    /// The executors, by name.
    pub(crate) scenarios: BTreeMap<String, Executor>,
    /// The cluster that the run starts in the place of one gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<cluster::Cluster>,
    /// The faults that the run brings on what it started.
    #[serde(default, skip_serializing_if = "chaos::Chaos::is_empty")]
    pub(crate) chaos: chaos::Chaos,
    /// The checks of the run.
    #[serde(default)]
    pub(crate) checks: Checks,
    /// The thresholds of the figures, by metric.
    #[serde(default)]
    pub(crate) thresholds: BTreeMap<String, Vec<Threshold>>,
    /// The limits that the generator must hold for its figures to count.
    #[serde(default)]
    pub(crate) health: Health,
}

impl Scenario {
    /// Returns whether sessions of this scenario end and come back.
    pub(crate) fn has_returns(&self) -> bool {
        let mut kinds = self.scenarios.values().map(|it| it.executor);
        kinds.any(ExecutorKind::cuts) || !self.chaos.is_empty() || self.client.reconnect
    }
}

/// The users of the service, and the part of them that a run plays.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Population {
    /// The number of users of the service.
    pub(crate) users: u64,
    /// The part of the users that a run plays.
    pub(crate) share: Share,
    /// The part of the share that is connected, 0 to 1.
    #[serde(default = "one")]
    pub(crate) online: f64,
    /// The mean number of devices of a connected user, 1 to 8.
    #[serde(default = "one")]
    pub(crate) devices: f64,
    /// Messages that a user sends in 24 hours.
    pub(crate) msgs_per_user_day: f64,
    /// The part of the day in which users send. The mean rate is the mean over this part.
    pub(crate) window: Span,
    /// The highest rate of the day as a multiple of the mean.
    #[serde(default = "one")]
    pub(crate) peak_factor: f64,
    /// The factor by which the day is replayed faster than real time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compress: Option<Compress>,
}

/// The messages that users send.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Traffic {
    /// The spacing of arrivals.
    pub(crate) arrival: Arrival,
    /// The lengths of the texts.
    pub(crate) payload: Payload,
    /// The traffic in groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) groups: Option<Groups>,
    /// The uneven distribution of messages over senders; even without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sender_skew: Option<Zipf>,
    /// The number of contacts that a user writes to; even.
    #[serde(default = "eight")]
    pub(crate) contacts: u32,
    /// Whether recipients acknowledge that messages arrived and were read.
    #[serde(default)]
    pub(crate) receipts: bool,
    /// The time from the arrival of a message to its reading.
    #[serde(default = "half_a_second")]
    pub(crate) read_after: Span,
    /// One message in this many carries an idempotency key; 0 gives no message a key.
    #[serde(default)]
    pub(crate) key_every: u32,
}

/// The distribution of the gaps between messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrival {
    /// Messages are independent of each other, with exponential gaps.
    Poisson,
}

/// The settings of the generator's connections.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Client {
    /// The encoding of messages: `json` or `proto`.
    pub(crate) encoding: WireEncoding,
    /// The network of the source addresses; by default chosen by the number of connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// The number of generator threads; by default one per core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<u32>,
    /// Connections being opened at one time at most, all threads together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connecting_max: Option<u32>,
    /// A session that is not open after this time counts as failed.
    pub(crate) connect_timeout: ConnectTimeout,
    /// A session that is not open again after this time does not come back.
    pub(crate) reconnect_timeout: ReconnectTimeout,
    /// Sessions that the target ended are opened again, also if it did not ask for it.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) reconnect: bool,
}

/// Returns whether a setting has its default, which is not written.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde calls"
)]
fn is_false(setting: &bool) -> bool {
    !setting
}

/// The time that a session may take to come back; 300 s by default.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct ReconnectTimeout(pub(crate) Span);

impl Default for ReconnectTimeout {
    fn default() -> Self {
        Self(Span(std::time::Duration::from_secs(300)))
    }
}

/// The time that a session may take to open; 30 s by default.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct ConnectTimeout(pub(crate) Span);

impl Default for ConnectTimeout {
    fn default() -> Self {
        Self(Span(std::time::Duration::from_secs(30)))
    }
}

/// The encoding of messages on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WireEncoding {
    /// Text frames.
    #[default]
    Json,
    /// Binary frames.
    Proto,
}

/// The target of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// A number of connections.
    Count(u64),
    /// A percentage of all sessions of the run.
    Percent(f64),
    /// Messages per second.
    Rate(Rate),
}

impl Target {
    /// Returns the number of connections, where all are `sessions`; 0 for a rate, which validation
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

/// The checks of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Checks {
    /// The required number of deliveries of a message to each device.
    pub(crate) delivery: Delivery,
    /// Which order is kept.
    pub(crate) order: Order,
    /// The part of the conversations that is read back and compared.
    pub(crate) history: Share,
    /// The time to wait for messages under way after the last send.
    pub(crate) drain: Span,
}

/// The required number of deliveries of a message to each device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Delivery {
    /// Exactly once: no message is lost or delivered twice.
    ExactlyOnce,
}

/// Which order is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// The messages of each sender in each conversation are in order, and so are the sequences of
    /// each conversation.
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

/// The limits that the generator must hold for its figures to count.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Health {
    /// The highest 99th percentile of the lateness of sends.
    pub(crate) send_lag_p99: Span,
    /// The lowest part of the scheduled sends that must be sent, 0 to 1.
    pub(crate) achieved_min: f64,
    /// The longest time that an event loop may be away from its sockets.
    pub(crate) loop_stall_max: Span,
    /// The highest part of the CPU time that the hypervisor may take, 0 to 1.
    pub(crate) steal_max: f64,
    /// The lowest part of the CPU time that must be idle, 0 to 1.
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
