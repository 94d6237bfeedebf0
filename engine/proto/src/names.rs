//! Names of users, devices, groups and conversations.

use std::cmp::Ordering;

use arrayvec::ArrayString;

/// The longest name of a user, group, topic or device, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// The longest conversation id, in bytes: `u:` and two names with a colon between them.
pub const MAX_CONVERSATION_BYTES: usize = 2 + MAX_NAME_BYTES + 1 + MAX_NAME_BYTES;

/// Returns whether `name` is valid for a user, group, topic or device: 1 to 64 bytes of
/// `[A-Za-z0-9._@-]`.
#[inline]
pub fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= MAX_NAME_BYTES
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'@' | b'-'))
}

/// A parsed conversation id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversation<'a> {
    /// A conversation of two users, the lesser name first. Both names are equal for notes to
    /// oneself.
    Direct(&'a str, &'a str),
    /// A group, by its name.
    Group(&'a str),
}

impl<'a> Conversation<'a> {
    /// Parses `u:alice:bob` (sorted) or `g:eng`. Returns `None` for any other text.
    pub fn parse(id: &'a str) -> Option<Self> {
        let (kind, rest) = id.split_once(':')?;
        match kind {
            "u" => {
                let (a, b) = rest.split_once(':')?;
                (a <= b && is_name(a) && is_name(b)).then_some(Self::Direct(a, b))
            }
            "g" => is_name(rest).then_some(Self::Group(rest)),
            _ => None,
        }
    }

    /// Returns the conversation between two users, in either order.
    pub fn between(one: &'a str, other: &'a str) -> Self {
        match one.cmp(other) {
            Ordering::Greater => Self::Direct(other, one),
            _ => Self::Direct(one, other),
        }
    }

    /// Returns the id as text.
    #[inline]
    pub fn text(&self) -> ArrayString<MAX_CONVERSATION_BYTES> {
        let parts: &[&str] = match self {
            Self::Direct(a, b) => &["u:", a, ":", b],
            Self::Group(name) => &["g:", name],
        };
        let mut text = ArrayString::new();
        for part in parts {
            text.push_str(part);
        }
        text
    }

    /// Appends the id to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Direct(a, b) => {
                out.extend_from_slice(b"u:");
                out.extend_from_slice(a.as_bytes());
                out.push(b':');
                out.extend_from_slice(b.as_bytes());
            }
            Self::Group(name) => {
                out.extend_from_slice(b"g:");
                out.extend_from_slice(name.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "A-b_c.d@e9", &"x".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a b", "a:b", "ä", "a/b", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn conversations() {
        use Conversation::{Direct, Group};
        assert_eq!(
            Conversation::parse("u:alice:bob"),
            Some(Direct("alice", "bob"))
        );
        assert_eq!(Conversation::parse("u:a:a"), Some(Direct("a", "a")));
        assert_eq!(Conversation::parse("g:eng"), Some(Group("eng")));
        for bad in [
            "u:bob:alice",
            "u:alice",
            "u::bob",
            "g:",
            "x:y",
            "alice",
            "u:a:b:c",
            "g:a:b",
        ] {
            assert_eq!(Conversation::parse(bad), None, "{bad}");
        }
        assert_eq!(
            Conversation::between("bob", "alice"),
            Direct("alice", "bob")
        );
        let mut id = Vec::new();
        Direct("alice", "bob").write(&mut id);
        assert_eq!(id, b"u:alice:bob");
        let longest = "x".repeat(MAX_NAME_BYTES);
        for (name, expected) in [
            (Direct("alice", "bob"), "u:alice:bob".to_owned()),
            (Group("eng"), "g:eng".to_owned()),
            (Direct(&longest, &longest), format!("u:{longest}:{longest}")),
        ] {
            assert_eq!(&*name.text(), expected);
        }
    }
}
