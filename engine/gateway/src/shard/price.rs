//! The prices of the work of shards, besides those of input (`backlog`). [`Cost`] explains the unit.
//!
//! The prices are those of a release build. The sequencer and the readers report their own work.

use trunkline_core::cost::Cost;
use trunkline_proto::message::CommandBody;

use super::backlog::of_command;

/// The cost of an error reply.
pub(super) const REFUSAL: Cost = Cost::micros(1);

/// The cost of a connection: accepting, watching and closing it.
pub(super) const CONNECTION: Cost = Cost::micros(80);

/// The cost of an upgrade: reading the request, and the response.
pub(super) const UPGRADE: Cost = Cost::micros(5);

/// The cost of each read during a TLS hand-shake. A full hand-shake takes two.
pub(super) const TLS_STEP: Cost = Cost::micros(70);

/// The cost of a token that is signed with a secret: checking the signature and the claims.
pub(super) const SECRET_TOKEN: Cost = Cost::micros(3);

/// The cost of a token that is signed with the private key of a pair.
pub(super) const PUBLIC_KEY_TOKEN: Cost = Cost::micros(60);

/// The cost of a session: entering and leaving the directory, presence, and the reply.
pub(super) const SESSION: Cost = Cost::micros(10);

/// The cost of a question that a closed connection leaves to the readers.
pub(super) const ABANDONED: Cost = Cost::micros(500);

/// The cost of a sign of JSON in a long command: a quote, a backslash, a comma or an opening bracket.
/// Names have to be compared with each other, and nested values to be followed.
const SIGN: Cost = Cost::nanos(40);

/// The length of a command from which on its signs are counted. Shorter commands are usual messages,
/// and the price of a command has theirs.
const LONG: usize = 1 << 10;

/// Returns the cost of the signs of JSON in a command, besides that of its bytes. Bytes of protobuf
/// that look like such signs count too.
#[inline]
pub(super) fn of_signs(command: &[u8]) -> Cost {
    if command.len() < LONG {
        return Cost::NONE;
    }
    /// The bytes whose signs a `u8` can count: the compiler compares 16 bytes at a time then.
    const COUNTED: usize = u8::MAX as usize;
    let is_sign = |byte: &u8| matches!(byte, b'"' | b'\\' | b',' | b'[' | b'{');
    let signs = |part: &[u8]| part.iter().map(|byte| u8::from(is_sign(byte))).sum::<u8>();
    let parts = command.chunks(COUNTED);
    SIGN.times(parts.map(|part| usize::from(signs(part))).sum())
}

/// The length of the shortest command that can take long to read.
pub(super) const LARGE: usize = 3 << 10;

/// Returns the cost of reading a command.
pub(super) fn of_reading(command: &[u8]) -> Cost {
    of_command(command.len()) + of_signs(command)
}

/// Whether a client in debt may send this command: a session that renews its token does not end,
/// and what a client acknowledges is not sent again.
pub(super) const fn is_let_through(command: &CommandBody<'_>) -> bool {
    matches!(command, CommandBody::Connect(_) | CommandBody::Ack(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cheap_and_long_lists_are_not() {
        let text = format!("{{\"text\":\"{}\"}}", "x".repeat(LONG));
        assert_eq!(of_signs(text.as_bytes()), SIGN.times(5));
        let list = format!("[{}]", "\"a\",".repeat(LONG));
        assert_eq!(of_signs(list.as_bytes()), SIGN.times(1 + 3 * LONG));
        assert_eq!(of_signs(&list.as_bytes()[..LONG - 1]), Cost::NONE);
    }
}
