//! The work by which stores are compared, and the process that does it with one store.
//!
//! Each store, a [`Contender`], runs in its own process ([`serve`]), which reads its tasks from
//! standard input, one per line ([`Command`]). So the threads and the memory of one store do not
//! affect the figures of another. Each process can be killed, and idle ones can be stopped. The
//! work itself ([`Work`]) is the same for all stores, message by message.

mod command;
mod contender;
mod serve;
pub mod steady;
mod work;

pub use command::{Command, Reply, Setup};
pub use contender::Contender;
pub use serve::{BEGIN, DONE, serve};
pub use work::{BODY, Entry, Message, READ, Work};
