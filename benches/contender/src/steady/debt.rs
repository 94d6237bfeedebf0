//! The deferred work of a store, and whether a measurement paid for its own.

use std::fmt;

use super::{SEGMENT, SEGMENTS};

/// The work that a store has put off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Debt {
    /// The bytes of full segments that are not sorted.
    pub unsorted: u64,
    /// The bytes of runs that are to be merged by now.
    pub unmerged: u64,
}

impl Debt {
    /// Returns all bytes that are to be read and written again.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.unsorted + self.unmerged
    }
}

/// The verdict on a measurement of a store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The bytes of log that the measurement wrote, in segments.
    pub segments: f64,
    /// The size of a segment in bytes.
    pub segment: u64,
    /// The debt at the start of the measurement.
    pub before: Debt,
    /// The debt at the end of the measurement.
    pub after: Debt,
}

impl Verdict {
    /// Returns the verdict on a measurement that wrote `log` bytes of log in segments of `segment`
    /// bytes.
    #[must_use]
    pub fn new(log: u64, segment: u64, before: Debt, after: Debt) -> Self {
        let segment = if segment == 0 { SEGMENT } else { segment };
        Self {
            segments: log as f64 / segment as f64,
            segment,
            before,
            after,
        }
    }

    /// Returns whether the measurement wrote enough segments.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.segments >= SEGMENTS
    }

    /// Returns whether the measurement left no more work behind than it found.
    #[must_use]
    pub fn is_paid(&self) -> bool {
        self.after.bytes() <= self.before.bytes()
    }

    /// Returns whether the measurement is one of the steady state: long, and paid.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.is_long() && self.is_paid()
    }
}

impl fmt::Display for Verdict {
    /// Writes `steady: …` or `not steady: …`, with what was written and what is owed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        f.write_str(if self.is_steady() {
            "steady: "
        } else {
            "not steady: "
        })?;
        write!(f, "{:.1}", self.segments)?;
        if !self.is_long() {
            write!(f, " of {SEGMENTS}")?;
        }
        let (before, after) = (self.before, self.after);
        write!(
            f,
            " segments of {} MiB written; put off {} → {} MiB (unsorted {} → {}, unmerged {} → {})",
            mib(self.segment),
            mib(before.bytes()),
            mib(after.bytes()),
            mib(before.unsorted),
            mib(after.unsorted),
            mib(before.unmerged),
            mib(after.unmerged),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn debt(unsorted: u64, unmerged: u64) -> Debt {
        Debt {
            unsorted: unsorted * MIB,
            unmerged: unmerged * MIB,
        }
    }

    #[test]
    fn steady_is_long_and_paid() {
        let log = 640 * MIB;
        let verdict = |log, before, after| Verdict::new(log, SEGMENT, before, after);
        assert!(verdict(log, debt(64, 256), debt(64, 256)).is_steady());
        // What was sorted less may have been merged more.
        assert!(verdict(log, debt(64, 256), debt(128, 128)).is_steady());
        let short = verdict(log - 1, Debt::default(), Debt::default());
        assert!(!short.is_steady() && !short.is_long() && short.is_paid());
        let owing = verdict(log, debt(64, 0), debt(0, 65));
        assert!(!owing.is_steady() && owing.is_long() && !owing.is_paid());
    }

    #[test]
    fn a_verdict_says_what_is_missing() {
        let verdict = Verdict::new(96 * MIB, SEGMENT, debt(0, 0), debt(64, 128));
        assert_eq!(
            verdict.to_string(),
            "not steady: 1.5 of 10 segments of 64 MiB written; put off 0 → 192 MiB (unsorted 0 → \
             64, unmerged 0 → 128)"
        );
        let verdict = Verdict::new(80 * MIB, 8 * MIB, debt(64, 0), debt(8, 0));
        assert!(
            verdict
                .to_string()
                .starts_with("steady: 10.0 segments of 8 MiB")
        );
    }
}
