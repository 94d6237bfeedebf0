//! The cost of work: the unit in which clients pay for what is done for them.

use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::time::Duration;

/// The nanoseconds that one KiB in the log costs: writing, syncing, sorting and merging it.
const LOG_KIB: u64 = 4_000;

/// The nanoseconds that one KiB to a client costs: copying it into the output and the kernel.
const SENT_KIB: u64 = 500;

/// The most bytes of a record that a look-up of one value pays for. The command that made the record may name a
/// thousand others, and each of them reads all of it: they did not make it long.
const RECORD_BYTES: usize = 64 << 10;

/// Returns the bytes to pay for `count` values of `bytes` bytes together that were looked up. `read` bytes of records
/// were read for them: a record is read whole, however short the value is that it is read for.
pub(crate) fn paid_of_records(count: usize, bytes: usize, read: u64) -> usize {
    let most = count.saturating_mul(RECORD_BYTES);
    let read = usize::try_from(read).unwrap_or(usize::MAX);
    bytes.max(read.min(most))
}

/// An amount of work, in nanoseconds of one processor core; at most [`Cost::MAX`]. Sums end there
/// instead of wrapping.
///
/// Bytes cost what the threads that handle them spend on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(u32);

impl Cost {
    /// No work.
    pub const NONE: Self = Self(0);

    /// The largest cost: about 4.3 seconds of a core.
    pub const MAX: Self = Self(u32::MAX);

    /// Returns a cost in nanoseconds of a core.
    #[must_use]
    pub const fn nanos(nanos: u64) -> Self {
        // `try_from` is not const.
        Self(if nanos > u32::MAX as u64 {
            u32::MAX
        } else {
            nanos as u32
        })
    }

    /// Returns a cost in microseconds of a core.
    #[must_use]
    pub const fn micros(micros: u64) -> Self {
        Self::nanos(micros.saturating_mul(1_000))
    }

    /// Returns the cost of bytes that enter the log.
    #[must_use]
    pub const fn of_log(bytes: usize) -> Self {
        Self::nanos((bytes as u64).saturating_mul(LOG_KIB) >> 10)
    }

    /// Returns the cost of bytes that go to a client.
    #[must_use]
    pub const fn of_sent(bytes: usize) -> Self {
        Self::nanos((bytes as u64).saturating_mul(SENT_KIB) >> 10)
    }

    /// Returns this cost `count` times.
    #[must_use]
    pub const fn times(self, count: usize) -> Self {
        Self::nanos((self.0 as u64).saturating_mul(count as u64))
    }

    /// Returns what is left of this cost without another; no work if the other one is larger.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Returns the cost in nanoseconds of a core.
    #[must_use]
    pub const fn as_nanos(self) -> u32 {
        self.0
    }

    /// Returns the time that one core needs for the work.
    #[must_use]
    pub const fn as_time(self) -> Duration {
        Duration::from_nanos(self.0 as u64)
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::NONE, Add::add)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn who_reads_a_long_record_pays_for_a_part_of_it() {
        assert_eq!(paid_of_records(1, 50, 0), 50, "the record is in memory");
        assert_eq!(paid_of_records(1, 50, 9_000), 9_000);
        assert_eq!(paid_of_records(1, 50, 600_000), RECORD_BYTES);
        assert_eq!(paid_of_records(3, 50, 600_000), 3 * RECORD_BYTES);
        assert_eq!(paid_of_records(1, 200_000, 600_000), 200_000);
    }

    use super::*;

    #[test]
    fn costs_end_at_the_largest_instead_of_wrapping() {
        assert_eq!(Cost::micros(5_000_000), Cost::MAX);
        assert_eq!(Cost::MAX + Cost::nanos(1), Cost::MAX);
        assert_eq!(Cost::micros(1).times(usize::MAX), Cost::MAX);
        let sum: Cost = [Cost::MAX, Cost::MAX].into_iter().sum();
        assert_eq!(sum, Cost::MAX);
        assert_eq!(Cost::of_log(usize::MAX), Cost::MAX);
        assert_eq!(Cost::micros(3).minus(Cost::micros(1)), Cost::micros(2));
        assert_eq!(Cost::micros(1).minus(Cost::MAX), Cost::NONE);
    }

    #[test]
    fn bytes_cost_in_proportion() {
        assert_eq!(Cost::of_log(64 << 10), Cost::micros(256));
        assert_eq!(Cost::of_sent(64 << 10), Cost::micros(32));
        assert_eq!(Cost::of_sent(0), Cost::NONE);
        let time = Cost::micros(3).times(2).as_time();
        assert_eq!(time, Duration::from_micros(6));
    }
}
