//! Orders between nodes, and their answers. This package passes the content on and does not read it.

use bytes::Bytes;

use super::between::Sender;
use super::form::{self, Input, Malformed};
use super::hash::LogId;

const ORDER: u8 = 32;
const ANSWER: u8 = 33;

/// An order of one node to others, or the answer to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The sender.
    pub from: Sender,
    /// The incarnation number of the node that gave the order; `None` if this is an order.
    pub answers: Option<u64>,
    /// The number of the order in the incarnation of the node that gave it.
    pub number: u64,
    /// The order, or the answer.
    pub bytes: Bytes,
}

impl Ordered {
    /// Writes the message.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let mut to = Vec::with_capacity(96 + self.bytes.len());
        form::begin(self.answers.map_or(ORDER, |_| ANSWER), &mut to);
        to.extend_from_slice(&self.from.log.0.to_le_bytes());
        to.extend_from_slice(&self.from.epoch.to_le_bytes());
        form::push_incarnation(&self.from.node, &mut to);
        if let Some(answers) = self.answers {
            to.extend_from_slice(&answers.to_le_bytes());
        }
        to.extend_from_slice(&self.number.to_le_bytes());
        to.extend_from_slice(&self.bytes);
        to.into()
    }

    /// Reads a message. The order or the answer shares its memory.
    ///
    /// # Errors
    /// The message is no order and no answer to one, or is one of a later version.
    pub fn read(message: &Bytes) -> Result<Self, Malformed> {
        let (kind, mut input) = Input::open(message)?;
        if !(ORDER..=ANSWER).contains(&kind) {
            return Err(Malformed::Kind(kind));
        }
        let from = Sender {
            log: LogId(input.long()?),
            epoch: input.long()?,
            node: input.incarnation()?,
        };
        let answers = match kind {
            ANSWER => Some(input.long()?),
            _ => None,
        };
        Ok(Self {
            from,
            answers,
            number: input.long()?,
            bytes: input.rest(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Incarnation;

    #[test]
    fn orders_and_answers_are_read_as_they_were_written() {
        let from = Sender {
            log: LogId(7),
            epoch: 3,
            node: Incarnation {
                node: "a".parse().unwrap(),
                number: 9,
            },
        };
        for answers in [None, Some(5)] {
            for bytes in [&b""[..], b"some order"] {
                let ordered = Ordered {
                    from,
                    answers,
                    number: 11,
                    bytes: Bytes::copy_from_slice(bytes),
                };
                let written = ordered.write();
                assert_eq!(Ordered::read(&written), Ok(ordered));
                let head = written.len() - bytes.len();
                for cut in 0..head {
                    assert!(Ordered::read(&written.slice(..cut)).is_err(), "{cut}");
                }
            }
        }
    }
}
