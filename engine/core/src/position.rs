//! Positions as clients see them: text outside the gateway, numbers inside.
//!
//! The store's [`Epochs`] prove that the gateway gave out a position in the history of this store.
//! This module refuses all other positions, and writes each event's position once.

use trunkline_proto::{ErrorCode, Str};
use trunkline_storage::{BadToken, Epochs, Position, Token};

use crate::failure::Failure;

/// Writes positions as text and remembers the last one: the reply and the push of an event have the
/// same position, in each encoding.
#[derive(Debug)]
pub struct Tokens {
    epochs: Epochs,
    of: Position,
    token: Token,
}

impl Tokens {
    /// Returns a writer for the positions of the history that `epochs` proves.
    pub fn new(epochs: &Epochs) -> Self {
        Self {
            epochs: epochs.clone(),
            of: Position::ZERO,
            token: epochs.token(Position::ZERO),
        }
    }

    /// Returns the token of a position for clients.
    #[inline]
    pub fn token(&mut self, position: Position) -> Token {
        if self.of != position {
            (self.of, self.token) = (position, self.epochs.token(position));
        }
        self.token
    }

    /// Returns the token of a position as owned text.
    pub fn text(&mut self, position: Position) -> Str<'static> {
        text(self.token(position))
    }
}

/// Returns a token as owned text.
pub fn text(token: Token) -> Str<'static> {
    token.to_string().into()
}

/// Reads a position that a client passes as `since`.
///
/// # Errors
/// The text does not have the form of a position, or is not of this store's history.
pub fn since(epochs: &Epochs, text: &str) -> Result<Position, Failure> {
    epochs.check(text).map_err(|bad| match bad {
        BadToken::Form => (
            ErrorCode::BadRequest,
            "\"since\" is no position that this gateway gave out",
        ),
        BadToken::Foreign => (
            ErrorCode::PositionExpired,
            "\"since\" is not a position of this gateway's history: read history, then connect without \"since\" and go on from its pos",
        ),
    })
}

/// The length of a kept position in bytes: the position and its proof.
const KEPT: usize = 12;

/// Returns the form in which the store keeps a device's position.
pub fn keep(epochs: &Epochs, position: Position) -> [u8; KEPT] {
    let mut value = [0; KEPT];
    value[..8].copy_from_slice(&position.0.to_le_bytes());
    value[8..].copy_from_slice(&epochs.tag(position).to_le_bytes());
    value
}

/// Returns the position in a device's stored value; `None` if it is not of this store's history.
pub fn kept(epochs: &Epochs, value: Option<&[u8]>) -> Option<Position> {
    let value: &[u8; KEPT] = value?.try_into().ok()?;
    let position = Position(u64::from_le_bytes(*value.first_chunk()?));
    let tag = u32::from_le_bytes(*value.last_chunk()?);
    epochs.holds(position, tag).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_store::open;

    #[test]
    fn a_position_is_good_or_refused_for_what_is_wrong() {
        let ((_one, store), (_other, foreign)) = (open(), open());
        let (epochs, foreign) = (store.epochs(), foreign.epochs());
        let mut tokens = Tokens::new(epochs);
        for position in [0, 1, 1, 4_096, u64::MAX, 1].map(Position) {
            let text = tokens.text(position);
            assert_eq!(since(epochs, &text), Ok(position));
            assert_eq!(text, epochs.token(position).as_str());
        }
        let code = |text: &str| since(epochs, text).map_err(|(code, _)| code);
        for never in [
            "1",
            "4096",
            "00000000-0",
            foreign.token(Position(9)).as_str(),
        ] {
            assert_eq!(code(never), Err(ErrorCode::PositionExpired), "{never}");
        }
        for form in [
            "",
            "x",
            "-1",
            "+1",
            " 1",
            "01",
            "0-1",
            "18446744073709551616",
        ] {
            assert_eq!(code(form), Err(ErrorCode::BadRequest), "{form:?}");
        }
    }

    #[test]
    fn what_is_kept_for_a_device_is_good_in_its_own_history_alone() {
        let ((_one, store), (_other, foreign)) = (open(), open());
        let (epochs, foreign) = (store.epochs(), foreign.epochs());
        for position in [0, 4_096].map(Position) {
            let value = keep(epochs, position);
            assert_eq!(kept(epochs, Some(&value)), Some(position));
            assert_eq!(kept(foreign, Some(&value)), None);
        }
        // What the version before this one kept.
        assert_eq!(kept(epochs, Some(&4_096u64.to_le_bytes())), None);
        assert_eq!(kept(epochs, None), None);
    }
}
