use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// The time at which the tests begin: 2026, in time since 1970.
const NOW: Duration = Duration::from_millis(1_767_225_600_000);

/// A machine: what has passed since it began, and what its clock says.
struct Machine {
    passed: Duration,
    system: Duration,
    steady: Steady,
    leaps: usize,
}

impl Machine {
    fn new(mark: Option<Mark>, last_record: u64) -> Self {
        Self::at(NOW, mark, last_record)
    }

    fn at(system: Duration, mark: Option<Mark>, last_record: u64) -> Self {
        let passed = 7 * SECOND;
        let steady = Steady::start(Look { passed, system }, mark, last_record);
        Self {
            passed,
            system,
            steady,
            leaps: 0,
        }
    }

    /// Lets time pass, with a look every so often.
    fn run(&mut self, time: Duration, every: Duration) {
        let end = self.passed + time;
        while self.passed < end {
            let step = every.min(end - self.passed);
            self.passed += step;
            self.system += step;
            let before = (self.steady(), self.wire());
            let look = Look {
                passed: self.passed,
                system: self.system,
            };
            self.leaps += usize::from(self.steady.look(look).is_some());
            assert!(self.steady() >= before.0, "it never goes back");
        }
    }

    fn leap_ahead(&mut self, by: Duration) {
        self.system += by;
    }

    fn leap(&mut self, ahead: bool, by: Duration) {
        match ahead {
            true => self.leap_ahead(by),
            false => self.leap_back(by),
        }
    }

    fn leap_back(&mut self, by: Duration) {
        self.system -= by;
    }

    fn steady(&self) -> Duration {
        self.steady.steady.now()
    }

    fn wire(&self) -> Duration {
        self.steady.wire.now()
    }

    /// Checks that system time, steady time and wire time are equal.
    fn is_right(&self) {
        assert_eq!((self.steady(), self.wire()), (self.system, self.system));
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

fn mark(time: Duration) -> Option<Mark> {
    Some(Mark {
        steady: millis(time),
        wire: millis(time),
        added: 0,
    })
}

#[test]
fn with_a_good_clock_all_times_are_the_same() {
    let mut machine = Machine::new(None, 0);
    for every in [Duration::from_micros(30), 3 * SECOND] {
        machine.run(every * 10_000, every);
        machine.is_right();
    }
    // One that is adjusted while it runs is followed at once, ahead and back.
    for _ in 0..600 {
        machine.leap_ahead(SECOND / 1_000);
        machine.run(SECOND, SECOND / 50);
        machine.is_right();
        machine.leap_back(SECOND / 1_000);
        machine.run(SECOND, SECOND / 50);
        machine.is_right();
    }
    machine.leap_ahead(SECOND);
    machine.run(SECOND, SECOND / 50);
    machine.is_right();
    machine.leap_back(SECOND);
    let before = machine.wire();
    machine.run(3 * SECOND, SECOND / 50);
    assert!(machine.wire() > before, "at half its speed");
    machine.is_right();
    assert_eq!(machine.leaps, 0);
}

#[test]
fn a_leap_that_does_not_last_changes_nothing() {
    for by in [3 * SECOND, 25 * HOUR, 40 * DAY, 20_000 * DAY] {
        for lasts in [SECOND / 3, 10 * SECOND, 59 * SECOND] {
            for every in [SECOND / 100, SECOND, 20 * SECOND] {
                for ahead in [true, false] {
                    let mut machine = Machine::new(None, 0);
                    machine.run(MINUTE, every);
                    let (began, passed) = (machine.system, machine.passed);
                    if !ahead && by > machine.system {
                        continue;
                    }
                    machine.leap(ahead, by);
                    machine.run(lasts, every);
                    let expected = began + (machine.passed - passed);
                    assert_eq!((machine.steady(), machine.wire()), (expected, expected));
                    machine.leap(!ahead, by);
                    machine.run(lasts, every);
                    machine.is_right();
                    assert_eq!(machine.leaps, 2, "there and back");
                }
            }
        }
    }
}

#[test]
fn leaps_that_come_again_and_again_are_never_believed() {
    let mut machine = Machine::new(None, 0);
    for _ in 0..100 {
        machine.leap_ahead(30 * DAY);
        machine.run(40 * SECOND, SECOND);
        machine.leap_back(30 * DAY);
        machine.run(SECOND, SECOND);
        machine.is_right();
    }
}

#[test]
fn a_leap_ahead_for_good_is_followed_slowly() {
    let mut machine = Machine::new(None, 0);
    machine.leap_ahead(25 * HOUR);
    let before = machine.system - 25 * HOUR;
    machine.run(MINUTE - SECOND, SECOND);
    assert_eq!(machine.wire(), before + MINUTE - SECOND);
    machine.run(SECOND, SECOND);
    assert_eq!(machine.wire(), machine.system, "clients see the new time");
    assert!(machine.steady() <= before + MINUTE + 20 * SECOND);
    machine.run(10 * MINUTE, SECOND);
    assert!(machine.steady() <= before + 4 * HOUR, "keys of today live");
    machine.run(70 * MINUTE, SECOND);
    machine.is_right();
    assert_eq!(machine.leaps, 1);
}

#[test]
fn a_long_pause_is_one_look_all_the_same() {
    let mut machine = Machine::new(None, 0);
    let before = machine.steady();
    machine.run(90 * DAY, 90 * DAY);
    assert_eq!(machine.steady(), before + MINUTE);
    machine.run(MINUTE, SECOND);
    assert_eq!(
        machine.wire(),
        machine.system,
        "clients see the right time in a minute"
    );
    machine.run(MINUTE, SECOND);
    assert!(machine.steady() < before + HOUR);
    // A process that stood still for an hour.
    let mut machine = Machine::new(None, 0);
    machine.run(HOUR, HOUR);
    machine.run(5 * MINUTE, SECOND);
    machine.is_right();
    assert_eq!(machine.leaps, 0);
}

#[test]
fn a_leap_back_for_good_is_waited_for() {
    let mut machine = Machine::new(None, 0);
    machine.leap_back(30 * MINUTE);
    let before = machine.wire();
    machine.run(30 * MINUTE, SECOND / 2);
    assert!(machine.wire() > before, "clients' time goes on");
    assert!(machine.wire() < before + 16 * MINUTE);
    machine.run(31 * MINUTE, SECOND / 2);
    machine.is_right();
    // What is far ahead was wrong: clients get the right time, and lives go on.
    machine.leap_back(100 * DAY);
    let before = machine.steady();
    machine.run(2 * MINUTE, SECOND);
    assert_eq!(machine.wire(), machine.system);
    assert!(machine.steady() >= before + MINUTE);
    machine.run(201 * DAY, MINUTE);
    machine.is_right();
}

#[test]
fn a_start_after_a_short_stop_goes_on_at_once() {
    for stopped in [Duration::ZERO, 3 * SECOND, 4 * MINUTE] {
        let mut machine = Machine::new(mark(NOW - stopped), 5);
        machine.is_right();
        machine.run(MINUTE, SECOND);
        machine.is_right();
    }
}

#[test]
fn ten_days_of_being_stopped_pass_in_the_end() {
    let mut machine = Machine::new(mark(NOW - 10 * DAY), 0);
    assert_eq!(machine.wire(), NOW, "clients see the right time at once");
    assert_eq!(machine.steady(), NOW - 10 * DAY + CLOSED);
    assert!(machine.steady.behind() > 9 * DAY);
    machine.run(MINUTE, SECOND);
    assert!(machine.steady() < NOW - 10 * DAY + CLOSED + 2 * MINUTE);
    machine.run(13 * HOUR, SECOND);
    machine.is_right();
    assert_eq!(machine.steady.behind(), Duration::ZERO);
}

#[test]
fn starts_under_a_wrong_clock_delete_nothing() {
    let mut known = mark(NOW);
    for start in 0..100 {
        let mut machine = Machine::at(NOW + 100 * DAY, known, 0);
        machine.run(30 * SECOND, SECOND);
        // They add as much again as the gateway ran.
        let most = CLOSED + 2 * 30 * SECOND * (start + 1);
        assert!(machine.steady() <= NOW + most, "start {start}");
        known = Some(machine.steady.mark());
    }
    // With the right clock again.
    let mut machine = Machine::at(NOW + 2 * HOUR, known, 0);
    assert_eq!(machine.wire(), NOW + 2 * HOUR);
    machine.run(10 * MINUTE, SECOND);
    machine.is_right();
    // And one that is behind.
    let mut machine = Machine::at(NOW - 100 * DAY, mark(NOW), 0);
    assert_eq!(machine.steady(), NOW);
    machine.run(MINUTE, SECOND);
    assert!(machine.steady() > NOW);
}

#[test]
fn starts_together_add_no_more_than_the_time_that_ran() {
    const RUN: Duration = Duration::from_secs(10);
    let (mut known, mut most) = (mark(NOW), CLOSED);
    for start in 0..2_000 {
        let mut machine = Machine::at(NOW + 100 * DAY, known, 0);
        machine.run(RUN, SECOND);
        // As long again as it ran.
        most += 2 * RUN;
        assert!(machine.steady() <= NOW + most, "start {start}");
        known = Some(machine.steady.mark());
    }
    // One that runs for a while adds the whole of a short stop again.
    let known = known.unwrap();
    let mut machine = Machine::at(Duration::from_millis(known.steady), Some(known), 0);
    machine.run(CLOSED, SECOND);
    let stopped = machine.system + 4 * MINUTE;
    Machine::at(stopped, Some(machine.steady.mark()), 0).is_right();
}

/// A killed gateway has stored a mark up to a minute ago: its last record says how far it came.
#[test]
fn crashes_together_take_no_time_back() {
    for run in [10, 40, 50, 59].map(Duration::from_secs) {
        let (mut known, mut last, mut system) = (mark(NOW), NOW, NOW);
        for crash in 0..40 {
            system += 3 * SECOND;
            let mut machine = Machine::at(system, known, millis(last));
            let began = machine.steady();
            assert!(
                began >= last,
                "{run:?}, crash {crash}: back from {last:?} to {began:?}"
            );
            // A commit each second stores a mark if one is due.
            for _ in 0..run.as_secs() {
                let newer = machine.steady.mark();
                if known.is_none_or(|older| older.is_due(newer)) {
                    known = Some(newer);
                }
                machine.run(SECOND, SECOND);
            }
            (last, system) = (machine.steady(), machine.system);
        }
        let behind = system - last;
        assert!(behind <= CLOSED, "{run:?}: {behind:?} behind");
    }
}

/// Kills beside a wrong clock: what one start adds is no time that ran for the next one.
#[test]
fn kills_beside_a_wrong_clock_add_no_more_than_the_time_that_ran() {
    for run in [1, 10, 50].map(Duration::from_secs) {
        let (mut known, mut last, mut ran) = (mark(NOW), millis(NOW), Duration::ZERO);
        for kill in 0..200 {
            let mut machine = Machine::at(NOW + 100 * DAY, known, last);
            for _ in 0..run.as_secs() {
                let newer = machine.steady.mark();
                if known.is_none_or(|older| older.is_due(newer)) {
                    known = Some(newer);
                }
                machine.run(SECOND, SECOND);
            }
            last = millis(machine.steady());
            ran += run;
            let passed = machine.steady() - NOW;
            let most = CLOSED + 2 * ran + MINUTE;
            assert!(
                passed <= most,
                "{run:?}, kill {kill}: {passed:?} passed, {ran:?} ran"
            );
        }
    }
}

/// A record that is further ahead than a mark can be old is of a wrong clock.
#[test]
fn a_record_far_behind_the_mark_proves_nothing() {
    let last = millis(NOW + 2 * MINUTE);
    assert_eq!(Machine::at(NOW, mark(NOW), last).steady(), NOW);
}

#[test]
fn a_store_without_a_mark_goes_on_from_its_last_record() {
    let start = |last: Duration| Machine::new(None, millis(last)).steady();
    assert_eq!(start(Duration::ZERO), NOW, "it is new");
    assert_eq!(start(NOW - SECOND), NOW);
    assert_eq!(start(NOW - DAY), NOW - DAY + CLOSED);
    assert_eq!(start(NOW + 100 * DAY), NOW, "stamped by a wrong clock");
}

#[test]
fn the_first_right_time_of_a_machine_without_a_clock() {
    let mut machine = Machine::at(DAY, None, 0);
    machine.run(2 * MINUTE, SECOND);
    machine.system = NOW;
    machine.run(2 * MINUTE, SECOND);
    assert_eq!(machine.wire(), machine.system);
    assert!(machine.steady() < 2 * DAY);
}

#[test]
fn records_of_other_nodes_are_never_ahead_of_the_time() {
    // The clock of this node is ten minutes behind.
    let system = NOW - 10 * MINUTE;
    let look = |passed| Look {
        passed,
        system: system + passed,
    };
    let mut steady = Steady::start(look(Duration::ZERO), None, 0);
    steady.reach(NOW, NOW + MINUTE);
    assert_eq!(
        (steady.steady(), steady.wire()),
        (millis(NOW), NOW + MINUTE)
    );
    steady.reach(NOW - SECOND, NOW - SECOND);
    assert_eq!(
        (steady.steady(), steady.wire()),
        (millis(NOW), NOW + MINUTE)
    );
    // Neither goes back, however long the clock of this node stays behind.
    let mut before = (steady.steady(), steady.wire());
    for passed in 1..200 {
        steady.look(look(SECOND * passed));
        let after = (steady.steady(), steady.wire());
        assert!(after.0 > before.0 && after.1 > before.1, "{passed}");
        before = after;
    }
}
