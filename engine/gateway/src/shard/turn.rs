//! The turn of a shard's event loop: its time, and the connections it has yet to see to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::lanes::Lanes;
use crate::timer::{Tick, Wheel};

/// The slot of the shard's own timer entries, which no connection has.
const OWN_TIMER: u32 = u32::MAX;

/// Largest capacity, in connections, that a list keeps from turn to turn.
const KEPT: usize = 4_096;

/// The time that a turn has for one kind of work, for instance for its mail. Work that is left when it
/// is over waits for the next turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stint {
    ends: Instant,
}

impl Stint {
    /// The time of a stint. A turn has several.
    pub(super) const TIME: Duration = Duration::from_micros(100);

    /// Begins a stint.
    pub(super) fn begin() -> Self {
        Self::since(Instant::now())
    }

    /// Returns the stint that began at `began`.
    pub(super) fn since(began: Instant) -> Self {
        Self {
            ends: began + Self::TIME,
        }
    }

    /// Whether the time is over. Ask after each piece of work, so that at least one is done.
    pub(super) fn is_over(self) -> bool {
        Instant::now() >= self.ends
    }
}

/// The flushes that a turn makes before it is at its end, to make room for events for a crowd.
const ROOM: u8 = 4;

/// The connections with a long debt of which a turn handles a slice of input at the end of a pause.
const DEBTORS: u8 = 4;

/// When the output of a connection is flushed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// No list has the connection.
    #[default]
    No,
    /// In a later turn at the latest, behind other connections with much output.
    InTurn,
    /// At the end of this turn.
    ThisTurn,
}

/// The time of a shard's current turn, its timers, and lists of connections by slot: those to flush
/// at its end, those to flush in turn, those to read again, and those to drop.
///
/// The mark in a connection says which list to flush has its slot, and the flag `unread` whether the
/// list to read again, the slow lane or the list of new connections has it. A slot may be left in the list to flush in turn without the mark.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Counts the readings of the clock.
    number: u64,
    began: Instant,
    now: Tick,
    /// The time of the turn in microseconds since the gateway began, modulo 2^32.
    micros: u32,
    wheel: Wheel,
    to_flush: Vec<u32>,
    to_flush_in_turn: VecDeque<u32>,
    /// When the list to flush in turn goes on.
    flushes_at: Instant,
    to_read: VecDeque<u32>,
    /// The connections to read again that spend much while others spend little.
    pub(super) lanes: Lanes,
    to_drop: Vec<u32>,
    /// The flushes that this turn may still make before it is at its end, to make room for events
    /// for a crowd.
    room: u8,
    /// The connections with a long debt of which this turn may still handle a slice of input.
    debtors: u8,
}

impl Turn {
    /// Makes the turn before the first one. Ticks count from `began`, the same for all shards.
    pub(super) fn new(began: Instant) -> Self {
        Self {
            number: 0,
            began,
            now: 0,
            micros: 0,
            wheel: Wheel::new(began),
            to_flush: Vec::new(),
            to_flush_in_turn: VecDeque::new(),
            flushes_at: began,
            to_read: VecDeque::new(),
            lanes: Lanes::new(began),
            to_drop: Vec::new(),
            room: ROOM,
            debtors: DEBTORS,
        }
    }

    /// Sets the time of the turn. The shard reads its clock here only.
    pub(super) fn begin(&mut self, now: Instant) {
        self.number += 1;
        self.began = now;
        self.now = self.wheel.tick(now);
        self.micros = self.wheel.micros(now);
        self.room = ROOM;
        self.debtors = DEBTORS;
    }

    /// Takes one of the flushes that a turn may make before it is at its end, to make room for an event
    /// for a crowd. Returns whether one was left.
    pub(super) const fn take_room(&mut self) -> bool {
        let some = self.room > 0;
        self.room = self.room.saturating_sub(1);
        some
    }

    /// Takes one of the connections with a long debt of which a turn may handle a slice of input.
    /// Returns whether one was left.
    pub(super) const fn take_debtor(&mut self) -> bool {
        let some = self.debtors > 0;
        self.debtors = self.debtors.saturating_sub(1);
        some
    }

    /// The time of the turn, in ticks since the gateway began.
    pub(super) const fn now(&self) -> Tick {
        self.now
    }

    /// The time of the turn in microseconds since the gateway began, modulo 2^32: 71 minutes.
    pub(super) const fn micros(&self) -> u32 {
        self.micros
    }

    /// The time at which the turn began.
    pub(super) const fn began(&self) -> Instant {
        self.began
    }

    /// The number of clock readings until now. It differs between two turns.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Lets a connection's timer fire at `at`, in the next tick at the earliest. Does nothing
    /// while the timer is to fire before that. `due` is the connection's timer entry that counts.
    pub(super) fn schedule(&mut self, slot: u32, due: &mut Tick, at: Tick) {
        if *due <= self.now || at < *due {
            *due = at.max(self.now + 1);
            self.wheel.schedule(slot, *due);
        }
    }

    /// Wakes the shard at `at` for work that belongs to no connection.
    pub(super) fn wake_at(&mut self, at: Tick) {
        self.wheel.schedule(OWN_TIMER, at);
    }

    /// The time from `now` until the next timer may fire; `None` without timers.
    pub(super) fn next_timer(&self, now: Instant) -> Option<Duration> {
        self.wheel.next(now)
    }

    /// Appends the timers that are due at `now` to `fired`, each with the tick it was set for.
    pub(super) fn fire(&mut self, now: Instant, fired: &mut Vec<(u32, Tick)>) {
        self.wheel.advance(now, fired);
    }

    /// Lets the end of this turn flush a connection. `due` is the connection's mark.
    pub(super) fn flush_later(&mut self, slot: u32, due: &mut Due) {
        if std::mem::replace(due, Due::ThisTurn) != Due::ThisTurn {
            self.to_flush.push(slot);
        }
    }

    /// Lets a turn flush a connection, after those that wait already. `due` is the connection's mark.
    pub(super) fn flush_in_turn(&mut self, slot: u32, due: &mut Due) {
        if *due == Due::No {
            *due = Due::InTurn;
            self.to_flush_in_turn.push_back(slot);
        }
    }

    /// Whether the list to flush in turn has connections and does not rest at `now`.
    pub(super) fn may_flush_in_turn(&self, now: Instant) -> bool {
        !self.to_flush_in_turn.is_empty() && now >= self.flushes_at
    }

    /// Lets the list to flush in turn rest, for some time after it has worked from `began` to `now`.
    pub(super) fn rest_from_flushes(&mut self, began: Instant, now: Instant) {
        /// The length of the rest for each unit of work.
        const REST: u32 = 9;
        // The thread may have been without a processor for long.
        let worked = now.saturating_duration_since(began).min(2 * Stint::TIME);
        self.flushes_at = now + worked * REST;
    }

    /// The time from `now` until the list to flush in turn goes on; `None` if it is empty.
    pub(super) fn flushes_in(&self, now: Instant) -> Option<Duration> {
        let some = !self.to_flush_in_turn.is_empty();
        some.then(|| self.flushes_at.saturating_duration_since(now))
    }

    /// Takes the connection that has waited longest to be flushed. Flush it only if it is marked with
    /// [`Due::InTurn`]: the end of a turn may have flushed it meanwhile.
    pub(super) fn next_to_flush(&mut self) -> Option<u32> {
        next(&mut self.to_flush_in_turn)
    }

    /// Lets a turn read a connection again, after those that wait already. `unread` is the
    /// connection's flag.
    pub(super) fn read_later(&mut self, slot: u32, unread: &mut bool) {
        if !std::mem::replace(unread, true) {
            self.to_read.push_back(slot);
        }
    }

    /// Takes a connection out of its slow lane. If it waits there, the next turn reads it.
    pub(super) fn leave_lane(&mut self, slot: u32) {
        if self.lanes.release(slot) {
            self.to_read.push_back(slot);
        }
    }

    /// Lets the slow lane read a connection again. `unread` is the connection's flag.
    pub(super) fn read_slowly(&mut self, slot: u32, unread: &mut bool) {
        if !std::mem::replace(unread, true) {
            self.lanes.enter(slot);
        }
    }

    /// Lets the end of a turn drop a connection, after those that wait already. Until then its slot stays in use, so that later
    /// events of the turn cannot reach another connection. A slot may be given more than once.
    pub(super) fn drop_later(&mut self, slot: u32) {
        self.to_drop.push(slot);
    }

    /// Whether connections are to be read again.
    pub(super) fn has_unread(&self) -> bool {
        !self.to_read.is_empty()
    }

    /// Whether connections are to be flushed at the end of the turn, or dropped.
    pub(super) fn has_leftovers(&self) -> bool {
        !self.to_flush.is_empty() || !self.to_drop.is_empty()
    }

    /// Whether connections wait in the slow lanes, to be flushed in turn, or to be dropped.
    pub(super) fn has_behind(&self) -> bool {
        !self.to_flush_in_turn.is_empty() || !self.to_drop.is_empty() || self.lanes.has_waiting()
    }

    /// Whether connections are to be flushed at the end of the turn.
    pub(super) fn has_to_flush(&self) -> bool {
        !self.to_flush.is_empty()
    }

    /// Whether connections are to be dropped.
    pub(super) fn has_to_drop(&self) -> bool {
        !self.to_drop.is_empty()
    }

    /// Takes the connections to flush. Give the list back with [`Self::flushed`].
    pub(super) fn take_to_flush(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.to_flush)
    }

    /// Takes the memory of a list back whose connections are flushed.
    pub(super) fn flushed(&mut self, list: Vec<u32>) {
        put_back(&mut self.to_flush, list);
    }

    /// Takes the connection that has waited longest to be read again.
    pub(super) fn next_to_read(&mut self) -> Option<u32> {
        next(&mut self.to_read)
    }

    /// Takes the connections to drop. Give the list back with [`Self::dropped`].
    pub(super) fn take_to_drop(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.to_drop)
    }

    /// Takes the memory of a list back whose connections are dropped.
    pub(super) fn dropped(&mut self, list: Vec<u32>) {
        put_back(&mut self.to_drop, list);
    }
}

/// Takes the first slot of a queue. Frees the memory of a queue that was long.
fn next(queue: &mut VecDeque<u32>) -> Option<u32> {
    let slot = queue.pop_front()?;
    if queue.is_empty() && queue.capacity() > KEPT {
        *queue = VecDeque::new();
    }
    Some(slot)
}

/// Moves the slots that were added meanwhile into the memory of a finished list, and keeps that
/// memory for the next turn. Memory of more than [`KEPT`] slots is freed.
fn put_back(list: &mut Vec<u32>, mut finished: Vec<u32>) {
    if finished.capacity() <= KEPT {
        finished.clear();
        finished.append(list);
        *list = finished;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::TICK;

    #[test]
    fn lists_keep_their_memory_and_what_came_meanwhile() {
        let mut list = Vec::with_capacity(KEPT);
        list.push(1);
        let taken = std::mem::take(&mut list);
        list.push(2);
        put_back(&mut list, taken);
        assert_eq!((&list[..], list.capacity()), (&[2][..], KEPT));
        put_back(&mut list, Vec::with_capacity(KEPT + 1));
        assert_eq!((&list[..], list.capacity()), (&[2][..], KEPT));
    }

    #[test]
    fn a_stint_ends_with_its_time() {
        let now = Instant::now();
        assert!(Stint::since(now - Stint::TIME).is_over());
        assert!(!Stint::since(now + Duration::from_secs(60)).is_over());
    }

    #[test]
    fn each_turn_does_a_little_for_crowds_and_for_those_in_debt() {
        let began = Instant::now();
        let mut turn = Turn::new(began);
        for _ in 0..2 {
            turn.begin(began);
            let made = std::iter::repeat_with(|| turn.take_room()).take(300);
            assert_eq!(made.filter(|made| *made).count(), usize::from(ROOM));
            let read = std::iter::repeat_with(|| turn.take_debtor()).take(300);
            assert_eq!(read.filter(|read| *read).count(), usize::from(DEBTORS));
        }
    }

    #[test]
    fn the_list_of_connections_to_read_is_freed_after_a_crowd() {
        let mut turn = Turn::new(Instant::now());
        (0..2 * KEPT as u32).for_each(|slot| turn.read_later(slot, &mut false));
        while turn.next_to_read().is_some() {}
        assert_eq!(turn.to_read.capacity(), 0);
    }

    #[test]
    fn a_flagged_connection_stands_in_its_list_once() {
        let mut turn = Turn::new(Instant::now());
        let (mut due, mut unread) = (Due::No, false);
        assert!(!turn.has_unread() && !turn.has_leftovers());
        for _ in 0..2 {
            turn.flush_later(7, &mut due);
            turn.read_later(8, &mut unread);
        }
        assert!(due == Due::ThisTurn && unread && turn.has_unread() && turn.has_leftovers());
        let list = turn.take_to_flush();
        assert_eq!(list, [7]);
        turn.flush_later(9, &mut Due::No);
        turn.flushed(list);
        assert_eq!(turn.take_to_flush(), [9]);
        turn.read_later(5, &mut false);
        assert_eq!(
            [(); 3].map(|()| turn.next_to_read()),
            [Some(8), Some(5), None]
        );
        assert!(!turn.has_unread() && !turn.has_leftovers());
        turn.drop_later(3);
        assert!(turn.has_leftovers());
        assert_eq!(turn.take_to_drop(), [3]);
    }

    #[test]
    fn a_connection_that_waits_to_be_flushed_is_flushed_now_if_it_has_to_be() {
        let now = Instant::now();
        let mut turn = Turn::new(now);
        let (mut one, mut two) = (Due::No, Due::No);
        turn.flush_in_turn(1, &mut one);
        turn.flush_in_turn(2, &mut two);
        turn.flush_in_turn(2, &mut two);
        turn.flush_later(1, &mut one);
        turn.flush_in_turn(1, &mut one);
        assert_eq!((one, two), (Due::ThisTurn, Due::InTurn));
        assert_eq!(turn.take_to_flush(), [1]);
        assert!(!turn.has_leftovers() && turn.may_flush_in_turn(now));
        assert_eq!(
            [(); 3].map(|()| turn.next_to_flush()),
            [Some(1), Some(2), None]
        );
        assert!(!turn.may_flush_in_turn(now) && turn.flushes_in(now).is_none());
    }

    #[test]
    fn flushes_in_turn_rest_nine_times_as_long_as_they_took() {
        let now = Instant::now();
        let later = |micros| now + Duration::from_micros(micros);
        let mut turn = Turn::new(now);
        turn.flush_in_turn(1, &mut Due::No);
        assert_eq!(turn.flushes_in(now), Some(Duration::ZERO));
        turn.rest_from_flushes(now, later(100));
        assert!(!turn.may_flush_in_turn(later(999)) && turn.may_flush_in_turn(later(1_000)));
        assert_eq!(
            turn.flushes_in(later(200)),
            Some(Duration::from_micros(800))
        );
        turn.rest_from_flushes(now, later(90_000));
        assert!(
            turn.may_flush_in_turn(later(91_800)),
            "the thread was held up"
        );
    }

    #[test]
    fn a_timer_moves_to_an_earlier_time_only_and_never_into_the_past() {
        let began = Instant::now();
        let mut turn = Turn::new(began);
        let at = |tick: Tick| began + TICK * tick;
        turn.begin(at(5));
        assert_eq!((turn.now(), turn.number()), (5, 1));
        let mut due = 0;
        for (asked, expected) in [(20, 20), (30, 20), (10, 10), (2, 6)] {
            turn.schedule(1, &mut due, asked);
            assert_eq!(due, expected, "asked for {asked}");
        }
        let mut fired = Vec::new();
        turn.fire(at(9), &mut fired);
        assert_eq!(fired, [(1, 6)]);
        turn.begin(at(9));
        // The entry that counted has fired: a later time is taken now.
        turn.schedule(1, &mut due, 40);
        assert_eq!((due, turn.number()), (40, 2));
    }
}
