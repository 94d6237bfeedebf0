//! HTTP for clients and operators.
//!
//! - [`server`]: the connections of a port: their number, their time limits, foreign pages, TLS. The
//!   control port uses it too.
//! - [`Http`]: the port of the client API. Commands are calls of `trunkline_core`; [`waiting`] wakes
//!   requests and streams that wait for events.
//! - [`admin`]: the admin API, which the control port serves.
//! - [`pages`]: the chat page, the console, and the client in JavaScript.
//! - [`Door`]: what the port needs to know of tokens, rates and budgets. The program provides it.
//!
//! Each port runs on a thread of its own, so that no shard waits for it.

pub mod admin;
mod api;
mod asked;
pub mod back;
mod dial;
mod door;
mod limits;
mod mapped;
mod media;
mod metrics;
pub mod pages;
mod port;
pub mod problem;
pub mod server;
mod turns;
pub mod waiting;

pub use api::COMMANDS;
pub use door::{Beyond, Door, Grant, MayPublish, Payer, Refused, Sent};
pub use limits::HttpLimits;
pub use mapped::MAPPED_BYTES;
pub use media::{
    MediaFiles, MediaLimits, MediaMetrics, MediaOwner, MediaParts, MediaPlace, MediaTypes,
    OpenedMedia, PLACE_WORDS, erase_media, list_media,
};
pub use metrics::{HttpMetrics, ROUTES};
pub use port::{Http, HttpParts};
