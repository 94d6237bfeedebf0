//! WebSocket frames (RFC 6455 §5), for both roles: a stream means the same however it is cut.
//!
//! Input: one byte (bit 0: role; others: the limit of a message), one byte with the length of the
//! pieces, the stream.

use trunkline_proto::connection::{Connection, Event, Role};
use trunkline_proto::frame::{FrameError, MAX_CONTROL};

use crate::bytes::Bytes;

/// What a connection owns beside the bytes of a message: its own fields and one control frame.
const OVERHEAD: usize = 1_024 + MAX_CONTROL;

/// What the connection made of a stream.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// The events, as text.
    events: Vec<String>,
    error: Option<FrameError>,
}

pub(crate) fn feed(input: &[u8]) {
    let mut input = Bytes(input);
    let first = input.byte();
    let role = if first & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let limit = usize::from(first >> 1) * 16;
    let piece = usize::from(input.byte()).max(1);
    let whole = outcome(role, limit, input.0, input.0.len().max(1));
    for piece in [piece, 1] {
        let cut = outcome(role, limit, input.0, piece);
        assert_eq!(cut, whole, "{role:?}, limit {limit}, pieces of {piece}");
    }
}

fn outcome(role: Role, limit: usize, stream: &[u8], piece: usize) -> Outcome {
    let mut connection = Connection::new(role);
    let mut outcome = Outcome::default();
    for piece in stream.chunks(piece) {
        let mut owned = piece.to_vec();
        let mut rest = owned.as_mut_slice();
        loop {
            match connection.receive(&mut rest, limit) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    if let Event::Message(_, payload) = &event {
                        assert!(payload.len() <= limit, "{} bytes", payload.len());
                    }
                    let closed = matches!(event, Event::Close(..));
                    outcome.events.push(format!("{event:?}"));
                    if closed {
                        return outcome;
                    }
                }
                Err(error) => {
                    // What a close code says is looked up for every error.
                    let _ = error.close_code();
                    outcome.error = Some(error);
                    return outcome;
                }
            }
        }
        assert!(rest.is_empty(), "{} bytes are not read", rest.len());
        let held = connection.buffered();
        assert!(held <= 2 * limit + OVERHEAD, "{held} bytes for {limit}");
    }
    outcome
}
