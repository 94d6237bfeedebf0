//! A copy of an open store on its way to another folder, as a stream of bytes.
//!
//! The sender chooses one moment as a [backup](super::backup) does, and sends the files of that moment. It makes no files:
//! a sender that dies leaves nothing. The receiver writes into a folder with `.partial` behind its name, and gives
//! the folder its name once everything has come and is durable. A stream that ends early, or of which a byte is
//! not what was sent, leaves nothing.
//!
//! The folder is that of a store with the same log, not of a restored one: positions that the store keeps stay good.

pub(crate) mod form;
mod receive;
mod send;

pub use self::receive::{CopyError, Received};
pub use self::send::Sent;
