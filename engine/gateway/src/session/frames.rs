//! The frames of stored events, each encoded once.

use trunkline_core::event::{RecordKind, push};
use trunkline_core::frames::opcode;
use trunkline_core::position::Tokens;
use trunkline_core::store::{Batch, Position, Token};
use trunkline_proto::Encoding;
use trunkline_proto::frame::write_with;
use trunkline_proto::message::ServerMessage;

use crate::shared::{Encoded, SHARED_BYTES, SharedBytes, SharedFrame};

/// One event of a committed batch: a record, and which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventRef {
    /// The position of the record.
    pub(crate) position: Position,
    /// The number of the part, from 0. Most records have one part.
    pub(crate) part: usize,
}

impl EventRef {
    /// Returns the first part of a record.
    pub(crate) const fn first(position: Position) -> Self {
        Self { position, part: 0 }
    }
}

/// The push frames of one stored event. Each encoding is written at most once, however many
/// connections get it.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Writes positions as clients see them.
    pub(crate) tokens: Tokens,
    /// Counts the frames that connections share.
    counted: SharedBytes,
    /// The event that the frames are of.
    of: EventRef,
    json: Option<PushFrame>,
    proto: Option<PushFrame>,
    spare: Vec<Vec<u8>>,
}

/// A push, encoded and framed.
#[derive(Debug)]
pub(crate) struct PushFrame {
    /// The frame.
    frame: Vec<u8>,
    /// The number of bytes of the frame's header.
    header: usize,
    /// The kind of the record.
    pub(crate) kind: RecordKind,
    /// The frame for connections that share it, where it is large.
    shared: Option<SharedFrame>,
}

impl PushFrame {
    /// Returns the push as connections send it.
    pub(crate) fn encoded(&self) -> Encoded<'_> {
        Encoded {
            frame: &self.frame,
            message: &self.frame[self.header..],
            shared: self.shared.as_ref(),
        }
    }
}

impl Frames {
    /// Makes the frames of no event. `counted` counts frames that connections share.
    pub(crate) fn new(tokens: Tokens, counted: SharedBytes) -> Self {
        Self {
            tokens,
            counted,
            of: EventRef::first(Position::ZERO),
            json: None,
            proto: None,
            spare: Vec::new(),
        }
    }

    /// Forgets large frames of the last event, which count as long as they exist.
    pub(crate) fn forget_large(&mut self) {
        let large = |push: &Option<PushFrame>| {
            let push = push.as_ref();
            push.is_some_and(|push| push.shared.is_some())
        };
        if large(&self.json) || large(&self.proto) {
            self.of = EventRef::first(Position::ZERO);
            self.json = None;
            self.proto = None;
        }
    }

    /// Returns the push of an event of `batch`. Returns `None` for a kind of record that a later
    /// version of the gateway wrote.
    #[inline]
    pub(crate) fn push(
        &mut self,
        batch: &Batch,
        event: EventRef,
        encoding: Encoding,
    ) -> Option<&PushFrame> {
        // Each recipient but the first one of an encoding finds it here.
        if self.of != event || self.made(encoding).is_none() {
            let made = self.make(batch, event, encoding);
            *self.made(encoding) = made;
        }
        self.made(encoding).as_ref()
    }

    #[inline]
    const fn made(&mut self, encoding: Encoding) -> &mut Option<PushFrame> {
        match encoding {
            Encoding::Json => &mut self.json,
            Encoding::Proto => &mut self.proto,
        }
    }

    /// Encodes an event. Forgets the frames of another one.
    #[inline(never)]
    fn make(&mut self, batch: &Batch, event: EventRef, encoding: Encoding) -> Option<PushFrame> {
        if self.of != event {
            self.of = event;
            let old = [self.json.take(), self.proto.take()];
            self.spare
                .extend(old.into_iter().flatten().map(|push| push.frame));
        }
        let mut pos = Token::default();
        let record = batch.record_at(event.position);
        let kind = RecordKind::of(&record)?;
        let push = push(&record, event.part, &mut self.tokens, &mut pos)?;
        let mut frame = self.spare.pop().unwrap_or_default();
        frame.clear();
        let mut payload = 0;
        let message = ServerMessage::Push(push);
        write_with(&mut frame, opcode(encoding), None, |out| {
            let start = out.len();
            encoding.encode_server(&message, out);
            payload = out.len() - start;
        });
        let shared = (frame.len() >= SHARED_BYTES).then(|| self.counted.share(&frame));
        Some(PushFrame {
            shared,
            header: frame.len() - payload,
            frame,
            kind,
        })
    }
}
