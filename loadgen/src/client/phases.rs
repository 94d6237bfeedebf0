//! The course of a run in one thread: executors one after another or together, then drain, read back,
//! end.

use serde::{Deserialize, Serialize};

use super::board::{Board, HANDOVER};
use super::reports::RunStage;
use super::storms::Storms;
use crate::clock::{Nanos, SECOND};
use crate::schedule::{Action, Work};

/// The time between two checks whether everything has settled.
pub(super) const SETTLE: Nanos = SECOND / 50;

/// The least time that closing may take at most.
const CLOSING: Nanos = 2 * SECOND;
/// The additional time for closing each session, because the gateway answers each.
const CLOSING_EACH: Nanos = SECOND / 200;

/// One executor of a thread.
#[derive(Debug)]
pub(crate) struct Step {
    /// The number of the executor, the same in every thread.
    pub(crate) number: usize,
    /// The number of the executor that must have ended before.
    pub(crate) after: Option<usize>,
    /// The time from the end of that executor, or from the run's start, to the start of this one.
    pub(crate) delay: Nanos,
    /// The least duration of the executor from its start.
    pub(crate) duration: Nanos,
    /// The work of the thread.
    pub(crate) work: Work,
}

/// The stage of a thread in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The executors work.
    Executing,
    /// Everything is sent; answers and pushes are still under way.
    Draining {
        /// The end of the waiting time.
        until: Nanos,
        /// The time of the next check whether everything has settled.
        look: Nanos,
    },
    /// History is read back.
    Reading {
        /// The end of the waiting time.
        until: Nanos,
        /// The time until which devices may still get the messages that history shows.
        owed: Nanos,
    },
    /// Sessions are closed.
    Closing {
        /// The first device whose session is still to be closed.
        next: Option<u32>,
        /// The end of the waiting time.
        until: Nanos,
    },
}

impl Stage {
    /// Returns the stage of closing this many sessions, from now on.
    pub(super) fn closing(now: Nanos, sessions: usize) -> Self {
        Self::Closing {
            next: Some(0),
            until: now + CLOSING + sessions as Nanos * CLOSING_EACH,
        }
    }
}

/// The time in which messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct SendWindow {
    /// The start of the first executor that sends; [`Nanos::MAX`] before.
    pub(crate) from: Nanos,
    /// The end of the last executor that sends, of those that have begun.
    pub(crate) until: Nanos,
}

impl SendWindow {
    /// The window of a thread that has sent no message.
    pub(crate) const NONE: Self = Self {
        from: Nanos::MAX,
        until: 0,
    };

    /// Returns whether sending has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.from != Nanos::MAX
    }

    /// Makes the window of this one and another together.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            from: self.from.min(other.from),
            until: self.until.max(other.until),
        }
    }

    /// Returns the length of the window.
    pub(crate) fn length(&self) -> Nanos {
        self.until.saturating_sub(self.from)
    }
}

/// The conditions under which an executor without further work is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conditions<'a> {
    /// Whether no session is being opened.
    pub(super) none_opening: bool,
    /// Whether no session is away.
    pub(super) none_away: bool,
    pub(super) storms: &'a Storms,
}

/// The executors of a thread, and where it is in the run.
#[derive(Debug)]
pub(super) struct Phases {
    steps: Vec<StepState>,
    stage: Stage,
    sending: SendWindow,
}

/// An executor and its progress.
#[derive(Debug)]
struct StepState {
    step: Step,
    /// The time at which the executor began, or begins; `None` while that is unknown.
    start: Option<Nanos>,
    /// The executor has nothing more to do, and waits for sessions.
    waits: bool,
    ended: bool,
}

impl StepState {
    /// Returns whether the executor sends messages.
    fn sends(&self) -> bool {
        matches!(self.step.work, Work::Arrivals(_) | Work::WithLarge(..))
    }

    /// Returns whether the executor opens connections.
    fn connects(&self) -> bool {
        matches!(self.step.work, Work::Ramp(_))
    }

    /// Returns when the executor starts, as far as is known.
    fn starts(&self, board: &Board) -> Option<Nanos> {
        if self.start.is_some() {
            return self.start;
        }
        let free = match self.step.after {
            None => board.begins()?,
            Some(before) => board.ended(before)? + HANDOVER,
        };
        Some(free + self.step.delay)
    }

    /// Returns the time in which the executor sends; `None` if it does not send or has not begun.
    fn window(&self) -> Option<SendWindow> {
        let from = self.start.filter(|_| self.sends())?;
        let until = from + self.step.duration;
        Some(SendWindow { from, until })
    }
}

impl Phases {
    /// Makes the course through these executors.
    pub(super) fn new(steps: Vec<Step>) -> Self {
        let steps = steps.into_iter().map(|step| StepState {
            step,
            start: None,
            waits: false,
            ended: false,
        });
        Self {
            steps: steps.collect(),
            stage: Stage::Executing,
            sending: SendWindow::NONE,
        }
    }

    /// Takes a due action, with its intended time. With `full`, no connection may be begun.
    pub(super) fn take(
        &mut self,
        now: Nanos,
        board: &Board,
        full: bool,
    ) -> Option<(Nanos, Action)> {
        let mut taken = None;
        for state in &mut self.steps {
            let Some(start) = state.starts(board) else {
                continue;
            };
            if state.start.is_none() {
                state.start = Some(start);
                board.reports.begin(state.step.number, start);
            }
            if full && state.connects() {
                continue;
            }
            if let Some(due) = state.step.work.due()
                && start + due <= now
            {
                taken = state.step.work.take().map(|action| (start + due, action));
                break;
            }
        }
        if let Some((at, Action::Send(_))) = taken {
            if !self.sending.has_begun() {
                board.sending_began(at);
            }
            self.extend_sending();
        }
        taken
    }

    /// Ends the executors that send, if `at` has come. Their messages up to then are sent.
    pub(super) fn end_sending(&mut self, now: Nanos, at: Nanos) {
        if now < at {
            return;
        }
        for state in self.steps.iter_mut().filter(|it| it.sends()) {
            let Some(start) = state.start else { continue };
            let is_due = state.step.work.due().is_some_and(|due| start + due < at);
            if start + state.step.duration > at && !is_due {
                state.step.duration = at.saturating_sub(start);
                state.step.work.give_up();
            }
        }
        let windows = self.steps.iter().filter_map(StepState::window);
        if let Some(until) = windows.map(|it| it.until).max() {
            self.sending.until = until;
        }
    }

    fn extend_sending(&mut self) {
        let windows = self.steps.iter().filter_map(StepState::window);
        self.sending = windows.fold(self.sending, SendWindow::with);
    }

    /// Gives up the due actions of executors that ended more than `patience` ago, because the load
    /// generator is too far behind. Returns the number of messages among them, as far as it is
    /// known.
    pub(super) fn give_up(&mut self, now: Nanos, patience: Nanos) -> u64 {
        let mut left = 0;
        for state in &mut self.steps {
            let over = |start: Nanos| now > start + state.step.duration + patience;
            if state.start.is_some_and(over) {
                left += state.step.work.give_up();
            }
        }
        left
    }

    /// Returns the stage of the thread.
    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// Enters another stage.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// Returns the stage in the form of the reports.
    pub(super) fn report(&self) -> RunStage {
        match self.stage {
            Stage::Executing => RunStage::Executing,
            Stage::Draining { until, .. } => RunStage::Draining(until),
            Stage::Reading { until, .. } => RunStage::Reading(until),
            Stage::Closing { until, .. } => RunStage::Closing(until),
        }
    }

    /// Returns whether a late turn of the loop can still change a figure: after the first send, and
    /// before sessions are closed.
    pub(super) fn is_measuring(&self) -> bool {
        self.sending.has_begun() && !matches!(self.stage, Stage::Closing { .. })
    }

    /// Returns whether away sessions need not come back any more.
    pub(super) fn is_judging(&self) -> bool {
        matches!(self.stage, Stage::Reading { .. } | Stage::Closing { .. })
    }

    /// Returns the time in which messages are sent.
    pub(super) fn sending(&self) -> SendWindow {
        self.sending
    }

    /// Returns when the next action is due, as far as it is known. With `full`, no connection may
    /// be begun.
    pub(super) fn due(&self, board: &Board, full: bool) -> Option<Nanos> {
        let due = self.steps.iter().filter_map(|state| {
            if state.ended || state.waits || (full && state.connects()) {
                return None;
            }
            let next = state.step.work.due();
            Some(state.starts(board)? + next.unwrap_or(state.step.duration))
        });
        let look = match self.stage {
            Stage::Draining { look, .. } => Some(look),
            Stage::Closing { next: Some(_), .. } => Some(0),
            _ => None,
        };
        due.chain(look).min()
    }

    /// Ends the executors that are over. Returns their numbers.
    pub(super) fn end_through(&mut self, now: Nanos, conditions: Conditions<'_>) -> Vec<usize> {
        let mut ended = Vec::new();
        for state in &mut self.steps {
            let Some(start) = state.start.filter(|_| !state.ended) else {
                continue;
            };
            let through = state.step.work.due().is_none();
            state.waits = through && now >= start + state.step.duration;
            let number = state.step.number;
            let over = match state.step.work {
                Work::Arrivals(_) | Work::WithLarge(..) => true,
                Work::Churn(_) => conditions.none_away,
                Work::Storm(_) => conditions.storms.is_over(number),
                Work::Ramp(_) => conditions.none_opening,
            };
            if state.waits && over {
                state.ended = true;
                ended.push(number);
            }
        }
        if !ended.is_empty() && self.sending.has_begun() {
            self.extend_sending();
        }
        ended
    }

    /// Returns whether all executors have ended in this thread.
    pub(super) fn all_ended(&self) -> bool {
        self.steps.iter().all(|state| state.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::storms::Storms;
    use crate::schedule::{Churn, ChurnShape, Ramp};

    const START: Nanos = 3 * SECOND;

    /// Opens two connections within a second, from [`START`] on.
    fn ramp(number: usize) -> Step {
        Step {
            number,
            after: None,
            delay: START,
            duration: SECOND,
            work: Work::Ramp(Ramp::new(&[(SECOND, 1.0)], 2)),
        }
    }

    fn churn(number: usize, after: usize) -> Step {
        let shape = ChurnShape {
            rate: 10.0,
            duration: SECOND,
            away: 0,
            abrupt: 0.0,
        };
        Step {
            number,
            after: Some(after),
            delay: SECOND,
            duration: SECOND,
            work: Work::Churn(Churn::new(shape, 2, 1)),
        }
    }

    fn conditions(storms: &Storms, none_opening: bool, none_away: bool) -> Conditions<'_> {
        Conditions {
            none_opening,
            none_away,
            storms,
        }
    }

    /// Returns the times of all actions that are due by `now`.
    fn actions(phases: &mut Phases, board: &Board, now: Nanos) -> Vec<Nanos> {
        std::iter::from_fn(|| phases.take(now, board, false).map(|(at, _)| at)).collect()
    }

    #[test]
    fn an_executor_waits_for_the_one_before_in_all_threads() {
        let board = Board::new(2, 2, false);
        let storms = Storms::default();
        let mut phases = Phases::new(vec![ramp(0), churn(1, 0)]);
        assert_eq!(actions(&mut phases, &board, START - 1), [0; 0]);
        assert_eq!(phases.due(&board, true), None, "no connection may be begun");
        let opened = actions(&mut phases, &board, START + SECOND);
        assert_eq!(opened.len(), 2);
        let opening = conditions(&storms, false, true);
        assert_eq!(phases.end_through(START + SECOND, opening), [0; 0]);
        let open = conditions(&storms, true, true);
        let ended = START + 2 * SECOND;
        assert_eq!(phases.end_through(ended, open), [0]);
        board.end(0, ended);
        assert_eq!(phases.due(&board, false), None, "another thread goes on");
        board.end(0, ended + 7);
        let start = ended + 7 + HANDOVER + SECOND;
        let cuts = actions(&mut phases, &board, start + SECOND);
        assert!(!cuts.is_empty() && cuts[0] >= start);
        assert_eq!(board.reports.began(1), Some(start));
        let away = conditions(&storms, true, false);
        assert_eq!(phases.end_through(start + SECOND, away), [0; 0]);
        assert!(!phases.all_ended());
        assert_eq!(phases.end_through(start + SECOND, open), [1]);
        assert!(phases.all_ended());
    }

    #[test]
    fn a_thread_that_is_too_far_behind_gives_up() {
        let board = Board::new(2, 1, false);
        let mut phases = Phases::new(vec![ramp(0), churn(1, 0)]);
        actions(&mut phases, &board, START + SECOND);
        board.end(0, START + SECOND);
        let start = START + SECOND + HANDOVER + SECOND;
        phases.take(start, &board, false);
        let limit = start + 11 * SECOND;
        phases.give_up(limit, 10 * SECOND);
        assert!(phases.take(limit, &board, false).is_some());
        phases.give_up(limit + 1, 10 * SECOND);
        let left = actions(&mut phases, &board, start + 20 * SECOND);
        assert_eq!(left, [0; 0]);
    }

    #[test]
    fn windows_add_up() {
        let window = |from, until| SendWindow { from, until };
        assert!(!SendWindow::NONE.has_begun());
        let both = SendWindow::NONE.with(window(3, 9)).with(window(5, 12));
        assert_eq!((both, both.length()), (window(3, 12), 9));
        assert_eq!(SendWindow::NONE.length(), 0);
    }
}
