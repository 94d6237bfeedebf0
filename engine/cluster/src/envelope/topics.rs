//! What nodes tell each other about topics.

use bytes::Bytes;
use trunkline_core::hub::{Since, TopicId};
use trunkline_storage::TimelineId;

use super::form::{Input, Malformed};

const STATE: u8 = 0;
const PUBLISH: u8 = 1;
const TOO_MANY: u8 = 2;

/// A publication that a node has numbered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// The topic.
    pub topic: TopicId,
    /// The position of the publication.
    pub pos: Since,
    /// The push in JSON.
    pub json: Bytes,
    /// The push in protobuf.
    pub proto: Bytes,
}

/// A question to the node that numbers the publications of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The incarnation number of the node that is asked.
    pub to: u64,
    /// The number of the question at the node that asks.
    pub number: u64,
    /// The topic.
    pub topic: TopicId,
    /// The publication to number, in JSON and protobuf without its position; `None` asks for the state of the topic.
    pub publish: Option<[Bytes; 2]>,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The incarnation number of the node that asked.
    pub to: u64,
    /// The number of the question.
    pub number: u64,
    /// The answer.
    pub answer: Answer,
}

/// What a node answers about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The node has as many topics as it may have.
    TooMany,
    /// The position of the publication.
    Published(Since),
    /// The position of the topic, and its latest publications.
    State(Since, Vec<Numbered>),
}

impl Numbered {
    /// Returns the bytes that a publication takes in a message.
    #[must_use]
    pub fn size(&self) -> usize {
        40 + self.json.len() + self.proto.len()
    }
}

pub(super) fn push_numbered(publication: &Numbered, to: &mut Vec<u8>) {
    to.extend_from_slice(&publication.topic.0.to_le_bytes());
    push_pos(publication.pos, to);
    push_push([&publication.json, &publication.proto], to);
}

pub(super) fn read_numbered(input: &mut Input<'_>) -> Result<Numbered, Malformed> {
    let topic = TimelineId(u128::from_le_bytes(input.array()?));
    let pos = read_pos(input)?;
    let [json, proto] = read_push(input)?;
    Ok(Numbered {
        topic,
        pos,
        json,
        proto,
    })
}

fn push_pos(pos: Since, to: &mut Vec<u8>) {
    to.extend_from_slice(&pos.epoch.to_le_bytes());
    to.extend_from_slice(&pos.seq.to_le_bytes());
}

fn read_pos(input: &mut Input<'_>) -> Result<Since, Malformed> {
    let epoch = input.long()?;
    let seq = input.long()?;
    Ok(Since { epoch, seq })
}

/// Appends a push in both encodings, each with its length before it.
pub(super) fn push_push(push: [&Bytes; 2], to: &mut Vec<u8>) {
    for push in push {
        to.extend_from_slice(&(push.len() as u32).to_le_bytes());
        to.extend_from_slice(push);
    }
}

/// Reads what [`push_push`] wrote.
pub(super) fn read_push(input: &mut Input<'_>) -> Result<[Bytes; 2], Malformed> {
    let json = input.int()?;
    let json = input.take(json as usize)?;
    let proto = input.int()?;
    let proto = input.take(proto as usize)?;
    Ok([json, proto])
}

pub(super) fn push_question(question: &Question, to: &mut Vec<u8>) {
    to.extend_from_slice(&question.to.to_le_bytes());
    to.extend_from_slice(&question.number.to_le_bytes());
    to.extend_from_slice(&question.topic.0.to_le_bytes());
    match &question.publish {
        None => to.push(STATE),
        Some([json, proto]) => {
            to.push(PUBLISH);
            push_push([json, proto], to);
        }
    }
}

pub(super) fn read_question(mut input: Input<'_>) -> Result<Question, Malformed> {
    let (to, number) = (input.long()?, input.long()?);
    let topic = TimelineId(u128::from_le_bytes(input.array()?));
    let publish = match input.byte()? {
        STATE => None,
        PUBLISH => Some(read_push(&mut input)?),
        _ => return Err(Malformed::Fields),
    };
    input.close()?;
    Ok(Question {
        to,
        number,
        topic,
        publish,
    })
}

pub(super) fn push_reply(reply: &Reply, to: &mut Vec<u8>) {
    to.extend_from_slice(&reply.to.to_le_bytes());
    to.extend_from_slice(&reply.number.to_le_bytes());
    match &reply.answer {
        Answer::TooMany => to.push(TOO_MANY),
        Answer::Published(pos) => {
            to.push(PUBLISH);
            push_pos(*pos, to);
        }
        Answer::State(pos, kept) => {
            to.push(STATE);
            push_pos(*pos, to);
            kept.iter().for_each(|one| push_numbered(one, to));
        }
    }
}

pub(super) fn read_reply(mut input: Input<'_>) -> Result<Reply, Malformed> {
    let (to, number) = (input.long()?, input.long()?);
    let answer = match input.byte()? {
        TOO_MANY => Answer::TooMany,
        PUBLISH => Answer::Published(read_pos(&mut input)?),
        STATE => {
            let pos = read_pos(&mut input)?;
            let mut kept = Vec::new();
            while !input.is_empty() {
                kept.push(read_numbered(&mut input)?);
            }
            Answer::State(pos, kept)
        }
        _ => return Err(Malformed::Fields),
    };
    input.close()?;
    Ok(Reply { to, number, answer })
}
