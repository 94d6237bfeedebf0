//! Positions as text: the form in which a program gives them out and takes them back.

use arrayvec::ArrayString;

use crate::Position;

/// The number of digits of a tag.
const TAG: usize = 8;
/// The length of the longest text: a tag, a dash and the greatest position.
const MAX: usize = TAG + 1 + 20;
const HEX: [u8; 16] = *b"0123456789abcdef";
/// The hexadecimal digits of each byte, one pair behind the other.
const PAIRS: &str = match std::str::from_utf8(&pairs()) {
    Ok(pairs) => pairs,
    Err(_) => unreachable!(),
};

/// A position as text, with the tag that proves it, such as `5e884898-4096`. The text of
/// [`Position::ZERO`], the beginning of every history, is `0`.
///
/// [`Epochs::token`](crate::Epochs::token) makes it without an allocation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Token(ArrayString<MAX>);

/// The reason why the store refuses a text as a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadToken {
    /// The text has the form of a position, but the store did not give it out, or no longer knows
    /// its epoch.
    Foreign,
    /// The text does not have the form of a position.
    Form,
}

impl Token {
    /// Returns the token of [`Position::ZERO`], the beginning of every history.
    pub(crate) fn zero() -> Token {
        let mut text = ArrayString::new();
        text.push('0');
        Token(text)
    }

    #[inline]
    pub(crate) fn new(tag: u32, position: Position) -> Token {
        let mut text = ArrayString::new();
        for byte in tag.to_be_bytes() {
            let at = 2 * usize::from(byte);
            text.push_str(&PAIRS[at..at + 2]);
        }
        text.push('-');
        text.push_str(itoa::Buffer::new().format(position.0));
        Token(text)
    }

    /// Returns the text.
    #[must_use]
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the pairs of digits of all bytes.
const fn pairs() -> [u8; 512] {
    let mut pairs = [0; 512];
    let mut byte = 0;
    while byte < 256 {
        pairs[2 * byte] = HEX[byte >> 4];
        pairs[2 * byte + 1] = HEX[byte & 15];
        byte += 1;
    }
    pairs
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Splits a text into tag and position. A bare number has no tag.
///
/// # Errors
/// [`BadToken::Form`] for every other form.
pub(crate) fn parse(text: &str) -> Result<(Option<u32>, Position), BadToken> {
    let Some((tag, position)) = text.split_once('-') else {
        return Ok((None, decimal(text)?));
    };
    let is_hex = |byte: u8| HEX.contains(&byte);
    if tag.len() != TAG || !tag.bytes().all(is_hex) {
        return Err(BadToken::Form);
    }
    let tag = u32::from_str_radix(tag, 16).map_err(|_| BadToken::Form)?;
    Ok((Some(tag), decimal(position)?))
}

/// Parses a decimal number without leading zeros or signs.
fn decimal(text: &str) -> Result<Position, BadToken> {
    let leads = text.len() > 1 && text.starts_with('0');
    if leads || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadToken::Form);
    }
    text.parse().map(Position).map_err(|_| BadToken::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back() {
        let greatest = [u64::MAX - 1, u64::MAX];
        let edges = [1, 9, 10, 99, 100, 4096, 1 << 40].into_iter();
        for position in edges.chain(greatest).map(Position) {
            for tag in [0, 1, 0xdead_beef, u32::MAX] {
                let token = Token::new(tag, position);
                assert_eq!(token.to_string(), format!("{tag:08x}-{}", position.0));
                assert_eq!(parse(token.as_str()), Ok((Some(tag), position)));
            }
        }
        assert_eq!(Token::zero().as_str(), "0");
        assert_eq!(parse("0"), Ok((None, Position::ZERO)));
        assert_eq!(parse("4096"), Ok((None, Position(4096))));
    }

    #[test]
    fn other_forms_are_none() {
        for bad in [
            "",
            "x",
            "-",
            "-1",
            "+1",
            " 1",
            "1 ",
            "00",
            "01",
            "1_0",
            "18446744073709551616",
            "0123456-1",
            "012345678-1",
            "0123456g-1",
            "0123456A-1",
            "+1234567-1",
            "01234567-",
            "01234567-+1",
            "01234567-01",
            "01234567-1-1",
            "01234567-18446744073709551616",
            "äöüß-1",
        ] {
            assert_eq!(parse(bad), Err(BadToken::Form), "{bad:?}");
        }
    }
}
