//! The JSON protocol of Centrifugo and its SDKs, over WebSocket.
//!
//! Each user subscribes to a channel of its own, and a message is published to the channel of its
//! recipient. The driver is a template whose words are fixed.

use crate::scenario::protocol::Protocol;
use crate::scenario::protocol::pattern::Pattern;
use crate::scenario::protocol::wording::{UpgradeWords, Wording};
use crate::scenario::protocol::words::{OF_MESSAGE, OF_USER, Words};

/// The id of `connect`: beyond those of messages.
const CONNECT: u32 = u32::MAX;
/// The id of `subscribe`.
const SUBSCRIBE: u32 = u32::MAX - 1;

/// Returns the words of the protocol, with the channels and the upgrade of the scenario.
///
/// # Errors
/// The table of the scenario has a mistake, which validation names.
pub(crate) fn wording(of: &Protocol) -> Result<Wording, String> {
    let channel = of.channel();
    let to = channel.replace("{user}", "{peer}");
    let user = |text: &str| Words::parse(text, OF_USER);
    Ok(Wording {
        upgrade: UpgradeWords::compile(of).ok_or("[protocol] has a mistake")?,
        open: vec![
            user(&format!(
                r#"{{"id":{CONNECT},"connect":{{"name":"loadgen"}}}}"#
            ))?,
            user(&format!(
                r#"{{"id":{SUBSCRIBE},"subscribe":{{"channel":"{channel}"}}}}"#
            ))?,
        ],
        opened: Some(Pattern::new(Some("\"subscribe\""), None, None)?),
        send: Words::parse(
            &format!(
                r#"{{"id":{{id}},"publish":{{"channel":"{to}","data":{{"text":"{{text}}"}}}}}}"#
            ),
            OF_MESSAGE,
        )?,
        acked: Some(Pattern::new(
            Some("\"publish\""),
            Some(("id", "/id")),
            None,
        )?),
        refused: Some(Pattern::new(Some("\"error\""), Some(("id", "/id")), None)?),
        pushed: Pattern::new(
            Some("\"push\""),
            Some(("text", "/push/pub/data/text")),
            None,
        )?,
        ping: None,
        pong: Some((b"{}".to_vec(), user("{}")?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::protocol::words::Filling;

    #[test]
    fn a_message_goes_to_the_channel_of_its_recipient() {
        let protocol = toml::from_str("kind = \"centrifuge\"\nchannel = \"chat:{user}\"").unwrap();
        let wording = wording(&protocol).unwrap();
        let with = Filling {
            user: "ann",
            peer: "bob",
            text: "hi",
            id: 3,
        };
        assert_eq!(
            wording.send.filled(&with),
            r#"{"id":3,"publish":{"channel":"chat:bob","data":{"text":"hi"}}}"#
        );
        assert_eq!(
            wording.open[1].filled(&with),
            r#"{"id":4294967294,"subscribe":{"channel":"chat:ann"}}"#
        );
        let push = br#"{"push":{"channel":"chat:ann","pub":{"data":{"text":"yo"}}}}"#;
        assert_eq!(wording.pushed.find(push, 0).unwrap().value, "yo");
        let acked = wording.acked.unwrap();
        assert_eq!(
            acked.find(br#"{"id":3,"publish":{}}"#, 0).unwrap().value,
            "3"
        );
    }
}
