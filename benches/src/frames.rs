//! Counts the frames of a server without looking at their payloads.

use trunkline_proto::frame::{Opcode, parse_header};

/// The number of frames that began in a piece of a stream.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Text and binary frames.
    pub messages: u64,
    /// Pings.
    pub pings: u64,
}

/// A stream of frames, seen piece by piece.
#[derive(Debug, Default)]
pub struct Frames {
    /// The bytes of the current payload that are still to come.
    payload: u64,
    /// The bytes of a header that is not complete.
    header: Vec<u8>,
}

impl Frames {
    /// Counts the frames of the next piece. After bytes that are no frame, nothing more counts.
    pub fn take(&mut self, piece: &[u8]) -> Counted {
        if self.header.is_empty() {
            return self.scan(piece);
        }
        let mut joined = std::mem::take(&mut self.header);
        joined.extend_from_slice(piece);
        self.scan(&joined)
    }

    fn scan(&mut self, mut piece: &[u8]) -> Counted {
        let mut counted = Counted::default();
        loop {
            let skipped = self.payload.min(piece.len() as u64);
            self.payload -= skipped;
            piece = &piece[skipped as usize..];
            match parse_header(piece) {
                Ok(Some((header, len))) => {
                    match header.opcode {
                        Opcode::Text | Opcode::Binary => counted.messages += 1,
                        Opcode::Ping => counted.pings += 1,
                        _ => {}
                    }
                    self.payload = header.len;
                    piece = &piece[len..];
                }
                Ok(None) => {
                    self.header.extend_from_slice(piece);
                    return counted;
                }
                Err(_) => return counted,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_proto::frame::write_frame;

    use super::*;

    #[test]
    fn in_pieces_of_any_size() {
        let mut stream = Vec::new();
        for len in [0, 5, 125, 126, 70_000] {
            write_frame(&mut stream, Opcode::Text, &vec![b'x'; len], None);
        }
        write_frame(&mut stream, Opcode::Ping, b"ping", None);
        for size in [1, 2, 3, 7, 128, 1_000, stream.len()] {
            let mut frames = Frames::default();
            let mut all = Counted::default();
            for piece in stream.chunks(size) {
                let counted = frames.take(piece);
                all.messages += counted.messages;
                all.pings += counted.pings;
            }
            let (messages, pings) = (5, 1);
            assert_eq!(all, Counted { messages, pings }, "in pieces of {size}");
        }
    }
}
