//! Marks that lie further back than the last one.

use super::Mark;

/// How far back a mark lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Some records: a comparison from there costs a few milliseconds.
    Near,
    /// Some hundred records.
    Far,
}

/// The records after which the nearer mark is taken anew.
const NEAR_RECORDS: u32 = 16;

/// The bytes after which it is.
const NEAR_BYTES: usize = 1 << 20;

/// The records after which the farther mark is taken anew.
const FAR_RECORDS: u32 = 512;

/// The bytes after which it is. The smallest log has 64 MiB, so it still has the records behind both marks.
const FAR_BYTES: usize = 24 << 20;

/// Two earlier marks. Each lies as far back as it says, and less than twice as far, or is the first mark of the chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Older {
    near: Place,
    far: Place,
    /// The records that counted since the stream was read from the farther mark on.
    since_far: u32,
}

/// A mark that is taken anew after some records.
#[derive(Debug, Clone, Copy)]
struct Place {
    mark: Mark,
    next: Mark,
    /// The records, and their bytes, that came after `next`.
    records: u32,
    bytes: usize,
}

impl Older {
    /// Returns those of a chain with its first mark.
    pub(super) const fn new(first: Mark) -> Self {
        let place = Place {
            mark: first,
            next: first,
            records: 0,
            bytes: 0,
        };
        Self {
            near: place,
            far: place,
            since_far: FAR_RECORDS,
        }
    }

    /// Returns whether the stream may be read from the farther mark on now. Each time costs more than the records that came
    /// since the last one: somebody with another history may publish all the time.
    pub(super) const fn may_reach_far(&mut self) -> bool {
        let may = self.since_far >= FAR_RECORDS;
        if may {
            self.since_far = 0;
        }
        may
    }

    /// Notes that a record of this length counts, and what the mark is with it.
    pub(super) const fn pass(&mut self, mark: Mark, bytes: usize) {
        self.since_far = self.since_far.saturating_add(1);
        self.near.pass(mark, bytes, NEAR_RECORDS, NEAR_BYTES);
        self.far.pass(mark, bytes, FAR_RECORDS, FAR_BYTES);
    }

    /// Returns an earlier mark.
    pub(super) const fn at(&self, reach: Reach) -> Mark {
        match reach {
            Reach::Near => self.near.mark,
            Reach::Far => self.far.mark,
        }
    }
}

impl Place {
    const fn pass(&mut self, mark: Mark, bytes: usize, records_most: u32, bytes_most: usize) {
        self.records += 1;
        self.bytes += bytes;
        if self.records >= records_most || self.bytes >= bytes_most {
            *self = Self {
                mark: self.next,
                next: mark,
                records: 0,
                bytes: 0,
            };
        }
    }
}
