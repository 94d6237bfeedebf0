//! The frames of stored events, each written once.

use trunkline_core::event::{self, RecordKind};
use trunkline_core::frames::opcode;
use trunkline_core::position::Tokens;
use trunkline_core::store::{Batch, Position, Token};
use trunkline_proto::Encoding;
use trunkline_proto::frame::write_with;
use trunkline_proto::message::ServerMessage;

/// The push frames of the record in hand, each encoding written at most once however many
/// connections get it.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) tokens: Tokens,
    /// The record's, and which part of it.
    of: (Position, usize),
    json: Option<PushFrame>,
    proto: Option<PushFrame>,
    spare: Vec<Vec<u8>>,
}

/// A push, encoded and framed.
#[derive(Debug)]
pub(crate) struct PushFrame {
    /// The frame.
    pub(crate) frame: Vec<u8>,
    /// How many bytes of it are the header.
    pub(crate) header: usize,
    /// What it is.
    pub(crate) kind: RecordKind,
}

impl Frames {
    pub(crate) fn new(tokens: Tokens) -> Self {
        Self {
            tokens,
            of: (Position::ZERO, 0),
            json: None,
            proto: None,
            spare: Vec::new(),
        }
    }

    /// The push of a part of the record at `position` of `batch`; `None` for a kind of a later
    /// version.
    pub(crate) fn push(
        &mut self,
        batch: &Batch,
        (position, part): (Position, usize),
        encoding: Encoding,
    ) -> Option<&PushFrame> {
        if self.of != (position, part) {
            self.of = (position, part);
            let old = [self.json.take(), self.proto.take()];
            self.spare
                .extend(old.into_iter().flatten().map(|push| push.frame));
        }
        let slot = match encoding {
            Encoding::Json => &mut self.json,
            Encoding::Proto => &mut self.proto,
        };
        if slot.is_none() {
            let mut pos = Token::default();
            let record = batch.record_at(position);
            let kind = RecordKind::of(&record)?;
            let push = event::push(&record, part, &mut self.tokens, &mut pos)?;
            let mut frame = self.spare.pop().unwrap_or_default();
            frame.clear();
            let mut payload = 0;
            let message = ServerMessage::Push(push);
            write_with(&mut frame, opcode(encoding), None, |out| {
                let start = out.len();
                encoding.encode_server(&message, out);
                payload = out.len() - start;
            });
            *slot = Some(PushFrame {
                header: frame.len() - payload,
                frame,
                kind,
            });
        }
        slot.as_ref()
    }
}
