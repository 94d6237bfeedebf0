//! Texts with places, such as `{"send":{"user":"{peer}"}}`, compiled once.

use crate::suggest::hint;

/// A place in a text, which a message or a user fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The name of the user whose connection it is.
    User,
    /// The name of the user that a message goes to.
    Peer,
    /// The text of a message: who, which and when.
    Text,
    /// The number of a message on its connection's thread, in decimal.
    Id,
    /// The length of the text in bytes, in decimal.
    Bytes,
}

/// The places of a text that belongs to a user.
pub(crate) const OF_USER: &[Place] = &[Place::User];

/// The places of a text that belongs to a message.
pub(crate) const OF_MESSAGE: &[Place] = &[
    Place::User,
    Place::Peer,
    Place::Text,
    Place::Id,
    Place::Bytes,
];

impl Place {
    /// Returns the name of the place between its braces.
    const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Peer => "peer",
            Self::Text => "text",
            Self::Id => "id",
            Self::Bytes => "bytes",
        }
    }
}

/// What fills the places of a text. A user's text needs only `user`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Filling<'a> {
    pub(crate) user: &'a str,
    pub(crate) peer: &'a str,
    pub(crate) text: &'a str,
    pub(crate) id: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Place(Place),
}

/// A compiled text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words(Vec<Piece>);

impl Words {
    /// Compiles a text that may have these places.
    ///
    /// # Errors
    /// A word in braces is no such place.
    pub(crate) fn parse(text: &str, places: &[Place]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, after) = rest.split_at(at);
            literal.push_str(before);
            let inner = &after[1..];
            let word = inner.find(|it: char| !it.is_ascii_lowercase() && it != '_');
            match word.filter(|end| *end > 0 && inner[*end..].starts_with('}')) {
                None => {
                    literal.push('{');
                    rest = inner;
                }
                Some(end) => {
                    let name = &inner[..end];
                    let place = places.iter().find(|it| it.name() == name);
                    let place = place.ok_or_else(|| unknown(name, places))?;
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    pieces.push(Piece::Place(*place));
                    rest = &inner[end + 1..];
                }
            }
        }
        literal.push_str(rest);
        pieces.push(Piece::Literal(literal));
        pieces.retain(|piece| !matches!(piece, Piece::Literal(text) if text.is_empty()));
        Ok(Self(pieces))
    }

    /// Returns whether the text has a place.
    pub(crate) fn has(&self, place: Place) -> bool {
        self.0.contains(&Piece::Place(place))
    }

    /// Appends the text with its places filled.
    pub(crate) fn write(&self, with: &Filling<'_>, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Place(Place::User) => out.extend_from_slice(with.user.as_bytes()),
                Piece::Place(Place::Peer) => out.extend_from_slice(with.peer.as_bytes()),
                Piece::Place(Place::Text) => out.extend_from_slice(with.text.as_bytes()),
                Piece::Place(Place::Id) => decimal(u64::from(with.id), out),
                Piece::Place(Place::Bytes) => decimal(with.text.len() as u64, out),
            }
        }
    }

    /// Returns the text with its places filled.
    pub(crate) fn filled(&self, with: &Filling<'_>) -> String {
        let mut out = Vec::new();
        self.write(with, &mut out);
        // Every piece is text.
        String::from_utf8(out).unwrap_or_default()
    }
}

/// Says that there is no place of this name.
fn unknown(name: &str, places: &[Place]) -> String {
    let known: Vec<_> = places.iter().map(|it| it.name()).collect();
    let elsewhere = OF_MESSAGE.iter().any(|it| it.name() == name);
    match elsewhere {
        true => format!(
            "`{{{name}}}` has a value only in `send`: there is {{{}}} here",
            known.join("}, {")
        ),
        false => format!("`{{{name}}}` is no place{}", hint(name, &known)),
    }
}

/// Appends a number in decimal, several times faster than `write!`.
fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_other_braces_stay() {
        let with = Filling {
            user: "ann",
            peer: "bob",
            text: "hello",
            id: 4_294_967_295,
        };
        for (text, expected) in [
            ("{}", "{}"),
            ("", ""),
            (
                r#"{"id":{id},"to":{"user":"{peer}"},"t":"{text}"}"#,
                r#"{"id":4294967295,"to":{"user":"bob"},"t":"hello"}"#,
            ),
            ("PUB {peer} {bytes}\r\n{text}\r\n", "PUB bob 5\r\nhello\r\n"),
            ("{{user}}{user}", "{ann}ann"),
            ("{User} {2} {user", "{User} {2} {user"),
        ] {
            let words = Words::parse(text, OF_MESSAGE).unwrap();
            assert_eq!(words.filled(&with), expected, "{text}");
        }
        assert!(Words::parse("{text}", OF_MESSAGE).unwrap().has(Place::Text));
        assert!(!Words::parse("{id}", OF_MESSAGE).unwrap().has(Place::Text));
        let zero = Filling::default();
        assert_eq!(Words::parse("{id}", OF_MESSAGE).unwrap().filled(&zero), "0");
    }

    #[test]
    fn an_unknown_place_is_named_with_the_known_ones() {
        let why = Words::parse("{usr}", OF_MESSAGE).unwrap_err();
        assert!(why.contains("did you mean `user`?"), "{why}");
        let why = Words::parse("/?u={peer}", OF_USER).unwrap_err();
        assert!(why.contains("only in `send`"), "{why}");
    }
}
