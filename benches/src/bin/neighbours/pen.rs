//! Writes what an attacker sends.

use trunkline_benches::crowd::MASK;
use trunkline_proto::frame::{Opcode, write_frame, write_header};

/// Writes frames to one connection, and counts the answers that follow.
#[derive(Debug)]
pub(crate) struct Pen<'a> {
    out: &'a mut Vec<u8>,
    expected: &'a mut usize,
}

impl<'a> Pen<'a> {
    /// Makes a pen that appends to `out` and adds to `expected` the number of answers.
    pub(crate) fn new(out: &'a mut Vec<u8>, expected: &'a mut usize) -> Self {
        Self { out, expected }
    }

    /// Writes a command with the id 1, whose answer is waited for.
    pub(crate) fn command(&mut self, name: &str, body: &str) {
        self.text(&format!(r#"{{"id":1,"{name}":{body}}}"#), 1);
    }

    /// Writes a text frame with commands that get this number of answers.
    pub(crate) fn text(&mut self, payload: &str, answers: usize) {
        write_frame(self.out, Opcode::Text, payload.as_bytes(), MASK);
        *self.expected += answers;
    }

    /// Writes a binary frame with commands that get this number of answers.
    pub(crate) fn binary(&mut self, payload: &[u8], answers: usize) {
        write_frame(self.out, Opcode::Binary, payload, MASK);
        *self.expected += answers;
    }

    /// Writes a ping.
    pub(crate) fn ping(&mut self, payload: &[u8]) {
        write_frame(self.out, Opcode::Ping, payload, MASK);
    }

    /// Writes bytes as they are, whose commands get this number of answers.
    pub(crate) fn raw(&mut self, bytes: &[u8], answers: usize) {
        self.out.extend_from_slice(bytes);
        *self.expected += answers;
    }
}

/// Returns a text message in fragments of `size` bytes, each masked with zeros, so that its bytes
/// stand in the frames as they are.
pub(crate) fn fragments(message: &[u8], size: usize) -> Vec<u8> {
    const FIN: u8 = 0x80;
    let mut out = Vec::new();
    let mut pieces = message.chunks(size).peekable();
    let mut opcode = Opcode::Text;
    while let Some(piece) = pieces.next() {
        let start = out.len();
        write_header(&mut out, opcode, piece.len(), Some([0; 4]));
        if pieces.peek().is_some() {
            out[start] &= !FIN;
        }
        out.extend_from_slice(piece);
        opcode = Opcode::Continuation;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_proto::connection::{Connection, Event, Role};

    #[test]
    fn fragments_are_one_message() {
        for size in [1, 2, 5, 100] {
            let mut bytes = fragments(b"{\"id\":1}", size);
            let mut input = &mut bytes[..];
            let mut server = Connection::new(Role::Server);
            let event = server.receive(&mut input, 100).unwrap();
            let Some(Event::Message(_, payload)) = event else {
                panic!("{event:?}")
            };
            assert_eq!(&payload[..], b"{\"id\":1}");
            assert_eq!(server.receive(&mut input, 100).unwrap(), None);
        }
    }

    #[test]
    fn answers_are_counted() {
        let (mut out, mut expected) = (Vec::new(), 0);
        let mut pen = Pen::new(&mut out, &mut expected);
        pen.command("ping", "{}");
        pen.ping(b"");
        pen.text("", 3);
        assert_eq!(expected, 4);
    }
}
