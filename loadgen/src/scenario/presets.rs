//! The presets: scenarios that come with the program.

use super::protocol::ProtocolKind;

/// A preset: a scenario that comes with the program.
#[derive(Debug)]
pub(crate) struct Preset {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// The purpose, in one line.
    pub(crate) about: &'static str,
    /// The TOML text.
    pub(crate) text: &'static str,
}

/// Makes a preset from its file.
macro_rules! preset {
    ($name:literal, $about:literal) => {
        Preset {
            name: $name,
            about: $about,
            text: include_str!(concat!("../../presets/", $name, ".toml")),
        }
    };
}

/// All presets, in the order they are listed.
pub(crate) const PRESETS: &[Preset] = &[
    preset!(
        "smoke",
        "20 s, 2,000 connections, every check on: for CI and for the first try"
    ),
    preset!(
        "im-75m",
        "a messenger's day: 75 M users × 30 messages × 7 KB, replayed in a minute"
    ),
    preset!(
        "service-500m",
        "a large service's day: 500 M users × 40 messages × 120 B, replayed in 40 s"
    ),
    preset!(
        "web-1b",
        "the peak of 1 G clients with a message of 1 KB every 2 minutes"
    ),
    preset!(
        "timeline-100k",
        "100,000 timeline writes/s and ten reads for each"
    ),
    preset!(
        "large-group",
        "deliveries/s of a group of 10,000 members online, or of 100,000"
    ),
    preset!("storm", "everybody reconnects at once"),
    preset!(
        "cluster",
        "three gateways with one log on three NATS servers, which the run starts"
    ),
    preset!("million", "1,000,000 connections held, with light traffic"),
];

/// A peer: a server of others, with the protocol that it speaks.
#[derive(Debug)]
pub(crate) struct PeerPreset {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// The TOML text: the protocol, and how the server is installed and started.
    pub(crate) text: &'static str,
}

/// Makes a peer from its file.
macro_rules! peer {
    ($name:literal) => {
        PeerPreset {
            name: $name,
            text: include_str!(concat!("../../presets/peers/", $name, ".toml")),
        }
    };
}

/// All peers.
pub(crate) const PEERS: &[PeerPreset] = &[
    peer!("bun-chat"),
    peer!("ws-chat"),
    peer!("nats"),
    peer!("jetstream"),
    peer!("ejabberd"),
    peer!("centrifugo"),
    peer!("mosquitto"),
    peer!("aedes"),
];

/// Returns the peer of this name.
pub(crate) fn peer(name: &str) -> Option<&'static PeerPreset> {
    PEERS.iter().find(|peer| peer.name == name)
}

/// The text that `loadgen init` writes: a valid scenario with a comment on every key.
pub(crate) const INIT: &str = include_str!("init.toml");

/// Returns the preset of this name.
pub(crate) fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// The beginning of the part of a scenario before which the protocol stands.
const BEFORE_PROTOCOL: &str = "# How the generator connects.";

/// Returns the text that `loadgen init` writes for a server with this protocol.
pub(crate) fn init(protocol: ProtocolKind) -> String {
    let table = match protocol {
        ProtocolKind::Trunkline => return INIT.to_owned(),
        ProtocolKind::Template => include_str!("init_template.toml"),
        ProtocolKind::Centrifuge => include_str!("init_centrifuge.toml"),
        ProtocolKind::Mqtt => include_str!("init_mqtt.toml"),
    };
    let (before, after) = INIT.split_once(BEFORE_PROTOCOL).unwrap_or((INIT, ""));
    format!("{before}{table}\n{BEFORE_PROTOCOL}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load;

    #[test]
    fn every_scenario_to_start_from_is_right() {
        for (protocol, words) in [
            (ProtocolKind::Trunkline, "schema = 1"),
            (ProtocolKind::Template, "kind = \"template\""),
            (ProtocolKind::Centrifuge, "kind = \"centrifuge\""),
            (ProtocolKind::Mqtt, "kind = \"mqtt\""),
        ] {
            let text = init(protocol);
            assert!(text.contains(words), "{text}");
            let loaded = load::parse("own".into(), "own".into(), text);
            loaded.unwrap().runnable().unwrap();
        }
        // What is commented out is right, too.
        for (table, lines) in [
            (include_str!("init_template.toml"), 6),
            (include_str!("init_centrifuge.toml"), 3),
            (include_str!("init_mqtt.toml"), 3),
        ] {
            let (_, table) = table.split_once("[protocol]\n").unwrap();
            let more: Vec<_> = table
                .lines()
                .filter_map(|it| it.strip_prefix("# "))
                .collect();
            assert_eq!(more.len(), lines, "{more:?}");
            for line in more {
                let key = line.split(' ').next().unwrap();
                let kept = table.lines().filter(|it| !it.starts_with(key));
                let text = format!("{}\n{line}", kept.collect::<Vec<_>>().join("\n"));
                let protocol: crate::scenario::protocol::Protocol = toml::from_str(&text).unwrap();
                assert_eq!(protocol.mistakes(), [], "{line}");
            }
        }
    }
}
