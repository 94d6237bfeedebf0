//! One log for several gateways.
//!
//! Each gateway, a **node**, follows one stream of records and applies the same ones in the same order. One node at
//! a time leads: it decides the commands of all. This package has the rules, without I/O and without a clock. Messages
//! and the time go in, and what counts and what is to be done comes out:
//!
//! - [`envelope`]: the records of the stream, and the messages between nodes, as bytes;
//! - [`chain`]: which records of the stream count, and when a node must stop;
//! - [`lease`]: who leads;
//! - [`forward`]: commands on their way from their node to the leader, and the answers on their way back;
//! - [`ephemeral`]: what nodes tell each other about presence, and events for each other's users.
//!
//! Apart from the rules, [`nats`] carries the bytes of records and messages. Neither knows the other. [`member`] has both: it
//! is what a gateway runs. [`setup`] makes clusters, and looks at them.
//!
//! Times are durations since any fixed moment of a monotonic clock. The clocks of two nodes are never compared.

pub mod chain;
mod draw;
pub mod envelope;
pub mod ephemeral;
pub mod forward;
pub mod lease;
pub mod member;
pub mod nats;
mod node;
pub mod setup;

pub use node::{BadName, Incarnation, NodeName};

// What the rules may say in one message, NATS carries as one.
const _: () = assert!(envelope::MAX_MESSAGE <= nats::RECORD_MAX);
