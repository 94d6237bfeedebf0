//! Records of the stream.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;
use trunkline_storage::{Origin, StoreKey};

use super::form::{self, Input, Malformed};
use super::hash::{Hash, LogId};
use crate::node::{Incarnation, NodeName};

const GENESIS: u8 = 1;
const EPOCH: u8 = 2;
const PART: u8 = 3;
const GENESIS_OF_STORE: u8 = 4;

/// The most parts of a group.
pub const MAX_PARTS: usize = 128;

/// The most bytes of a group, transcript and what it tells together: the longest batch of a store, and as much again
/// for what belongs to it.
pub const MAX_GROUP: usize = 120 << 20;

/// The shortest message that a group may be cut into.
const MIN_MESSAGE: usize = 512;

// A group of full messages fits in its parts.
const _: () = assert!((super::MAX_MESSAGE - MIN_MESSAGE) * MAX_PARTS >= MAX_GROUP);
// Lengths of a group are written in four bytes, and the number of its parts in two.
const _: () = assert!(MAX_GROUP < u32::MAX as usize && MAX_PARTS < u16::MAX as usize);

/// A record of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The first record.
    Genesis(Genesis),
    /// An epoch begins.
    Epoch(Epoch),
    /// A group, or a part of one.
    Part(Part),
}

impl Record {
    /// Reads a record. Pieces of groups share the memory of the message.
    ///
    /// # Errors
    /// The message is no record, or one of a later version.
    pub fn read(message: &Bytes) -> Result<Self, Malformed> {
        let (kind, mut input) = Input::open(message)?;
        match kind {
            GENESIS => Genesis::read(input, 0).map(Self::Genesis),
            GENESIS_OF_STORE => {
                let from = input.long()?;
                // One that began with nothing has the other form.
                if from == 0 {
                    return Err(Malformed::Fields);
                }
                Genesis::read(input, from).map(Self::Genesis)
            }
            EPOCH => Epoch::read(input).map(Self::Epoch),
            PART => Part::read(input).map(Self::Part),
            other => Err(Malformed::Kind(other)),
        }
    }

    /// Writes the record.
    #[must_use]
    pub fn write(&self) -> Bytes {
        match self {
            Self::Genesis(genesis) => genesis.write(),
            Self::Epoch(epoch) => epoch.write(),
            Self::Part(part) => part.write(),
        }
    }
}

/// The first record of a log: what all nodes share.
#[derive(Clone, PartialEq, Eq)]
pub struct Genesis {
    /// The key with which the stores make ids of timelines. It is secret.
    pub key: [u8; 16],
    /// The key that proves positions. It is secret.
    pub history: [u8; 16],
    /// The length of a segment of each store, in bytes.
    pub segment_bytes: u64,
    /// The wire time at which the log was made, in milliseconds since 1970.
    pub made: u64,
    /// The name of the cluster: it has the form of a node's.
    pub cluster: NodeName,
    /// The position of the last record of the store with which the log began; 0 if it began with nothing.
    pub from: u64,
}

impl Genesis {
    /// Returns what a store of this log is opened with.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        Origin {
            key: StoreKey::from_bytes(self.key),
            history: self.history,
        }
    }

    /// Writes the record.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let mut to = Vec::with_capacity(96);
        let kind = if self.from == 0 {
            GENESIS
        } else {
            GENESIS_OF_STORE
        };
        form::begin(kind, &mut to);
        if self.from != 0 {
            to.extend_from_slice(&self.from.to_le_bytes());
        }
        to.extend_from_slice(&self.key);
        to.extend_from_slice(&self.history);
        to.extend_from_slice(&self.segment_bytes.to_le_bytes());
        to.extend_from_slice(&self.made.to_le_bytes());
        form::push_text(self.cluster.as_str(), &mut to);
        to.into()
    }

    fn read(mut input: Input<'_>, from: u64) -> Result<Self, Malformed> {
        let genesis = Self {
            key: input.array()?,
            history: input.array()?,
            segment_bytes: input.long()?,
            made: input.long()?,
            cluster: input.text()?.parse().map_err(|_| Malformed::Fields)?,
            from,
        };
        input.close()?;
        Ok(genesis)
    }
}

impl fmt::Debug for Genesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the keys: who knows them can forge positions.
        f.debug_struct("Genesis")
            .field("cluster", &self.cluster)
            .field("segment_bytes", &self.segment_bytes)
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}

/// What the author of a record knew of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    /// The log.
    pub log: LogId,
    /// The sequence of the stream that the author expected last when it published.
    pub after: u64,
    /// The hash of the record before.
    pub before: Hash,
}

/// Writes what epoch records and parts begin with.
fn begin(kind: u8, link: &Link, epoch: u64, index: u64, to: &mut Vec<u8>) {
    form::begin(kind, to);
    to.extend_from_slice(&link.log.0.to_le_bytes());
    to.extend_from_slice(&link.after.to_le_bytes());
    to.extend_from_slice(&link.before.0);
    to.extend_from_slice(&epoch.to_le_bytes());
    to.extend_from_slice(&index.to_le_bytes());
}

/// Reads what epoch records and parts begin with: link, epoch and index.
fn read_begin(input: &mut Input<'_>) -> Result<(Link, u64, u64), Malformed> {
    let link = Link {
        log: LogId(input.long()?),
        after: input.long()?,
        before: Hash(input.array()?),
    };
    Ok((link, input.long()?, input.long()?))
}

/// The record with which a node begins to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// What the author knew of the stream.
    pub link: Link,
    /// The epoch that begins.
    pub epoch: u64,
    /// The index of the last group before.
    pub index: u64,
    /// The node that leads in this epoch.
    pub author: Incarnation,
}

impl Epoch {
    /// Writes the record.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let mut to = Vec::with_capacity(96);
        begin(EPOCH, &self.link, self.epoch, self.index, &mut to);
        form::push_incarnation(&self.author, &mut to);
        to.into()
    }

    fn read(mut input: Input<'_>) -> Result<Self, Malformed> {
        let (link, epoch, index) = read_begin(&mut input)?;
        let author = input.incarnation()?;
        input.close()?;
        Ok(Self {
            link,
            epoch,
            index,
            author,
        })
    }
}

/// A group, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What the author knew of the stream.
    pub link: Link,
    /// The epoch in which the author leads.
    pub epoch: u64,
    /// The index of the group: 1 for the first of the log.
    pub index: u64,
    /// The number of the part: `0 <= part < of`.
    pub part: u16,
    /// The number of parts of the group: `1 <= of <= MAX_PARTS`.
    pub of: u16,
    /// What the first part says of the group; `None` in others.
    pub head: Option<Head>,
    /// The piece of the group's content. It is empty only in a group without content.
    pub piece: Bytes,
}

/// What the first part of a group says of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Wire time minus steady time, in milliseconds.
    pub ahead: i64,
    /// The length of the transcript.
    pub transcript: u32,
    /// The length of what the group tells.
    pub told: u32,
}

impl Head {
    /// Returns the length of the group's content.
    #[must_use]
    pub const fn len(&self) -> usize {
        // Two lengths of four bytes.
        (self.transcript as u64 + self.told as u64) as usize
    }

    /// Returns whether the group has no content.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Part {
    /// The bytes of a part before its piece.
    const HEAD: usize = 4 + 48 + 4;

    /// Writes the record.
    #[must_use]
    pub fn write(&self) -> Bytes {
        self.write_with(&self.piece, &[])
    }

    /// Writes the record with the piece `front` and `back`.
    fn write_with(&self, front: &[u8], back: &[u8]) -> Bytes {
        let mut to = Vec::with_capacity(Self::HEAD + 16 + front.len() + back.len());
        begin(PART, &self.link, self.epoch, self.index, &mut to);
        to.extend_from_slice(&self.part.to_le_bytes());
        to.extend_from_slice(&self.of.to_le_bytes());
        if let Some(head) = &self.head {
            to.extend_from_slice(&head.ahead.to_le_bytes());
            to.extend_from_slice(&head.transcript.to_le_bytes());
            to.extend_from_slice(&head.told.to_le_bytes());
        }
        to.extend_from_slice(front);
        to.extend_from_slice(back);
        to.into()
    }

    fn read(mut input: Input<'_>) -> Result<Self, Malformed> {
        let (link, epoch, index) = read_begin(&mut input)?;
        let (part, of) = (input.short()?, input.short()?);
        let head = if part == 0 {
            Some(Head {
                ahead: i64::from_le_bytes(input.array()?),
                transcript: input.int()?,
                told: input.int()?,
            })
        } else {
            None
        };
        let piece = input.rest();
        let is_whole = head.is_some_and(|head| head.len() == piece.len());
        let fits = head.is_none_or(|head| head.len() <= MAX_GROUP && piece.len() <= head.len());
        // A group ends with its last part, and no other part has all of it.
        let ends = if part == 0 {
            is_whole == (of == 1) && (is_whole || !piece.is_empty())
        } else {
            !piece.is_empty()
        };
        let counts = part < of && usize::from(of) <= MAX_PARTS;
        if !(fits && ends && counts) {
            return Err(Malformed::Fields);
        }
        Ok(Self {
            link,
            epoch,
            index,
            part,
            of,
            head,
            piece,
        })
    }
}

/// A group that is not cut into parts yet.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// What the author knows of the stream.
    pub link: Link,
    /// The epoch in which the author leads.
    pub epoch: u64,
    /// The index of the group.
    pub index: u64,
    /// Wire time minus steady time, in milliseconds.
    pub ahead: i64,
    /// The transcript of the batch.
    pub transcript: &'a [u8],
    /// What the group tells beside it.
    pub told: &'a [u8],
}

/// The error of a group that is longer than [`MAX_GROUP`], or has more parts than [`MAX_PARTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a group of {0} bytes is too long for the log: a batch of this length cannot be replicated"
)]
pub struct TooLong(pub usize);

impl Draft<'_> {
    /// Cuts the group into messages of up to `most` bytes, for the stream in this order. Each is expected behind the
    /// one before it.
    ///
    /// # Errors
    /// The group is too long.
    ///
    /// # Panics
    /// `most` is less than 512.
    pub fn cut(&self, most: usize) -> Result<Vec<Bytes>, TooLong> {
        assert!(most >= MIN_MESSAGE, "messages of {most} bytes");
        let len = self.transcript.len() + self.told.len();
        let first = most - Part::HEAD - 16;
        let others = most - Part::HEAD;
        let of = 1 + len.saturating_sub(first).div_ceil(others);
        if len > MAX_GROUP || of > MAX_PARTS {
            return Err(TooLong(len));
        }
        let mut messages: Vec<Bytes> = Vec::with_capacity(of);
        let mut link = self.link;
        let mut from = 0;
        for part in 0..of {
            let to = len.min(from + if part == 0 { first } else { others });
            let at = |end: usize| end.min(self.transcript.len());
            let told = |end: usize| end.saturating_sub(self.transcript.len());
            let message = Part {
                link,
                epoch: self.epoch,
                index: self.index,
                part: part as u16,
                of: of as u16,
                head: (part == 0).then_some(Head {
                    ahead: self.ahead,
                    transcript: self.transcript.len() as u32,
                    told: self.told.len() as u32,
                }),
                piece: Bytes::new(),
            }
            .write_with(
                &self.transcript[at(from)..at(to)],
                &self.told[told(from)..told(to)],
            );
            link.after += 1;
            link.before = Hash::of(&message);
            messages.push(message);
            from = to;
        }
        Ok(messages)
    }
}
