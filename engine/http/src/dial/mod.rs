//! Connections to other servers: back ends, and the place of media.

mod names;
mod pool;
mod trust;

pub(crate) use self::pool::{KEPT, NoAnswer, Origin, Pool};
pub use self::trust::Trust;
