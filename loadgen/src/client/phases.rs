//! The course of a run: executors one after another or together, then drain, read back, end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::chaos::Chaos;
use super::told::{After, Told};
use super::{Client, READ_BACK, REPORT};
use crate::clock::{Nanos, SECOND};
use crate::schedule::{Action, Work};
use crate::stats::Counters;

/// From the end of an executor to the start of those that wait for it, so that every thread has
/// heard of it: one that has nothing to do looks only as often as it reports.
const HANDOVER: Nanos = SECOND / 2;
const _: () = assert!(HANDOVER >= 2 * REPORT);

/// How often a thread asks itself whether everything has settled.
const SETTLE: Nanos = SECOND / 50;

/// Nobody is owed a receipt in a group, and so none is waited for: they are over when nothing has
/// been heard or said of them for so long.
const GROUP_QUIET: Nanos = SECOND / 2;

/// One executor of a thread.
#[derive(Debug)]
pub(crate) struct Step {
    /// Its number: the same in every thread.
    pub(crate) number: usize,
    /// The executor that must have ended before.
    pub(crate) after: Option<usize>,
    /// And so long after that, or after the run's start.
    pub(crate) delay: Nanos,
    /// How long it lasts from its start, at least.
    pub(crate) duration: Nanos,
    pub(crate) work: Work,
}

/// What the threads tell each other and the main thread.
#[derive(Debug)]
pub(crate) struct Board {
    /// By executor: threads that have not ended it.
    left: Vec<AtomicU32>,
    /// By executor: when the last thread ended it, plus one; 0 before.
    ended: Vec<AtomicU64>,
    reports: Vec<Mutex<Counters>>,
    /// For those who look on.
    pub(crate) told: Told,
    pub(super) chaos: Chaos,
    /// Whether threads make groups first; those that have not, and when the last had.
    has_groups: bool,
    making: AtomicU32,
    made: AtomicU64,
}

impl Board {
    /// `has_groups`: before the first executor, each thread makes its groups.
    pub(crate) fn new(executors: usize, threads: u32, has_groups: bool) -> Self {
        Self {
            left: (0..executors).map(|_| AtomicU32::new(threads)).collect(),
            ended: (0..executors).map(|_| AtomicU64::new(0)).collect(),
            reports: (0..threads).map(|_| Mutex::default()).collect(),
            told: Told::new(executors, threads),
            chaos: Chaos::default(),
            has_groups,
            making: AtomicU32::new(if has_groups { threads } else { 0 }),
            made: AtomicU64::new(0),
        }
    }

    /// A thread has made its groups.
    pub(super) fn made(&self, now: Nanos) {
        self.made.fetch_max(now, Ordering::SeqCst);
        self.making.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn has_groups(&self) -> bool {
        self.has_groups
    }

    /// When the run begins: once all groups are made, and every thread has heard of it.
    fn begins(&self) -> Option<Nanos> {
        if !self.has_groups {
            return Some(0);
        }
        let made = || self.made.load(Ordering::SeqCst) + HANDOVER;
        (self.making.load(Ordering::SeqCst) == 0).then(made)
    }

    fn end(&self, executor: usize, now: Nanos) {
        self.ended[executor].fetch_max(now + 1, Ordering::SeqCst);
        self.left[executor].fetch_sub(1, Ordering::SeqCst);
    }

    /// When an executor ended in every thread.
    pub(crate) fn ended(&self, executor: usize) -> Option<Nanos> {
        (self.left[executor].load(Ordering::SeqCst) == 0)
            .then(|| self.ended[executor].load(Ordering::SeqCst) - 1)
    }

    pub(super) fn report(&self, thread: u32, counters: Counters) {
        if let Ok(mut report) = self.reports[thread as usize].lock() {
            *report = counters;
        }
    }

    /// The counters of all threads.
    pub(crate) fn total(&self) -> Counters {
        let mut total = Counters::default();
        for report in &self.reports {
            if let Ok(report) = report.lock() {
                total.add(&report);
            }
        }
        total
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Working,
    Done,
}

/// How long closing may take, and how much longer for each session: the gateway answers each.
const CLOSING: Nanos = 2 * SECOND;
const CLOSING_EACH: Nanos = SECOND / 200;

/// What comes after the executors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Executing,
    Draining {
        until: Nanos,
        look: Nanos,
    },
    /// `owed`: until when what history shows may still come to devices that are owed it.
    Reading {
        until: Nanos,
        owed: Nanos,
    },
    /// `next`: the first device whose session is still to be closed.
    Closing {
        next: Option<u32>,
        until: Nanos,
    },
}

/// Where a thread is in the run.
#[derive(Debug)]
pub(super) struct Phases {
    steps: Vec<State>,
    stage: Stage,
}

#[derive(Debug)]
struct State {
    number: usize,
    after: Option<usize>,
    delay: Nanos,
    duration: Nanos,
    sends: bool,
    /// It opens connections.
    connects: bool,
    start: Option<Nanos>,
    /// It has nothing more to do, and waits for sessions.
    waits: bool,
    ended: bool,
    work: Option<Work>,
}

impl Phases {
    pub(super) fn new(steps: &[Step]) -> Self {
        let steps = steps.iter().map(|step| State {
            number: step.number,
            after: step.after,
            delay: step.delay,
            duration: step.duration,
            sends: matches!(step.work, Work::Arrivals(_) | Work::WithLarge(..)),
            connects: matches!(step.work, Work::Ramp(_)),
            start: None,
            waits: false,
            ended: false,
            work: None,
        });
        Self {
            steps: steps.collect(),
            stage: Stage::Executing,
        }
    }

    /// Gives each executor its work.
    pub(super) fn equip(&mut self, works: impl Iterator<Item = Work>) {
        for (state, work) in self.steps.iter_mut().zip(works) {
            state.work = Some(work);
        }
    }

    fn starts(state: &mut State, board: &Board) -> Option<Nanos> {
        if state.start.is_none() {
            state.start = match state.after {
                None => Some(board.begins()? + state.delay),
                Some(before) => Some(board.ended(before)? + HANDOVER + state.delay),
            };
            if let Some(start) = state.start {
                board.told.begin(state.number, start);
            }
        }
        state.start
    }

    /// Takes an action that is due, with its intended time. `full`: no connection may be begun.
    pub(super) fn take(
        &mut self,
        now: Nanos,
        board: &Board,
        full: bool,
    ) -> Option<(Nanos, Action)> {
        for state in &mut self.steps {
            let Some(start) = Self::starts(state, board) else {
                continue;
            };
            let Some(work) = &mut state.work else {
                continue;
            };
            if full && state.connects {
                continue;
            }
            if let Some(due) = work.due()
                && start + due <= now
            {
                return work.take().map(|action| (start + due, action));
            }
        }
        None
    }

    /// Gives up what is due of executors that have been over for longer than `patience`: this side
    /// is so far behind that it would never end. How many messages that are, as far as is known.
    pub(super) fn give_up(&mut self, now: Nanos, patience: Nanos) -> u64 {
        let mut left = 0;
        for state in &mut self.steps {
            let over = |start: Nanos| now > start + state.duration + patience;
            if let Some(work) = &mut state.work
                && state.start.is_some_and(over)
            {
                left += work.give_up();
            }
        }
        left
    }

    /// Whether all that is measured is over.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing { .. })
    }

    /// How far this thread is behind the executors.
    pub(super) fn after(&self) -> After {
        match self.stage {
            Stage::Executing => After::Executing,
            Stage::Draining { until, .. } => After::Draining(until),
            Stage::Reading { until, .. } => After::Reading(until),
            Stage::Closing { until, .. } => After::Closing(until),
        }
    }

    /// Whether nothing more is expected of sessions that are away.
    pub(super) fn is_judging(&self) -> bool {
        matches!(self.stage, Stage::Reading { .. } | Stage::Closing { .. })
    }

    /// From when to when the executors that send do so, of those that have begun.
    pub(super) fn sending(&self) -> (Nanos, Nanos) {
        let sending = self.steps.iter().filter(|state| state.sends);
        let spans = sending.filter_map(|state| Some((state.start?, state.start? + state.duration)));
        spans.fold((Nanos::MAX, 0), |(from, until), span| {
            (from.min(span.0), until.max(span.1))
        })
    }

    /// When the next action is due, as far as is known.
    pub(super) fn due(&self, board: &Board, full: bool) -> Option<Nanos> {
        let due = self.steps.iter().filter_map(|state| {
            if state.ended || state.waits || (full && state.connects) {
                return None;
            }
            let start = match (state.start, state.after) {
                (Some(start), _) => start,
                (None, Some(before)) => board.ended(before)? + HANDOVER + state.delay,
                (None, None) => board.begins()? + state.delay,
            };
            let next = state.work.as_ref().and_then(Work::due);
            Some(start + next.unwrap_or(state.duration))
        });
        let look = match self.stage {
            Stage::Draining { look, .. } => Some(look),
            Stage::Closing { next: Some(_), .. } => Some(0),
            _ => None,
        };
        due.chain(look).min()
    }
}

impl Client {
    /// GatewayAccess executors that are through, and goes on to what comes after them.
    pub(super) fn advance(&mut self, now: Nanos) -> Progress {
        match self.phases.stage {
            Stage::Executing => self.end_steps(now),
            Stage::Draining { until, look } if now >= look => {
                let last = self.job.checker.last_group_receipt();
                let heard = last == 0 || now >= last + GROUP_QUIET;
                let quiet = heard && self.fresh.is_empty() && self.to_read.is_empty();
                let settled = self.job.checker.settled() || self.job.checker.only_doubts(now);
                if (quiet && settled) || now >= until {
                    self.phases.stage = Stage::Reading {
                        until: now + READ_BACK,
                        owed: until.max(now + SETTLE),
                    };
                    self.nobody_comes_back();
                    self.job.checker.close(now);
                    self.read_more();
                } else {
                    self.phases.stage = Stage::Draining {
                        until,
                        look: now + SETTLE,
                    };
                }
            }
            Stage::Draining { .. } => {}
            Stage::Reading { until, owed } => {
                self.reassign();
                let read = self.read_back.open.iter().all(Option::is_none);
                let over = read && (now >= owed || !self.job.checker.still_owed());
                if over || now >= until {
                    let open = std::mem::take(&mut self.read_back.open);
                    let open = open.into_iter().flatten();
                    open.for_each(|_| self.job.checker.not_read());
                    self.job.checker.finish(now);
                    self.phases.stage = Stage::Closing {
                        next: Some(0),
                        until: now + CLOSING + self.alive as Nanos * CLOSING_EACH,
                    };
                }
            }
            Stage::Closing { next, until } => {
                let next = next.and_then(|from| self.close_some(from));
                self.phases.stage = Stage::Closing { next, until };
                if self.alive == 0 || now >= until {
                    return Progress::Done;
                }
            }
        }
        Progress::Working
    }

    fn end_steps(&mut self, now: Nanos) {
        let idle = self.connecting == 0;
        let back = self.reconnects.is_empty();
        let counters = self.counters();
        for state in &mut self.phases.steps {
            let Some(start) = state.start.filter(|_| !state.ended) else {
                continue;
            };
            let through = state.work.as_ref().is_none_or(|work| work.due().is_none());
            let over = match state.work {
                Some(Work::Arrivals(_) | Work::WithLarge(..)) => true,
                Some(Work::Churn(_)) => back,
                Some(Work::Storm(_)) => self.storms.is_over(state.number),
                _ => idle,
            };
            state.waits = through && now >= start + state.duration;
            if state.waits && over {
                state.ended = true;
                self.storms.end(state.number, counters);
                if state.sends {
                    self.sending.1 = self.sending.1.max(start + state.duration);
                }
                self.job.board.end(state.number, now);
            }
        }
        // Where no executor is left in any thread, nothing more is sent to anybody.
        if self.phases.steps.iter().all(|state| state.ended) {
            self.phases.stage = Stage::Draining {
                until: now + self.job.drain,
                look: now,
            };
        }
    }
}
