//! The frames of an ephemeral push, encoded once for all recipients.

use std::sync::atomic::{AtomicU32, Ordering};

use trunkline_proto::Encoding;
use trunkline_proto::frame::write_with;
use trunkline_proto::message::{Event, Push, ServerMessage, TypingUser};

use crate::frames::opcode;

/// The milliseconds after which a user counts as no longer typing.
const TYPING_MS: u64 = 6_000;

/// A push as a frame of each encoding.
#[derive(Debug)]
pub struct PushFrames {
    json: Frame,
    proto: Frame,
    /// The number of shards that count the frames.
    counted: AtomicU32,
}

/// A frame of one encoding.
#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    /// The length of the frame's header in bytes.
    header: usize,
}

impl PushFrames {
    /// Returns the frames of an ephemeral event.
    pub fn new(event: Event<'_>) -> Self {
        let message = ServerMessage::Push(Push { pos: None, event });
        Self::written(|encoding, out| encoding.encode_server(&message, out))
    }

    /// Returns the frames of messages that [`messages`](Self::messages) returned at another node.
    pub fn of_messages(json: &[u8], proto: &[u8]) -> Self {
        Self::written(|encoding, out| {
            out.extend_from_slice(match encoding {
                Encoding::Json => json,
                Encoding::Proto => proto,
            });
        })
    }

    /// Returns the frames of a message that `write` writes in each encoding.
    fn written(write: impl Fn(Encoding, &mut Vec<u8>)) -> Self {
        let frame = |encoding: Encoding| {
            let (mut bytes, mut payload) = (Vec::new(), 0);
            write_with(&mut bytes, opcode(encoding), None, |out| {
                let start = out.len();
                write(encoding, out);
                payload = out.len() - start;
            });
            bytes.shrink_to_fit();
            Frame {
                header: bytes.len() - payload,
                bytes,
            }
        };
        Self {
            json: frame(Encoding::Json),
            proto: frame(Encoding::Proto),
            counted: AtomicU32::new(0),
        }
    }

    /// Returns the frames of a user's typing in a conversation, or with `stop` of its end.
    pub fn typing(conversation: &str, user: &str, stop: bool) -> Self {
        Self::new(Event::Typing(TypingUser {
            conversation: conversation.into(),
            user: user.into(),
            stop,
            expires_ms: if stop { 0 } else { TYPING_MS },
        }))
    }

    /// Returns the frame of one encoding.
    fn get(&self, encoding: Encoding) -> &Frame {
        match encoding {
            Encoding::Json => &self.json,
            Encoding::Proto => &self.proto,
        }
    }

    /// Returns the whole frame in one encoding.
    pub fn frame(&self, encoding: Encoding) -> &[u8] {
        &self.get(encoding).bytes
    }

    /// Returns the encoded message without its frame, for a frame with several messages.
    pub fn message(&self, encoding: Encoding) -> &[u8] {
        let frame = self.get(encoding);
        &frame.bytes[frame.header..]
    }

    /// Returns the encoded message in JSON and in protobuf, for another node.
    pub fn messages(&self) -> [&[u8]; 2] {
        [Encoding::Json, Encoding::Proto].map(|encoding| self.message(encoding))
    }

    /// Returns the memory that the frames take, in bytes.
    pub fn size(&self) -> usize {
        self.json.bytes.len() + self.proto.bytes.len()
    }

    /// Notes that one more shard counts the frames. Returns whether it is the first one. What the first one does before
    /// it ends comes before what the last one does after it.
    pub fn begin_count(&self) -> bool {
        self.counted.fetch_add(1, Ordering::AcqRel) == 0
    }

    /// Notes that one shard less counts the frames. Returns whether it was the last one.
    pub fn end_count(&self) -> bool {
        self.counted.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Replaces the last occurrence of `blank` in both frames with `text`, which has the same length.
    pub(super) fn fill_in(&mut self, blank: &[u8], text: &[u8]) {
        for frame in [&mut self.json, &mut self.proto] {
            let windows = frame.bytes.windows(blank.len());
            if let Some(from_end) = windows.rev().position(|window| window == blank) {
                let end = frame.bytes.len() - from_end;
                frame.bytes[end - blank.len()..end].copy_from_slice(text);
            }
        }
    }
}
