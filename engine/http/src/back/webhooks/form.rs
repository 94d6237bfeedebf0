//! The bodies of webhooks.

use serde::Serialize;
use trunkline_core::clock::utc;
use trunkline_core::reader::{Missed, Shown};
use trunkline_proto::message::{Message, UserPresence};

#[derive(Serialize)]
struct Form<D> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: D,
}

#[derive(Serialize)]
struct OfflineForm<'a> {
    namespace: &'a str,
    user: &'a str,
    unread: u64,
    mentioned: bool,
    message: &'a Message<'a>,
}

#[derive(Serialize)]
struct PresenceForm<'a> {
    namespace: &'a str,
    #[serde(flatten)]
    presence: &'a UserPresence<'a>,
}

/// Returns the body about a missed message.
pub(super) fn offline(missed: &Missed, shown: &Shown) -> Vec<u8> {
    body(
        "message.offline",
        shown.message.time,
        OfflineForm {
            namespace: &missed.namespace,
            user: &missed.user,
            unread: shown.unread,
            mentioned: shown.mentioned,
            message: &shown.message,
        },
    )
}

/// Returns the body about a user who came or left. `time` is in milliseconds since 1970 UTC.
pub(super) fn presence(namespace: &str, presence: &UserPresence<'_>, time: u64) -> Vec<u8> {
    let data = PresenceForm {
        namespace,
        presence,
    };
    body("presence.changed", time, data)
}

fn body(kind: &'static str, time: u64, data: impl Serialize) -> Vec<u8> {
    let form = Form {
        kind,
        timestamp: timestamp(time),
        data,
    };
    // Texts and numbers that were read: this does not fail.
    serde_json::to_vec(&form).unwrap_or_default()
}

/// Returns a time in the form of RFC 3339.
fn timestamp(millis: u64) -> String {
    let mut text = utc(millis).replace(' ', "T");
    text.push_str(&format!(".{:03}Z", millis % 1_000));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_form_of_the_page() {
        let missed = Missed {
            namespace: "".into(),
            user: "bob".into(),
            from: trunkline_core::store::TimelineId(1),
            conversation: "u:alice:bob".into(),
            seq: 7,
            time: 5,
            sent: 1_709_164_800_045,
        };
        let shown = Shown {
            message: Message {
                conversation: "u:alice:bob".into(),
                seq: 7,
                from: "alice".into(),
                device: "phone".into(),
                time: 1_709_164_800_045,
                text: Some("hi".into()),
                ..Message::default()
            },
            unread: 3,
            mentioned: true,
        };
        let text = String::from_utf8(offline(&missed, &shown)).unwrap();
        assert_eq!(
            text,
            "{\"type\":\"message.offline\",\"timestamp\":\"2024-02-29T00:00:00.045Z\",\"data\":{\
             \"namespace\":\"\",\"user\":\"bob\",\"unread\":3,\"mentioned\":true,\"message\":{\
             \"conversation\":\"u:alice:bob\",\"seq\":7,\"from\":\"alice\",\"device\":\"phone\",\
             \"time\":1709164800045,\"text\":\"hi\"}}}"
        );
        let gone = UserPresence {
            user: "bob".into(),
            online: false,
            devices: 0,
            last_seen: Some(5),
        };
        let text = String::from_utf8(presence("acme", &gone, 0)).unwrap();
        assert_eq!(
            text,
            "{\"type\":\"presence.changed\",\"timestamp\":\"1970-01-01T00:00:00.000Z\",\"data\":{\
             \"namespace\":\"acme\",\"user\":\"bob\",\"online\":false,\"devices\":0,\"last_seen\":5}}"
        );
    }
}
