//! Positions: addresses in the log.

/// An address in the log: the offset of a record's frame in bytes, counted from the beginning of
/// the log. The store never uses a position again, and later records have greater positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// The position before every record: the beginning of the log.
    pub const ZERO: Position = Position(0);
}
