//! The fields of a message that few messages have. They are one field of the body, so that a plain
//! message pays nothing for them.

use trunkline_proto::message::{Json, MessageExtras, SendExtras};

use super::fields::{Fields, field, number};

/// The fields of a message that few messages have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extras<'a> {
    /// The sequence of the message that this one replies to.
    pub reply_to: Option<u64>,
    /// The kind of the content, such as `text.markdown`.
    pub kind: Option<&'a str>,
    /// The text of a JSON value of the sender's own.
    pub meta: Option<&'a str>,
    /// The time of the last edit, as clients see it, in milliseconds since 1970 UTC.
    pub edited: Option<u64>,
    /// The number of edits so far. The record of an edit has the number of that edit.
    pub revision: u64,
    /// The members whom the message mentions, as the sender named them; [`ALL`](Self::ALL) stands for
    /// all members.
    pub mentions: Vec<&'a str>,
    /// The time after which the message expires, counted from the time of its record, in
    /// milliseconds; 0 if it stays.
    pub ttl: u64,
}

/// The tags of the fields. They are part of the disk format: never reuse one.
mod tag {
    pub(super) const REPLY_TO: u8 = 1;
    pub(super) const KIND: u8 = 2;
    pub(super) const META: u8 = 3;
    pub(super) const EDITED: u8 = 4;
    pub(super) const REVISION: u8 = 5;
    pub(super) const MENTION: u8 = 6;
    pub(super) const TTL: u8 = 7;
}

impl<'a> Extras<'a> {
    /// The name that mentions all members.
    pub const ALL: &'static str = "*";

    /// Returns whether the message mentions a member.
    pub fn mentions(&self, user: &str) -> bool {
        let mut names = self.mentions.iter();
        names.any(|name| *name == user || *name == Self::ALL)
    }

    /// Returns the fields of a message that a client sends.
    pub fn of(sent: &'a SendExtras<'_>) -> Self {
        Self {
            reply_to: sent.reply_to,
            kind: sent.kind.as_deref(),
            meta: sent.meta.as_ref().map(Json::as_str),
            mentions: sent.mentions.iter().map(|name| &**name).collect(),
            // The text was checked before.
            ttl: sent.ttl.as_deref().and_then(milliseconds).unwrap_or(0),
            ..Self::default()
        }
    }

    /// Returns the fields in stored form; `None` if all are absent.
    pub fn stored(&self) -> Option<Vec<u8>> {
        if *self == Self::default() {
            return None;
        }
        let mut out = Vec::new();
        let revision = (self.revision > 0).then_some(self.revision);
        let ttl = (self.ttl > 0).then_some(self.ttl);
        for (tag, value) in [
            (tag::REPLY_TO, self.reply_to),
            (tag::EDITED, self.edited),
            (tag::REVISION, revision),
            (tag::TTL, ttl),
        ] {
            if let Some(value) = value {
                number(&mut out, tag, value);
            }
        }
        for (tag, value) in [(tag::KIND, self.kind), (tag::META, self.meta)] {
            if let Some(value) = value {
                field(&mut out, tag, value.as_bytes());
            }
        }
        for name in &self.mentions {
            field(&mut out, tag::MENTION, name.as_bytes());
        }
        Some(out)
    }

    /// Reads the fields from their stored form; `None` if the bytes have another form.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut extras = Self::default();
        for one in Fields(bytes) {
            let one = one?;
            match one.tag {
                tag::REPLY_TO => extras.reply_to = Some(one.number()?),
                tag::KIND => extras.kind = Some(one.text()?),
                tag::META => extras.meta = Some(one.text()?),
                tag::EDITED => extras.edited = Some(one.number()?),
                tag::MENTION => extras.mentions.push(one.text()?),
                tag::TTL => extras.ttl = one.number()?,
                tag::REVISION => extras.revision = one.number()?,
                _ => {}
            }
        }
        Some(extras)
    }

    /// Returns the fields that stay when the sender recalls the message: those that are no content.
    #[must_use]
    pub fn of_recalled(&self) -> Self {
        Self {
            reply_to: self.reply_to,
            ttl: self.ttl,
            ..Self::default()
        }
    }

    /// Returns whether a message has expired. `stored` is the time of its record, and `now` the present
    /// steady time.
    pub fn is_due(&self, stored: u64, now: u64) -> bool {
        self.ttl > 0 && stored.saturating_add(self.ttl) <= now
    }

    /// Returns the fields as clients see them. `sent` is the time of the message as clients see it.
    pub fn shown(&self, sent: u64) -> Option<Box<MessageExtras<'a>>> {
        MessageExtras {
            reply_to: self.reply_to,
            kind: self.kind.map(Into::into),
            meta: self.meta.map(Json::checked),
            edited: self.edited,
            mentions: self.mentions.iter().map(|name| (*name).into()).collect(),
            expires: (self.ttl > 0).then(|| sent.saturating_add(self.ttl)),
            expired: false,
        }
        .boxed()
    }
}

/// Returns the milliseconds of a duration: a whole number followed by `ms`, `s`, `m`, `h` or `d`. `None`
/// for another text, and for more than 365 days.
pub fn milliseconds(duration: &str) -> Option<u64> {
    const MOST: u64 = 365 * 86_400_000;
    let digits = duration.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = duration.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(unit).filter(|time| *time <= MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, expected) in [
            ("250ms", Some(250)),
            ("90s", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("365d", Some(31_536_000_000)),
            ("366d", None),
            ("18446744073709551615d", None),
            ("99999999999999999999s", None),
            ("h", None),
            ("1", None),
            ("1.5h", None),
            ("-1h", None),
            ("1h ", None),
            ("", None),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn extras_round_trip_and_survive_unknown_fields() {
        assert_eq!(Extras::default().stored(), None);
        let extras = Extras {
            reply_to: Some(300),
            kind: Some("text.markdown"),
            meta: Some(r#"{"a":[1,null]}"#),
            edited: Some(1_767_225_600_500),
            revision: 2,
            mentions: vec!["bob", Extras::ALL],
            ttl: 3_600_000,
        };
        assert!(extras.is_due(5, 3_600_005) && !extras.is_due(6, 3_600_005));
        assert!(extras.mentions("bob") && extras.mentions("zoe"));
        let mut bytes = extras.stored().unwrap();
        let known = bytes.len();
        field(&mut bytes, 200, b"from a later version");
        assert_eq!(Extras::read(&bytes), Some(extras.clone()));
        for cut in 1..known {
            assert_ne!(Extras::read(&bytes[..cut]), Some(extras.clone()), "{cut}");
        }
        let rest = extras.of_recalled().stored().unwrap();
        assert!(rest.len() < 12, "{rest:?}");
    }
}
