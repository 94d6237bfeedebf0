//! The commands of one connection that are not answered.

use trunkline_core::cost::Cost;
use trunkline_core::exchange::Query;

/// Commands at the sequencer at which a connection is read no more, without acknowledgements.
pub(crate) const MOST_WRITES: u16 = 1_024;

/// Commands and questions without an answer at which a connection is read no more. Most of them are
/// acknowledgements, which wait for each other.
pub(crate) const MOST_IN_FLIGHT: u16 = 16_384;

/// The expected cost of the commands at the sequencer, in microseconds, at which a connection is read
/// no more. Two commands may always be there, so that the sequencer decides the second one while the
/// events of the first one are sent.
pub(crate) const MOST_MICROS: u32 = 1_000;

/// Does the same as [`MOST_MICROS`] for a connection in the slow lane, where one command may always be
/// at the sequencer.
const MOST_SLOW_MICROS: u32 = 100;

/// The expected cost of a command before the sequencer has decided one of the connection, in
/// microseconds: more than most messages cost, so that a connection whose commands are dear does not
/// queue hundreds of them before the first answer tells.
const UNKNOWN: u16 = 16;

/// Counts the commands of one connection whose answers are still to come.
///
/// `writes <= in_flight`, and each page counts in `in_flight` too. Counting ends at the largest
/// number, so that no client can make it wrap.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// Commands and questions without an answer. Catching up does not count.
    in_flight: u16,
    /// Commands that write and that the sequencer has not decided. Acknowledgements do not count:
    /// their answers say nothing of order.
    writes: u16,
    /// The bytes of the bodies of these writes, and of events that wait for a reader's word.
    bytes: u32,
    /// The microseconds that the next write is expected to cost, from what the last ones cost.
    expected: u16,
    /// Pages that readers are asked for.
    pages: u8,
    /// The gateway stops: the connection is not read any more, and ends once it has its answers.
    leaving: bool,
}

/// Returns a cost in microseconds, about.
fn micros(cost: Cost) -> u16 {
    (cost.as_nanos() / 1_024).min(u16::MAX.into()) as u16
}

impl Default for Unanswered {
    fn default() -> Self {
        Self {
            in_flight: 0,
            writes: 0,
            bytes: 0,
            expected: UNKNOWN,
            pages: 0,
            leaving: false,
        }
    }
}

impl Unanswered {
    /// Counts a command that goes to the sequencer, with the length of its body in bytes. `orders`:
    /// later questions wait for it.
    #[inline]
    pub(super) const fn queued(&mut self, orders: bool, body: usize) {
        self.in_flight = self.in_flight.saturating_add(1);
        if orders {
            self.writes = self.writes.saturating_add(1);
            self.bytes = self.bytes.saturating_add(body as u32);
        }
    }

    /// Counts a command out that the sequencer has decided. `ordered` and `body` as in
    /// [`Self::queued`]; `cost` is what the decision and the deliveries cost.
    #[inline]
    pub(super) fn decided(&mut self, ordered: bool, body: u32, cost: Cost) {
        self.in_flight -= 1;
        if ordered {
            self.writes -= 1;
            self.bytes = self.bytes.saturating_sub(body);
            // A dear command is remembered for a while: the next one may be like it.
            self.expected = micros(cost).max(self.expected - self.expected.div_ceil(8));
        }
    }

    /// Expects that the next writes cost this much at least, until they are decided.
    #[inline]
    pub(super) fn expect(&mut self, cost: Cost) {
        self.expected = self.expected.max(micros(cost));
    }

    /// Returns the expected cost of the writes that the sequencer has not decided, in microseconds.
    pub(super) const fn micros(&self) -> u32 {
        self.writes as u32 * self.expected as u32
    }

    /// Whether the writes that the sequencer has not decided are expected to cost so much that the
    /// connection is not to be read. `slow`: it is in the slow lane.
    #[inline]
    pub(super) const fn is_dear(&self, slow: bool) -> bool {
        if slow {
            return self.micros() >= MOST_SLOW_MICROS;
        }
        self.writes >= 2 && self.micros() >= MOST_MICROS
    }

    /// Whether the connection has so much at the sequencer that it is not to be read. `bytes` is what
    /// one connection may have there now. `slow`: it is in the slow lane.
    #[inline]
    pub(super) const fn is_beyond(&self, bytes: usize, slow: bool) -> bool {
        self.writes >= MOST_WRITES
            || self.in_flight >= MOST_IN_FLIGHT
            || self.bytes as usize >= bytes
            || self.is_dear(slow)
    }

    /// Whether the connection may be read again that was not read because of [`Self::is_beyond`]:
    /// half of it is answered. So a connection does not stop and go on with each answer.
    pub(super) const fn has_room(&self, bytes: usize) -> bool {
        self.writes <= MOST_WRITES / 2
            && self.in_flight <= MOST_IN_FLIGHT / 2
            && self.bytes as usize <= bytes / 2
            && (self.writes <= 1 || self.micros() <= MOST_MICROS / 2)
    }

    /// Counts a question for the readers.
    pub(super) fn asked(&mut self, query: &Query) {
        self.pages += u8::from(query.is_paged());
        self.bytes = self.bytes.saturating_add(query.held_bytes() as u32);
        // Catching up may take long and goes on after a reconnect: stopping does not wait for it.
        self.in_flight = (self.in_flight).saturating_add(u16::from(!query.recovers()));
    }

    /// Counts a question out that no reader was given.
    pub(super) fn dropped(&mut self, query: &Query) {
        self.pages -= u8::from(query.is_paged());
        self.bytes = self.bytes.saturating_sub(query.held_bytes() as u32);
        self.in_flight -= u16::from(!query.recovers());
    }

    /// Counts an answer of a reader. `counted`: the question counts as a command in flight. `held`: its
    /// bytes, as [`Query::held_bytes`] has them.
    pub(super) const fn answered(&mut self, counted: bool, held: u32) {
        self.in_flight -= counted as u16;
        self.bytes = self.bytes.saturating_sub(held);
    }

    /// Counts a question to a back end.
    pub(super) const fn asked_back(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// Counts the verdict of a back end.
    pub(super) const fn back_answered(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Counts the answer of a page, for a session that still exists. `paged`: it is a page.
    pub(super) const fn page_came(&mut self, paged: bool) {
        self.pages -= paged as u8;
    }

    /// The number of writes that the sequencer has not decided.
    pub(super) const fn writes(&self) -> u32 {
        self.writes as u32
    }

    /// The number of pages that readers are asked for.
    pub(super) const fn pages(&self) -> u8 {
        self.pages
    }

    /// Lets the connection end once it has its answers.
    pub(super) const fn leave(&mut self) {
        self.leaving = true;
    }

    /// Takes [`Self::leave`] back: the connection ends already.
    pub(super) const fn stay(&mut self) {
        self.leaving = false;
    }

    /// Whether the connection ends once it has its answers. It is not read any more.
    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether the connection is to end now. It does not wait for the answers to `reads` of its
    /// questions.
    pub(super) const fn has_left(&self, reads: u32) -> bool {
        self.leaving && self.in_flight as u32 <= reads
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trunkline_core::exchange::{Part, Passing};
    use trunkline_core::store::{Position, TimelineId};
    use trunkline_proto::message::Json;

    use super::*;

    /// So little that only numbers and bytes count.
    const CHEAP: Cost = Cost::nanos(900);

    /// Returns counts that expect cheap commands.
    fn cheap() -> Unanswered {
        Unanswered {
            expected: 0,
            ..Unanswered::default()
        }
    }

    fn counts(unanswered: &Unanswered) -> [u32; 3] {
        [
            unanswered.in_flight.into(),
            unanswered.writes(),
            u32::from(unanswered.pages()),
        ]
    }

    #[test]
    fn each_kind_of_command_counts_where_something_waits_for_it() {
        let user = TimelineId(1);
        let page = Query::Contacts {
            user,
            watch: false,
            part: Part::WHOLE,
        };
        let catch_up = Query::CatchUp {
            user,
            since: Position(3),
            connect: None,
        };
        let mut unanswered = Unanswered::default();
        unanswered.queued(true, 10);
        unanswered.queued(false, 10);
        assert_eq!(counts(&unanswered), [2, 1, 0]);
        unanswered.asked(&page);
        unanswered.asked(&page);
        unanswered.asked(&catch_up);
        assert_eq!(counts(&unanswered), [4, 1, 2]);
        unanswered.decided(true, 10, CHEAP);
        unanswered.decided(false, 0, CHEAP);
        unanswered.dropped(&page);
        unanswered.dropped(&catch_up);
        assert_eq!(counts(&unanswered), [1, 0, 1]);
        unanswered.answered(true, 0);
        unanswered.page_came(true);
        unanswered.answered(false, 0);
        assert_eq!(counts(&unanswered), [0, 0, 0]);
    }

    #[test]
    fn events_that_wait_for_a_reader_count_with_their_bytes_and_are_no_pages() {
        let user = TimelineId(1);
        let signal = |bytes: usize| Query::Pass {
            from: user,
            to: user,
            passing: Arc::new(Passing::Signal({
                let text = format!("\"{}\"", "x".repeat(bytes - 2));
                Json::parse(&text).unwrap().into_owned()
            })),
        };
        let mut unanswered = cheap();
        let large = signal(100_000);
        unanswered.asked(&large);
        assert_eq!(counts(&unanswered), [1, 0, 0]);
        assert!(unanswered.is_beyond(100_000, false) && !unanswered.is_beyond(100_001, false));
        unanswered.answered(true, large.held_bytes() as u32);
        assert!(!unanswered.is_beyond(1, false));
        // Small ones have a bound too.
        let small = signal(2);
        let mut count = 0;
        while !unanswered.is_beyond(1 << 20, false) {
            unanswered.asked(&small);
            count += 1;
        }
        assert_eq!(count, 256);
        for _ in 0..count {
            unanswered.dropped(&small);
        }
        assert!(!unanswered.is_beyond(1, false));
    }

    #[test]
    fn a_connection_stops_at_each_limit_and_goes_on_at_half_of_it() {
        let mut unanswered = cheap();
        for _ in 1..MOST_WRITES {
            unanswered.queued(true, 0);
        }
        assert!(!unanswered.is_beyond(1, false) && !unanswered.has_room(1));
        unanswered.queued(true, 0);
        assert!(unanswered.is_beyond(1, false));
        while !unanswered.has_room(1) {
            unanswered.decided(true, 0, CHEAP);
        }
        assert_eq!(unanswered.writes(), u32::from(MOST_WRITES / 2));
        for _ in 0..MOST_IN_FLIGHT - MOST_WRITES / 2 {
            assert!(!unanswered.is_beyond(1, false));
            unanswered.queued(false, 99);
        }
        assert!(unanswered.is_beyond(1, false));
        while !unanswered.has_room(1) {
            unanswered.decided(false, 0, CHEAP);
        }
        assert_eq!(unanswered.in_flight, MOST_IN_FLIGHT / 2);
        // One command less, so that only its bytes count.
        unanswered.decided(true, 0, CHEAP);
        unanswered.queued(true, 1_000);
        assert!(unanswered.is_beyond(1_000, false) && !unanswered.is_beyond(1_001, false));
        assert!(!unanswered.has_room(1_999) && unanswered.has_room(2_000));
        unanswered.decided(true, 1_000, CHEAP);
        assert!(unanswered.has_room(0));
    }

    #[test]
    fn a_connection_that_leaves_waits_for_its_writes() {
        let mut unanswered = Unanswered::default();
        unanswered.queued(true, 10);
        unanswered.queued(false, 10);
        assert!(!unanswered.has_left(2), "nobody told it to leave");
        unanswered.leave();
        assert!(!unanswered.has_left(0) && !unanswered.has_left(1));
        assert!(unanswered.has_left(2));
        unanswered.decided(true, 10, CHEAP);
        unanswered.decided(false, 0, CHEAP);
        assert!(unanswered.has_left(0));
        unanswered.stay();
        assert!(!unanswered.has_left(0) && !unanswered.is_leaving());
    }

    #[test]
    fn dear_commands_wait_for_each_other_two_at_a_time() {
        let beyond_after = |unanswered: &mut Unanswered| {
            let mut count = 0;
            while !unanswered.is_beyond(usize::MAX, false) {
                unanswered.queued(true, 0);
                count += 1;
            }
            count
        };
        // Nobody knows yet what this connection's commands cost.
        let mut unanswered = Unanswered::default();
        assert_eq!(beyond_after(&mut unanswered), 63);
        // They turn out to cost 3 ms each.
        let dear = Cost::micros(3_000);
        for left in (1..63).rev() {
            unanswered.decided(true, 0, dear);
            assert_eq!(unanswered.has_room(usize::MAX), left == 1);
        }
        unanswered.queued(true, 0);
        assert!(unanswered.is_dear(false) && unanswered.is_dear(true));
        unanswered.decided(true, 0, dear);
        assert!(!unanswered.is_dear(false), "two may be there");
        assert!(unanswered.is_dear(true), "and one in the slow lane");
        unanswered.decided(true, 0, dear);
        assert!(!unanswered.is_dear(true));
        // What was dear is forgotten by and by.
        let mut last = beyond_after(&mut unanswered);
        assert_eq!(last, 2);
        for _ in 0..64 {
            unanswered.decided(true, 0, CHEAP);
            unanswered.queued(true, 0);
        }
        while unanswered.writes() > 0 {
            unanswered.decided(true, 0, CHEAP);
        }
        last = beyond_after(&mut unanswered);
        assert_eq!(last, usize::from(MOST_WRITES));
    }
}
