//! The names in a body, found without reading all of it.

use super::Body;
use crate::ids::Side;

/// The name of a conversation, with its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConversationName<'a> {
    /// The namespace; empty in a gateway without namespaces.
    pub namespace: &'a str,
    /// The name in the protocol, such as `g:eng`.
    pub name: &'a str,
}

/// The lengths of the names in a body. With them the sequencer finds the names without reading the
/// whole body. The names come first, in this order: conversation, namespace, user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BodyNames {
    conversation: u16,
    namespace: u8,
    user: u8,
}

impl BodyNames {
    /// Returns the places of the names in `body`. The protocol limits the length of names.
    pub fn of(body: &Body<'_>) -> Self {
        Self {
            conversation: body.conversation.len() as u16,
            namespace: body.namespace.len() as u8,
            user: body.user.len() as u8,
        }
    }

    /// Returns the name of the conversation; `None` if `body` is another body.
    pub fn conversation(self, body: &[u8]) -> Option<&str> {
        text(body, self.conversation_start(), self.conversation.into())
    }

    /// Returns the namespace, which is empty without one; `None` if `body` is another body.
    pub fn namespace(self, body: &[u8]) -> Option<&str> {
        text(body, self.conversation_end() + 2, self.namespace.into())
    }

    /// Returns the name of the user; `None` if `body` is another body.
    pub fn user(self, body: &[u8]) -> Option<&str> {
        let namespace = match self.namespace {
            0 => 0,
            length => 2 + usize::from(length),
        };
        text(
            body,
            self.conversation_end() + namespace + 2,
            self.user.into(),
        )
    }

    /// Returns the name of the other user of a 1:1 conversation. `side` is the side of the user.
    /// `None` if `body` is another body.
    pub fn peer(self, body: &[u8], side: Side) -> Option<&str> {
        // u:<lesser>:<greater>
        let (start, own) = (self.conversation_start(), usize::from(self.user));
        let length = usize::from(self.conversation).checked_sub("u::".len() + own)?;
        match side {
            Side::Lesser => text(body, start + "u::".len() + own, length),
            Side::Greater => text(body, start + "u:".len(), length),
        }
    }

    /// Returns the offset of the conversation's name, after its tag and length.
    fn conversation_start(self) -> usize {
        2 + usize::from(self.conversation >= 128)
    }

    fn conversation_end(self) -> usize {
        self.conversation_start() + usize::from(self.conversation)
    }
}

fn text(body: &[u8], start: usize, length: usize) -> Option<&str> {
    if length == 0 {
        return Some("");
    }
    let bytes = body.get(start..start + length)?;
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_where_they_were_written() {
        let longest = "n".repeat(64);
        let mut bytes = Vec::new();
        for (namespace, one, two) in [
            ("", "alice", "bob"),
            ("org", "a", "b"),
            (&*longest, &*longest, "o"),
            (&*longest, &*longest, &*longest),
        ] {
            for (user, peer) in [(one, two), (two, one)] {
                let (lesser, greater) = (user.min(peer), user.max(peer));
                let conversation = format!("u:{lesser}:{greater}");
                let side = if user == lesser {
                    Side::Lesser
                } else {
                    Side::Greater
                };
                let body = Body {
                    conversation: &conversation,
                    namespace,
                    user,
                    text: Some("hi"),
                    ..Body::default()
                };
                bytes.clear();
                body.write(&mut bytes);
                let names = BodyNames::of(&body);
                assert_eq!(names.conversation(&bytes), Some(&*conversation));
                assert_eq!(names.namespace(&bytes), Some(namespace));
                assert_eq!(names.user(&bytes), Some(user));
                assert_eq!(names.peer(&bytes, side), Some(peer));
                assert_eq!(names.user(&bytes[..3]), None);
            }
        }
    }
}
