//! What a group tells, beside its transcript.

use bytes::Bytes;

use super::form::{Input, Malformed};

/// The bytes of an answer in a group before the answer itself.
const RIDER_HEAD: usize = 8 + 8 + 4;

/// Answers of the leader that travel in a group: those of commands that store nothing.
///
/// The answers of one incarnation are in the order of its commands, and all were decided before what the group itself
/// tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rider {
    /// The incarnation number of the node that they are for.
    pub to: u64,
    /// The number that [`Answers`](super::Answers) with the same answers have; 0 if there are none.
    pub number: u64,
    /// The answers.
    pub bytes: Bytes,
}

/// What a group tells, beside its transcript.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Telling {
    /// Answers from before the group.
    pub riders: Vec<Rider>,
    /// What the group tells of its own commands and records.
    pub own: Bytes,
}

impl Telling {
    /// Writes what a group tells.
    ///
    /// # Panics
    /// Answers have 4 GiB or more.
    #[must_use]
    pub fn write(riders: &[Rider], own: &[u8]) -> Vec<u8> {
        let len = |rider: &Rider| RIDER_HEAD + rider.bytes.len();
        let all = riders.iter().map(len).sum::<usize>();
        let mut to = Vec::with_capacity(4 + all + own.len());
        let count = u32::try_from(riders.len()).expect("all of them are shorter than 4 GiB");
        to.extend_from_slice(&count.to_le_bytes());
        for Rider {
            to: node,
            number,
            bytes,
        } in riders
        {
            let len = u32::try_from(bytes.len()).expect("answers are shorter than 4 GiB");
            to.extend_from_slice(&node.to_le_bytes());
            to.extend_from_slice(&number.to_le_bytes());
            to.extend_from_slice(&len.to_le_bytes());
            to.extend_from_slice(bytes);
        }
        to.extend_from_slice(own);
        to
    }

    /// Reads what a group tells. The answers share its memory.
    ///
    /// # Errors
    /// No node has written it.
    pub fn read(told: &Bytes) -> Result<Self, Malformed> {
        let mut input = Input::of(told);
        let count = input.int()? as usize;
        let mut riders = Vec::with_capacity(count.min(told.len() / RIDER_HEAD));
        for _ in 0..count {
            let (to, number, len) = (input.long()?, input.long()?, input.int()?);
            let bytes = input.take(len as usize)?;
            riders.push(Rider { to, number, bytes });
        }
        Ok(Self {
            riders,
            own: input.rest(),
        })
    }
}
