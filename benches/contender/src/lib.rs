//! The work that stores are compared by, and how a store is given it.
//!
//! Each store, a [`Contender`], runs in a process of its own ([`serve`]) and is told by lines on
//! its standard input what to do next ([`Command`]). So nobody's threads, memory or page cache
//! settings get into another's figures, any of them can be killed, and those that are not at work
//! can be stopped. The work itself ([`Work`]) is the same for all, message by message.

mod command;
mod contender;
mod serve;
mod work;

pub use command::{Command, Reply, Setup};
pub use contender::Contender;
pub use serve::{BEGIN, DONE, serve};
pub use work::{BODY, Entry, Message, READ, Work};
