//! The protocol that the option `--protocol` names: a peer, or a file.

use std::fs::File;

use serde::Deserialize;

use super::super::load::read_whole;
use super::super::{locate, presets};
use super::Protocol;
use crate::exit::{Failure, Outcome};
use crate::suggest::{similar, with_hint};

/// A file with a protocol.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProtocolFile {
    protocol: Protocol,
}

/// Reads the protocol of a peer by its name, or of a file with a table `[protocol]`.
///
/// # Errors
/// There is no such peer or file, or the table has mistakes (exit 104).
pub(crate) fn read(what: &str) -> Outcome<Protocol> {
    if let Some(peer) = presets::peer(what) {
        return parse(&format!("peer {what}"), peer.text);
    }
    let text = File::open(what).and_then(read_whole).map_err(|why| {
        let names: Vec<_> = presets::PEERS.iter().map(|peer| peer.name).collect();
        Failure::scenario(format!(
            "--protocol {what}: it is neither a peer ({}) nor a file that can be read: {why}{}",
            names.join(", "),
            similar(what, names.iter().copied())
                .map_or(String::new(), |name| format!("; did you mean `{name}`?"))
        ))
    })?;
    parse(what, &text)
}

fn parse(origin: &str, text: &str) -> Outcome<Protocol> {
    let found = toml::from_str::<ProtocolFile>(text).map_err(|why| {
        let offset = why.span().map(|span| span.start);
        let message = with_hint(why.message());
        Failure::scenario(locate::describe(origin, text, offset, &message))
    })?;
    let mistakes = found.protocol.mistakes();
    let all: Vec<_> = mistakes
        .iter()
        .map(|(key, why)| {
            let offset = locate::offset_of(text, &["protocol", key]);
            locate::describe(origin, text, offset, &format!("{key}: {why}"))
        })
        .collect();
    match all.is_empty() {
        true => Ok(found.protocol),
        false => Err(Failure::scenario(all.join("\n"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_right_protocol() {
        for peer in presets::PEERS {
            let protocol = read(peer.name).unwrap_or_else(|why| panic!("{}: {why}", peer.name));
            assert!(!protocol.is_own(), "{}", peer.name);
        }
    }

    #[test]
    fn mistakes_have_their_line() {
        let why = read("bun-caht").unwrap_err().message;
        assert!(why.contains("did you mean `bun-chat`?"), "{why}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.toml");
        let of = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(file.to_str().unwrap()).unwrap_err().message
        };
        let why = of("[protocol]\nkind = \"template\"\nsnd = 'x'\n");
        assert!(
            why.contains("own.toml:3:1: ") && why.contains("did you mean `send`?"),
            "{why}"
        );
        let why = of("[protocol]\nkind = \"template\"\nsend = '{peer}'\npath = 'x'\n");
        for line in [
            "own.toml:4:1: path: ",
            "own.toml:3:1: send: ",
            "pushed: is missing",
        ] {
            assert!(why.contains(line), "no {line} in {why}");
        }
    }
}
