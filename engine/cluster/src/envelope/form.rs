//! Fields of messages.

use bytes::Bytes;
use thiserror::Error;

use super::hash::LogId;
use crate::node::{Incarnation, NodeName};

/// The version of the form that this package writes.
pub const VERSION: u8 = 1;

const MARK: [u8; 2] = *b"TL";

/// The reason why a message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The message is not one of a cluster.
    #[error("the message is not one of a Trunkline cluster")]
    Foreign,
    /// A later version of the gateway wrote the message.
    #[error(
        "the message has version {0} of its form, and this gateway knows versions up to {VERSION}"
    )]
    Version(u8),
    /// The message has a kind that does not belong here.
    #[error("the message has kind {0}, which does not belong here")]
    Kind(u8),
    /// The fields of the message do not have the form of their kind.
    #[error("the fields of the message do not have the form of their kind")]
    Fields,
    /// The message is of a node that follows another log.
    #[error("the message is of a node that follows log {0}, another one than this node")]
    OtherLog(LogId),
}

/// Begins a message.
pub(super) fn begin(kind: u8, to: &mut Vec<u8>) {
    to.extend_from_slice(&MARK);
    to.extend_from_slice(&[VERSION, kind]);
}

/// Appends a text of at most 255 bytes with its length before it.
pub(super) fn push_text(text: &str, to: &mut Vec<u8>) {
    debug_assert!(u8::try_from(text.len()).is_ok(), "{text}");
    to.push(text.len() as u8);
    to.extend_from_slice(text.as_bytes());
}

/// Appends an incarnation.
pub(super) fn push_incarnation(of: &Incarnation, to: &mut Vec<u8>) {
    to.extend_from_slice(&of.number.to_le_bytes());
    push_text(of.node.as_str(), to);
}

/// The rest of a message that is read.
#[derive(Debug)]
pub(super) struct Input<'a> {
    message: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads the beginning of a message. Returns its kind and the rest.
    pub(super) fn open(message: &'a Bytes) -> Result<(u8, Self), Malformed> {
        let (mark, rest) = message.split_first_chunk().ok_or(Malformed::Foreign)?;
        if *mark != MARK {
            return Err(Malformed::Foreign);
        }
        match *rest {
            [VERSION, kind, ref rest @ ..] => Ok((kind, Self { message, rest })),
            [version, ..] if version > VERSION => Err(Malformed::Version(version)),
            _ => Err(Malformed::Fields),
        }
    }

    /// Begins to read bytes that have no beginning of their own.
    pub(super) fn of(message: &'a Bytes) -> Self {
        let rest = message;
        Self { message, rest }
    }

    /// Takes `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::Fields)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes a byte.
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    /// Takes a number of two bytes.
    pub(super) fn short(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes a number of four bytes.
    pub(super) fn int(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes a number of eight bytes.
    pub(super) fn long(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes `len` bytes, which share the memory of the message.
    pub(super) fn take(&mut self, len: usize) -> Result<Bytes, Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Fields)?;
        self.rest = rest;
        Ok(self.message.slice_ref(taken))
    }

    /// Takes all that is left, which shares the memory of the message.
    pub(super) fn rest(self) -> Bytes {
        self.message.slice_ref(self.rest)
    }

    /// Returns whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes a text with its length before it.
    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let len = usize::from(self.byte()?);
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Fields)?;
        self.rest = rest;
        std::str::from_utf8(taken).map_err(|_| Malformed::Fields)
    }

    /// Takes an incarnation.
    pub(super) fn incarnation(&mut self) -> Result<Incarnation, Malformed> {
        let number = self.long()?;
        let node: NodeName = self.text()?.parse().map_err(|_| Malformed::Fields)?;
        Ok(Incarnation { node, number })
    }

    /// Ends the reading of a message that must have nothing else.
    pub(super) fn close(self) -> Result<(), Malformed> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Fields)
        }
    }
}
