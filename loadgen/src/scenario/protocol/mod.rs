//! The protocol of a scenario: the gateway's own, or what another server speaks.
//!
//! | part | what it is |
//! |---|---|
//! | this one | the keys of `[protocol]`, and which of them a kind takes |
//! | `file` | the option `--protocol` |
//! | `wording` | the keys of a template, compiled |
//! | `words` | texts with places, such as `{user}` |
//! | `pattern`, `pointer` | what to look for in a server's message, and values in JSON |

pub(crate) mod file;
pub(crate) mod pattern;
pub(crate) mod pointer;
pub(crate) mod wording;
pub(crate) mod words;

use std::collections::BTreeMap;
use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::units::Span;
use wording::Wording;
use words::{OF_USER, Words};

/// The protocols that there are drivers for. The command line takes them too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProtocolKind {
    /// The gateway's own protocol: everything is checked
    #[default]
    Trunkline,
    /// Texts over WebSocket, as the scenario describes them
    Template,
    /// The JSON protocol of Centrifugo and its SDKs
    Centrifuge,
    /// MQTT 5 or 3.1.1, over TCP or WebSocket
    Mqtt,
}

impl ProtocolKind {
    /// Returns the kind's name in scenarios.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Trunkline => "trunkline",
            Self::Template => "template",
            Self::Centrifuge => "centrifuge",
            Self::Mqtt => "mqtt",
        }
    }

    /// Returns the keys that the kind takes.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Trunkline => &[],
            Self::Template => &[
                "path",
                "headers",
                "subprotocol",
                "open",
                "opened",
                "send",
                "acked",
                "refused",
                "pushed",
                "ping",
            ],
            Self::Centrifuge => &["path", "headers", "subprotocol", "channel"],
            Self::Mqtt => &[
                "path",
                "headers",
                "subprotocol",
                "topic",
                "qos",
                "version",
                "keep_alive",
            ],
        }
    }
}

impl fmt::Display for ProtocolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The table `[protocol]` of a scenario. Each kind takes some of the keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Protocol {
    pub(crate) kind: ProtocolKind,
    /// The path and query of the upgrade; by default those of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Further headers of the upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) headers: Option<BTreeMap<String, String>>,
    /// The sub-protocol that the upgrade offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subprotocol: Option<String>,
    /// The messages that open a session, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) open: Option<Vec<String>>,
    /// The message that says that the session is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) opened: Option<Sign>,
    /// A message from `{user}` to `{peer}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) send: Option<String>,
    /// The acknowledgement of a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) acked: Option<Sign>,
    /// The refusal of a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<Sign>,
    /// A message that comes to its recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pushed: Option<Sign>,
    /// Pings of the client, and answers to those of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ping: Option<Ping>,
    /// The channel of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<String>,
    /// The topic of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    /// The quality of service, 0 or 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) qos: Option<u8>,
    /// The version of MQTT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<MqttVersion>,
    /// The time after which an idle client pings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keep_alive: Option<Span>,
}

/// The versions of MQTT that there is a driver for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum MqttVersion {
    /// MQTT 5.
    #[default]
    #[serde(rename = "5")]
    Five,
    /// MQTT 3.1.1, for brokers without version 5.
    #[serde(rename = "3.1.1")]
    Three,
}

/// How a message of the server is recognized, and a value in it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sign {
    /// A text that the message has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) contains: Option<String>,
    /// The JSON pointer to the number of a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// The JSON pointer to the text of a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// A regular expression whose first group is the number or the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) regex: Option<String>,
}

/// Pings of the client, and answers to those of the server.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ping {
    /// The message that the client sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) send: Option<String>,
    /// The time between two of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) every: Option<Span>,
    /// The answer to a ping of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pong: Option<String>,
    /// The ping of the server: a whole message, or a line of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) when: Option<String>,
}

/// A mistake: the key below `[protocol]`, and what is wrong with it.
pub(crate) type Mistake = (&'static str, String);

/// The topic of a user in MQTT.
const TOPIC: &str = "u/{user}";

/// The channel of a user in Centrifugo.
const CHANNEL: &str = "u:{user}";

impl Protocol {
    /// Returns whether the protocol is the gateway's own, and nothing else is said.
    pub(crate) fn is_own(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the keys that are given, beside `kind`.
    fn given(&self) -> Vec<&'static str> {
        let keys = [
            ("path", self.path.is_some()),
            ("headers", self.headers.is_some()),
            ("subprotocol", self.subprotocol.is_some()),
            ("open", self.open.is_some()),
            ("opened", self.opened.is_some()),
            ("send", self.send.is_some()),
            ("acked", self.acked.is_some()),
            ("refused", self.refused.is_some()),
            ("pushed", self.pushed.is_some()),
            ("ping", self.ping.is_some()),
            ("channel", self.channel.is_some()),
            ("topic", self.topic.is_some()),
            ("qos", self.qos.is_some()),
            ("version", self.version.is_some()),
            ("keep_alive", self.keep_alive.is_some()),
        ];
        let given = keys.iter().filter(|(_, given)| *given);
        given.map(|(key, _)| *key).collect()
    }

    /// Returns all mistakes of the table.
    pub(crate) fn mistakes(&self) -> Vec<Mistake> {
        let taken = self.kind.keys();
        let mut mistakes: Vec<Mistake> = self
            .given()
            .into_iter()
            .filter(|key| !taken.contains(key))
            .map(|key| (key, self.needless(key)))
            .collect();
        match self.kind {
            ProtocolKind::Trunkline => {}
            ProtocolKind::Template => mistakes.extend(Wording::mistakes(self)),
            ProtocolKind::Centrifuge | ProtocolKind::Mqtt => {
                mistakes.extend(wording::of_upgrade(self));
                mistakes.extend(self.address_mistake());
            }
        }
        if self.qos.is_some_and(|qos| qos > 1) {
            let why = "the driver has quality of service 0 and 1: write 0 or 1";
            mistakes.push(("qos", why.into()));
        }
        let alive = self.keep_alive.map_or(60, |it| it.0.as_secs());
        if !(1..=65_535).contains(&alive) {
            let why = "MQTT has 1 to 65,535 seconds here: write a time from 1s to 18h";
            mistakes.push(("keep_alive", why.into()));
        }
        mistakes
    }

    /// Says that the kind does not take a key.
    fn needless(&self, key: &str) -> String {
        let (kind, keys) = (self.kind, self.kind.keys());
        match keys.is_empty() {
            true => format!(
                "kind = \"{kind}\" takes no `{key}`: leave it out, or write kind = \"template\""
            ),
            false => format!(
                "kind = \"{kind}\" takes no `{key}`, but {}",
                keys.join(", ")
            ),
        }
    }

    /// Returns the mistake in the channel or the topic of a user.
    fn address_mistake(&self) -> Option<Mistake> {
        let (key, text) = match self.kind {
            ProtocolKind::Mqtt => ("topic", self.topic.as_deref().unwrap_or(TOPIC)),
            _ => ("channel", self.channel.as_deref().unwrap_or(CHANNEL)),
        };
        let wildcard = key == "topic" && text.contains(['#', '+']);
        match Words::parse(text, OF_USER) {
            Err(why) => Some((key, why)),
            Ok(words) if !words.has(words::Place::User) => {
                let why = format!("`{text}` is the same for every user: add {{user}}");
                Some((key, why))
            }
            Ok(_) if wildcard => Some((
                key,
                format!("`{text}` is a filter: write a topic without # and +"),
            )),
            Ok(_) => None,
        }
    }

    /// Returns the topic of a user in MQTT. The table has no mistakes.
    pub(crate) fn topic(&self) -> &str {
        self.topic.as_deref().unwrap_or(TOPIC)
    }

    /// Returns the channel of a user in Centrifugo. The table has no mistakes.
    pub(crate) fn channel(&self) -> &str {
        self.channel.as_deref().unwrap_or(CHANNEL)
    }

    /// Returns the quality of service in MQTT.
    pub(crate) fn qos(&self) -> u8 {
        self.qos.unwrap_or(1)
    }

    /// Returns whether the server acknowledges messages.
    pub(crate) fn acknowledges(&self) -> bool {
        match self.kind {
            ProtocolKind::Trunkline | ProtocolKind::Centrifuge => true,
            ProtocolKind::Template => self.acked.is_some(),
            ProtocolKind::Mqtt => self.qos() > 0,
        }
    }

    /// Returns what a run with this protocol does not check, in sentences.
    pub(crate) fn not_checked(&self) -> Vec<&'static str> {
        if self.kind == ProtocolKind::Trunkline {
            return Vec::new();
        }
        let mut all = vec![
            "receipts: the driver sends none and expects none",
            "history: nothing is read back, so whether messages are stored is unknown",
            "sequences: the server numbers no messages, so order is checked for each sender alone",
            "resume: nothing is owed to a session that was away, also where the server sends it",
            "repeated sends: no message carries an idempotency key",
            "groups and further devices: each user has one device and writes to single users",
        ];
        if !self.acknowledges() {
            all.push("acknowledgements: the server sends none, so only arrivals are counted");
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<Mistake> {
        let protocol: Protocol = toml::from_str(text).unwrap();
        protocol.mistakes()
    }

    #[test]
    fn each_kind_takes_its_keys_and_no_others() {
        for (text, expected) in [
            ("kind = \"trunkline\"", &[][..]),
            (
                "kind = \"trunkline\"\npath = \"/\"\nqos = 1",
                &[
                    ("path", "takes no `path`: leave it out"),
                    ("qos", "takes no `qos`"),
                ],
            ),
            ("kind = \"mqtt\"", &[]),
            ("kind = \"mqtt\"\nqos = 2", &[("qos", "write 0 or 1")]),
            (
                "kind = \"mqtt\"\nsend = \"x\"",
                &[("send", "but path, headers")],
            ),
            ("kind = \"mqtt\"\ntopic = \"u\"", &[("topic", "add {user}")]),
            (
                "kind = \"mqtt\"\ntopic = \"{user}/#\"",
                &[("topic", "a filter")],
            ),
            (
                "kind = \"mqtt\"\nkeep_alive = \"0s\"",
                &[("keep_alive", "from 1s")],
            ),
            (
                "kind = \"centrifuge\"\nchannel = \"{peer}\"",
                &[("channel", "only in `send`")],
            ),
        ] {
            let found = mistakes(text);
            assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
            for ((key, why), (wanted, words)) in found.iter().zip(expected) {
                assert_eq!(key, wanted, "{text}");
                assert!(why.contains(words), "{text}: {why}");
            }
        }
    }

    #[test]
    fn what_is_not_checked_is_said_of_every_foreign_protocol() {
        let of = |text: &str| toml::from_str::<Protocol>(text).unwrap().not_checked();
        assert_eq!(of("kind = \"trunkline\"").len(), 0);
        assert_eq!(
            of("kind = \"mqtt\"").len() + 1,
            of("kind = \"mqtt\"\nqos = 0").len()
        );
        assert!(of("kind = \"centrifuge\"")[0].starts_with("receipts"));
    }
}
