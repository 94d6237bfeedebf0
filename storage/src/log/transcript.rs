//! Transcripts: the content of a batch, in a form that another store of the same log takes.
//!
//! A transcript has no part that belongs to one store alone: no checksum, no session, and nothing about what
//! is durable. All numbers are little-endian. `docs/storage-format.md` has the layout as a table.
//!
//! States that are apart have checksums of their own inside the record. A transcript has such a record with its states
//! together, and says that they are apart. Each store makes the frames of the states itself.

use crate::TimelineId;
use crate::log::batch::Batch;
use crate::log::frame::{self, FrameHeader, FrameKind};
use crate::log::record::{self, Record, StateEntry};

/// The bytes of a frame before its payload.
const HEAD: usize = 5;

const RECORD: u8 = 0;
const RECORD_APART: u8 = 1;
const STATE: u8 = 2;
const SEAL: u8 = 3;

/// Appends the transcript of a batch to `to`. Appends nothing for a batch without frames.
pub(crate) fn write(batch: &Batch, to: &mut Vec<u8>) {
    let mut writes = batch.writes().peekable();
    let Some(first) = writes.peek() else {
        return;
    };
    to.extend_from_slice(&first.position.to_le_bytes());
    for write in writes {
        let mut rest = write.bytes;
        while let Some(header) = FrameHeader::decode_trusted(rest) {
            let payload = &rest[frame::HEADER..frame::HEADER + header.payload_len as usize];
            match header.kind {
                FrameKind::Record => push_record(to, payload),
                FrameKind::State => push(to, STATE, payload),
                FrameKind::Seal => push(to, SEAL, &write.segment.first_of_next().to_le_bytes()),
                // A batch has no such frames.
                FrameKind::Redacted | FrameKind::Inner | FrameKind::Anchor | FrameKind::Hole => {}
            }
            rest = &rest[header.len()..];
        }
    }
}

fn push_record(to: &mut Vec<u8>, payload: &[u8]) {
    match record::decode_payload(0, payload) {
        Some(record) if record.states.are_apart() => {
            let lists = record.lists();
            let draft = record.draft(&lists);
            push_head(to, RECORD_APART, draft.record_bytes());
            record::push_together(to, &draft);
        }
        _ => push(to, RECORD, payload),
    }
}

fn push(to: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    push_head(to, kind, payload.len());
    to.extend_from_slice(payload);
}

fn push_head(to: &mut Vec<u8>, kind: u8, len: usize) {
    to.push(kind);
    to.extend_from_slice(&(len as u32).to_le_bytes());
}

/// A transcript whose form has been checked.
#[derive(Clone, Copy)]
pub(crate) struct Transcript<'a> {
    first: u64,
    frames: &'a [u8],
}

/// One frame of a transcript.
pub(crate) struct TranscriptFrame<'a> {
    /// The position of the frame in every store of the log.
    pub(crate) position: u64,
    /// The position of the frame behind it.
    pub(crate) next: u64,
    pub(crate) content: Content<'a>,
}

/// The content of a frame of a transcript.
pub(crate) enum Content<'a> {
    /// A record, with the payload of its frame.
    Record(Record<'a>, &'a [u8]),
    /// A record whose states are apart in each store.
    Apart(Record<'a>),
    /// The key of a state, with the payload of its frame.
    State(TimelineId, &'a [u8]),
    /// The segment ends, and the log goes on in the next one.
    Seal,
}

impl<'a> Transcript<'a> {
    /// Reads a transcript; `None` if no store wrote it.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (first, frames) = bytes.split_first_chunk()?;
        let transcript = Self {
            first: u64::from_le_bytes(*first),
            frames,
        };
        let mut frames = transcript.frames();
        while frames.next().is_some() {}
        frames.rest.is_empty().then_some(transcript)
    }

    /// Iterates over the frames in the order of the log.
    pub(crate) fn frames(self) -> Frames<'a> {
        Frames {
            at: self.first,
            rest: self.frames,
        }
    }
}

/// The frames of a transcript. The iterator ends before a frame that no store wrote.
pub(crate) struct Frames<'a> {
    /// The position of the next frame.
    at: u64,
    rest: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = TranscriptFrame<'a>;

    fn next(&mut self) -> Option<TranscriptFrame<'a>> {
        let (head, rest) = self.rest.split_first_chunk::<HEAD>()?;
        let [kind, len @ ..] = *head;
        let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(len) as usize)?;
        let position = self.at;
        let behind = |len| position.checked_add(frame::frame_len(len) as u64);
        let (content, next) = match kind {
            RECORD => {
                let record = record::decode_payload(position, payload)?;
                let is_plain = !record.states.are_apart();
                let content = is_plain.then_some(Content::Record(record, payload))?;
                (content, behind(payload.len())?)
            }
            RECORD_APART => {
                let record = record::decode_payload(position, payload)?;
                let is_together = record.states.len() > 0 && !record.states.are_apart();
                let content = is_together.then_some(Content::Apart(record))?;
                let len = record.draft(&record.lists()).bytes_apart();
                (content, behind(len)?)
            }
            STATE => {
                let StateEntry { key, .. } = record::decode_state(payload)?;
                (Content::State(key, payload), behind(payload.len())?)
            }
            SEAL => {
                let next = u64::from_le_bytes(payload.try_into().ok()?);
                (next > position).then_some((Content::Seal, next))?
            }
            _ => return None,
        };
        (self.at, self.rest) = (next, rest);
        Some(TranscriptFrame {
            position,
            next,
            content,
        })
    }
}
