//! The records of the stream, and the messages between nodes, as bytes.
//!
//! All numbers are little-endian. Reading takes a message only if writing would make the same bytes. It takes no
//! memory for the bytes of commands and groups, which share that of the message, and at most ten times the length of
//! the message for the rest: a batch of commands without content takes the most. Each message begins with four bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 2 | `TL` |
//! | 1 | the version of the form: 1 |
//! | 1 | the kind: see below |
//!
//! # Records of the stream
//!
//! **Genesis** (1), the first record of each stream:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | the key of the stores ([`Origin::key`](trunkline_storage::Origin::key)) |
//! | 16 | the key of positions ([`Origin::history`](trunkline_storage::Origin::history)) |
//! | 8 | the length of a segment of the stores, in bytes |
//! | 8 | the wire time at which the log was made, in milliseconds since 1970 |
//! | 1 + n | the name of the cluster, with its length before it |
//!
//! **Genesis of a store** (4), the first record of a stream whose log begins with a store that was alone before:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the position of the last record of that store, not 0 |
//! | … | as in a genesis |
//!
//! The others begin with what their author knew of the stream ([`Link`]). The log comes first in all versions, so that a node
//! knows whether a record that it cannot read is one of its log.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the log: the first eight bytes of the hash of its genesis |
//! | 8 | the sequence of the stream that the author expected last when it published |
//! | 16 | the hash of the record before: the last that counts, or for parts but the first the part before |
//! | 8 | the epoch: for an epoch record the one that it begins |
//! | 8 | the index: for an epoch record that of the last group before it, for a part that of its group |
//!
//! An **epoch record** (2) goes on with its author:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the number of the incarnation |
//! | 1 + n | the name of the node, with its length before it |
//!
//! A **part of a group** (3) goes on with:
//!
//! | bytes | what |
//! |---|---|
//! | 2 | the number of the part, from 0 |
//! | 2 | the number of parts of the group |
//! | 8 | first part: wire time minus steady time in milliseconds, signed |
//! | 4 | first part: the length of the transcript, over all parts |
//! | 4 | first part: the length of what the group tells, over all parts |
//! | n | a piece of the transcript with what the group tells behind it |
//!
//! What a group tells begins with the answers that travel in it ([`Telling`]):
//!
//! | bytes | what |
//! |---|---|
//! | 4 | how many answers |
//! | each: 8 | the incarnation that they are for |
//! | 8 | their number in this epoch for that incarnation; 0 if they have none |
//! | 4 + n | the answers, with their length before them |
//! | n | what the group tells of its own commands and records |
//!
//! # Messages between nodes
//!
//! Messages between nodes are not stored. Each message begins with its sender ([`Sender`]):
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the log |
//! | 8 | the epoch |
//! | 8 | the number of the incarnation |
//! | 1 + n | the name of the node, with its length before it |
//!
//! | kind | bytes | what |
//! |---|---|---|
//! | **heartbeat** (16) | 8 | its number in this incarnation |
//! | | 8 | the index of the last group that the node has taken |
//! | | 1 | 0: the node does not lead; 1: it leads; 2: it has just stopped leading in order |
//! | **batch** of commands (17) | 8 | its number in this incarnation and epoch, from 1 |
//! | | 8 | the number of the last heartbeat of the leader that the node has heard |
//! | | n | for each command its number (8), its length (4) and its bytes |
//! | **answers** (18) | 8 | the incarnation that they are for |
//! | | 8 | their number in this epoch for that incarnation, from 1 |
//! | | 8 | the index of the last group before the decision |
//! | | n | the answers |
//! | **receipt** of batches (19) or of answers (20) | 8 | the incarnation that it is for |
//! | | 8 | the number up to which all have come |
//! | **order to step down** (21) | 8 | the incarnation of the leader. The epoch is the one to end |
//! | **order** (32) | 8 | its number in this incarnation |
//! | | n | the order |
//! | **answer** to an order (33) | 8 | the incarnation that it is for |
//! | | 8 | the number of the order |
//! | | n | the answer |

//!
//! # Messages about ephemeral state
//!
//! Messages about ephemeral state are not stored either. Each begins with its sender:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the log |
//! | 8 | the number of the incarnation |
//! | 1 + n | the name of the node, with its length before it |
//!
//! | kind | bytes | what |
//! |---|---|---|
//! | **users** (48), to all | 8 | its number in this incarnation, from 1 |
//! | | 1 | 1: a list of all users begins here; 2: it ends here; 3: both; 0: neither |
//! | | 4 + n | users who came or left, with their number before them |
//! | | 4 + n | publications that the node has numbered, with their number before them |
//! | | n | pieces of the list until the end |
//! | **question** (49), to one node | 8 | the incarnation that is asked for a list |
//! | **end** (50), to all | 0 | the node has no users any more |
//! | **events** (51), to one node | n | events for its users, until the end |
//! | **question** about a topic (52), to one node | 8 | the incarnation that is asked |
//! | | 8 | the number of the question |
//! | | 16 | the topic |
//! | | 1 | 0: what is its state; 1: number this publication |
//! | | n | with 1, the push without its position, in both encodings as in an event |
//! | **reply** (53), to one node | 8 | the incarnation that asked |
//! | | 8 | the number of the question |
//! | | 1 | 0: the state; 1: the position of the publication; 2: there are too many topics |
//! | | 16 | unless 2, the epoch and the number of the position |
//! | | n | with 0, the latest publications until the end |
//!
//! A piece of a list has a stripe (1), the first and the last id of a user that it is about (16 each), and the users
//! there, with their number before them (4). A user is:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | the id |
//! | 4 | the milliseconds since a connection ended last, and one more; 0: not known |
//! | 1 | the number of devices |
//! | 4 each | the marks of the devices |
//!
//! A publication is its topic (16), the epoch (8) and the number (8) of its position, and the push in both encodings as in an
//! event. An event is:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 1: a connection with other data waiting does not get it; otherwise 0 |
//! | 2 | the number of users |
//! | 16 each | the ids of the users |
//! | 4 + n | the push in JSON, with its length before it |
//! | 4 + n | the push in protobuf, with its length before it |

mod aside;
mod between;
mod form;
mod hash;
mod orders;
mod record;
mod telling;
mod topics;

pub use aside::{Aside, AsideContent, Event, Users};
pub use between::{
    Answers, Batch, Beat, Command, Message, Receipt, Received, Sender, Standing, StepDown,
};
pub use form::{Malformed, VERSION};
pub use hash::{Hash, LogId};
pub use orders::Ordered;
pub use record::{Draft, Epoch, Genesis, Head, Link, MAX_GROUP, MAX_PARTS, Part, Record, TooLong};
pub use telling::{Rider, Telling};
pub use topics::{Answer, Numbered, Question, Reply};

/// The most bytes of a message that NATS takes, less room for its headers.
pub const MAX_MESSAGE: usize = (1 << 20) - (1 << 10);
