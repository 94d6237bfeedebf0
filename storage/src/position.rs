//! Positions: places in the log.

/// A place in the log: the byte address of a record's frame, counted from the log's beginning and
/// never reused. Later records have greater positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// Precedes every record.
    pub const ZERO: Position = Position(0);
}
