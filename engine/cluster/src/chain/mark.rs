//! The last record that counts, as a node remembers it.

use thiserror::Error;
use trunkline_storage::Position;

use crate::envelope::{Hash, LogId};
use crate::node::{Incarnation, NodeName};

/// The last record that counts, and what it says of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The log.
    pub log: LogId,
    /// The sequence of the record in the stream, at least 1.
    pub sequence: u64,
    /// The hash of the record.
    pub hash: Hash,
    /// The current epoch; 0 before the first.
    pub epoch: u64,
    /// The index of the last group; 0 before the first.
    pub index: u64,
    /// The node that leads in the epoch; `None` before the first.
    pub author: Option<Incarnation>,
    /// Where every store goes on that has the log up to the record; `None` if the node does not know it.
    pub end: Option<Position>,
}

/// The error of a mark that no node has written whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "what the node remembers of the log is damaged: remove the node's folder, and let it join again"
)]
pub struct BadMark;

const FORM: [u8; 4] = *b"TLM\x02";

/// A form that has no end.
const WITHOUT_END: [u8; 4] = *b"TLM\x01";

/// The bytes of a mark before the name of the author.
const HEAD: usize = 4 + 8 + 8 + 16 + 8 + 8 + 8;

impl Mark {
    /// Returns the mark as bytes for the disk:
    ///
    /// | bytes | what |
    /// |---|---|
    /// | 4 | `TLM` and the version: 2 |
    /// | 8 | the log |
    /// | 8 | the sequence |
    /// | 16 | the hash |
    /// | 8 | the epoch |
    /// | 8 | the index |
    /// | 8 | the end of the log in the store; 0 if it is not known. Version 1 does not have it |
    /// | 0, or 8 + n | the author's incarnation number and name, if there is one |
    /// | 4 | CRC-32C of all before it |
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(HEAD + 48);
        to.extend_from_slice(&FORM);
        to.extend_from_slice(&self.log.0.to_le_bytes());
        to.extend_from_slice(&self.sequence.to_le_bytes());
        to.extend_from_slice(&self.hash.0);
        to.extend_from_slice(&self.epoch.to_le_bytes());
        to.extend_from_slice(&self.index.to_le_bytes());
        to.extend_from_slice(&self.end.map_or(0, |end| end.0).to_le_bytes());
        if let Some(author) = &self.author {
            to.extend_from_slice(&author.number.to_le_bytes());
            to.extend_from_slice(author.node.as_str().as_bytes());
        }
        to.extend_from_slice(&crc32c::crc32c(&to).to_le_bytes());
        to
    }

    /// Reads a mark.
    ///
    /// # Errors
    /// No node has written it, or not whole.
    pub fn read(bytes: &[u8]) -> Result<Self, BadMark> {
        Self::parse(bytes).ok_or(BadMark)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        let is_whole = crc32c::crc32c(content) == u32::from_le_bytes(*crc);
        let (form, content) = content.split_first_chunk().filter(|_| is_whole)?;
        let has_end = *form == FORM;
        if !has_end && *form != WITHOUT_END {
            return None;
        }
        let (log, rest) = content.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (end, rest) = match has_end {
            true => rest.split_first_chunk()?,
            false => (&[0; 8], rest),
        };
        let author = match rest {
            [] => None,
            _ => {
                let (number, name) = rest.split_first_chunk()?;
                let node: NodeName = std::str::from_utf8(name).ok()?.parse().ok()?;
                let number = u64::from_le_bytes(*number);
                Some(Incarnation { node, number })
            }
        };
        let sequence = u64::from_le_bytes(*sequence);
        (sequence > 0).then_some(Self {
            log: LogId(u64::from_le_bytes(*log)),
            sequence,
            hash: Hash(*hash),
            epoch: u64::from_le_bytes(*epoch),
            index: u64::from_le_bytes(*index),
            author,
            end: Some(Position(u64::from_le_bytes(*end))).filter(|end| end.0 > 0),
        })
    }
}
