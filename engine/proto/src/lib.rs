//! The Trunkline client protocol and WebSocket framing, without I/O.
//!
//! Bytes go in, events and bytes come out. Nothing here opens a socket or reads a clock. The
//! gateway, the load generator and the tests use the same code:
//!
//! - [`handshake`]: the HTTP upgrade, for server and client;
//! - [`origin`]: which web pages may ask for the upgrade;
//! - [`proxy`]: who the client behind a reverse proxy is;
//! - [`connection`]: RFC 6455 framing of one connection, for server and client;
//! - [`message`]: the messages between client and server;
//! - `tls`: TLS records, for server and client, with the feature of that name;
//! - [`Encoding`]: messages as JSON or protobuf, chosen by sub-protocol.

pub mod connection;
pub mod encoding;
pub mod error;
pub mod frame;
pub mod handshake;
pub mod json;
mod json_text;
pub mod mask;
mod media;
pub mod message;
pub mod names;
pub mod object;
pub mod origin;
pub mod protobuf;
pub mod proxy;
pub mod schema;
mod text;
#[cfg(feature = "tls")]
pub mod tls;

pub use encoding::Encoding;
pub use error::{BadCommand, CloseCode, DecodeError, ErrorCode};
pub use text::Str;
