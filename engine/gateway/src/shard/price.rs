//! The prices of the work of shards, besides those of input (`backlog`). [`Cost`] explains the unit.
//!
//! The prices are those of a release build. The sequencer and the readers report their own work.

use trunkline_core::cost::Cost;
use trunkline_proto::Encoding;
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

/// Whether reading the first of these commands takes longer than a turn works for all who can wait.
pub(super) fn takes_long(encoding: Encoding, commands: &[u8]) -> bool {
    /// The cost from which on it does.
    const LONG: Cost = Cost::micros(150);
    // A command that is not over by then takes long, whatever comes.
    let seen = &commands[..commands.len().min(LOOKED_AT)];
    let command = encoding.first_command(seen);
    command.len() == LOOKED_AT || of_command(command.len()) + of_signs(command) >= LONG
}

/// The bytes of a command that takes long to read whatever they are. To look at more of them would take
/// long itself.
const LOOKED_AT: usize = 100 << 10;

/// Whether a client in debt may send this command: a session that renews its token does not end,
/// and what a client acknowledges is not sent again.
pub(super) const fn is_let_through(command: &CommandBody<'_>) -> bool {
    matches!(command, CommandBody::Connect(_) | CommandBody::Ack(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_command_and_its_beginning_say_whether_it_takes_long() {
        let takes_long = |commands: &str| takes_long(Encoding::Json, commands.as_bytes());
        let text = |bytes: usize| format!("{{\"text\":\"{}\"}}", "x".repeat(bytes));
        assert!(!takes_long(&text(90 << 10)) && takes_long(&text(LOOKED_AT)));
        assert!(
            of_command(LOOKED_AT) >= Cost::micros(150),
            "nothing is missed"
        );
        let list = format!("[{}1]", "1,".repeat(2 * LARGE));
        assert!(takes_long(&list));
        assert!(!takes_long(&format!("{}\n{list}", text(9))));
    }

    #[test]
    fn long_text_is_cheap_and_long_lists_are_not() {
        let text = format!("{{\"text\":\"{}\"}}", "x".repeat(LONG));
        assert_eq!(of_signs(text.as_bytes()), SIGN.times(5));
        let list = format!("[{}]", "\"a\",".repeat(LONG));
        assert_eq!(of_signs(list.as_bytes()), SIGN.times(1 + 3 * LONG));
        assert_eq!(of_signs(&list.as_bytes()[..LONG - 1]), Cost::NONE);
    }
}
