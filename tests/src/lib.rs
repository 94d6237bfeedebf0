//! Tests of the whole of Trunkline, and their helpers.
//!
//! - [`gateway`]: a real `trunkline serve`, started, stopped, killed and started again;
//! - [`client`]: a blocking client that shows everything it was told;
//! - [`http`]: the control port;
//! - [`service`]: a gateway with tokens;
//! - [`tls`]: certificates, and clients that trust them;
//! - [`tokens`]: tokens, and keys to sign them with;
//! - [`wait`]: conditions, with a limit;
//! - [`port`]: ports that are chosen before they are used;
//! - [`neighbours`]: two users whom nothing may disturb.
//!
//! Helpers panic with what they saw: they are only used by tests.

pub mod client;
pub mod dial;
pub mod gateway;
pub mod http;
pub mod neighbours;
pub mod port;
pub mod process;
pub mod random;
pub mod scripts;
pub mod service;
pub mod tls;
pub mod tokens;
pub mod wait;
