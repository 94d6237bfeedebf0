//! Breaks the gateway of a run while it works, and notes how it comes back.
//!
//! This happens on the main thread: a gateway ends with the thread that started it
//! (PR_SET_PDEATHSIG), so no other thread may start one.

use std::collections::VecDeque;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::Board;
use crate::clock::{Clock, Nanos, SECOND, to_nanos};
use crate::course::Course;
use crate::exit::{Failure, Outcome};
use crate::local_gateway::LocalGateway;
use crate::scenario::chaos::{Chaos as Plan, Fault, FaultKind};
use crate::verdict::FaultRecord;

/// The time after a fault in which sessions may still end because of it: some clients wait for the
/// answer to a ping, or have not noticed the fault yet.
const AFTERMATH: Nanos = 30 * SECOND;

/// The time in which a gateway must stop when it is asked to.
const STOP: Nanos = 60 * SECOND;

/// The time between two looks at the gateway during a fault.
const CLOSELY: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The gateway works; the next fault is not due yet.
    Whole,
    /// The process has been told to end, and has not yet.
    Ending,
    /// The next process is started and not ready yet.
    Starting,
    /// The process is halted until the pause is over.
    Paused,
}

/// Breaks the gateway of a run as its scenario asks for, one fault after the other.
#[derive(Debug)]
pub(crate) struct ChaosRunner {
    due: VecDeque<Fault>,
    stage: Stage,
    faults: Vec<FaultRecord>,
}

impl ChaosRunner {
    /// Returns the faults of a plan. A gateway that will be started again keeps its port.
    ///
    /// # Errors
    /// The port of the gateway cannot be kept.
    pub(crate) fn new(plan: &Plan, gateway: Option<&mut LocalGateway>) -> Outcome<Self> {
        if let Some(gateway) = gateway
            && plan.actions.iter().any(|it| it.action.starts_again())
        {
            gateway.keep_port()?;
        }
        Ok(Self {
            due: plan.actions.iter().copied().collect(),
            stage: Stage::Whole,
            faults: Vec::new(),
        })
    }

    /// Does what is due. Returns how soon to look again, if sooner than otherwise.
    ///
    /// # Errors
    /// The gateway cannot be signalled, or does not start again.
    pub(crate) fn look(
        &mut self,
        clock: Clock,
        board: &Board,
        gateway: Option<&mut LocalGateway>,
        course: &mut Course,
    ) -> Outcome<Option<Duration>> {
        let (Some(gateway), Some(sending)) = (gateway, board.sending()) else {
            return Ok(None);
        };
        let now = clock.now();
        self.note(now, board);
        match self.stage {
            Stage::Whole => {
                let Some(next) = self.due.front() else {
                    return Ok(None);
                };
                let at = sending + to_nanos(next.at.0);
                if now < at {
                    return Ok(Some(Duration::from_nanos(at - now)));
                }
                self.strike(now, now - sending, board, gateway)?;
            }
            Stage::Ending => self.ending(now, gateway, course)?,
            Stage::Starting => {
                if gateway.is_ready(CLOSELY)? {
                    course.gateway_is(gateway);
                    self.whole(clock.now(), board);
                }
            }
            Stage::Paused => {
                let Some(current) = self.faults.last_mut() else {
                    return Ok(None);
                };
                if let FaultKind::Pause(how_long) = current.fault.action
                    && now >= current.began + to_nanos(how_long.0)
                {
                    gateway.signal(Signal::SIGCONT)?;
                    current.down = Some(now - current.began);
                    self.whole(now, board);
                }
            }
        }
        Ok(Some(CLOSELY))
    }

    /// Returns the faults that happened, in the order of time.
    pub(crate) fn into_faults(self) -> Vec<FaultRecord> {
        self.faults
    }

    fn strike(
        &mut self,
        now: Nanos,
        at: Nanos,
        board: &Board,
        gateway: &mut LocalGateway,
    ) -> Outcome<()> {
        let Some(fault) = self.due.pop_front() else {
            return Ok(());
        };
        // What breaks is known to be broken before it breaks.
        board.chaos_begins(now);
        self.faults.push(FaultRecord {
            fault,
            at,
            down: None,
            ready: None,
            back: None,
            broken: 0,
            began: now,
            ended_before: board.total().disconnects_excused,
        });
        // For its figures: of its memory there is nothing left when it has ended.
        gateway.has_ended()?;
        let (signal, stage) = match fault.action {
            FaultKind::Kill => (Signal::SIGKILL, Stage::Ending),
            FaultKind::Restart => (Signal::SIGTERM, Stage::Ending),
            FaultKind::Pause(_) => (Signal::SIGSTOP, Stage::Paused),
        };
        gateway.signal(signal)?;
        self.stage = stage;
        Ok(())
    }

    fn ending(
        &mut self,
        now: Nanos,
        gateway: &mut LocalGateway,
        course: &mut Course,
    ) -> Outcome<()> {
        let Some(current) = self.faults.last_mut() else {
            return Ok(());
        };
        if gateway.has_ended()? {
            current.down = Some(now - current.began);
            gateway.spawn()?;
            course.gateway_is(gateway);
            self.stage = Stage::Starting;
        } else if now > current.began + STOP {
            return Err(Failure::aborted(format!(
                "{}: the gateway did not end\n{}",
                current.fault,
                gateway.log_tail()
            )));
        }
        Ok(())
    }

    /// Notes that the gateway works again.
    fn whole(&mut self, now: Nanos, board: &Board) {
        if let Some(current) = self.faults.last_mut() {
            current.ready = Some(now - current.began);
        }
        board.chaos_ends(now + AFTERMATH);
        self.stage = Stage::Whole;
    }

    /// Ends the fault that is under way: starts an ended gateway again, or continues a paused one.
    ///
    /// # Errors
    /// The errors of [`look`](Self::look).
    pub(crate) fn finish(
        &mut self,
        clock: Clock,
        board: &Board,
        gateway: Option<&mut LocalGateway>,
        course: &mut Course,
    ) -> Outcome<()> {
        let mut gateway = gateway;
        if self.stage == Stage::Paused
            && let Some(gateway) = &gateway
        {
            gateway.signal(Signal::SIGCONT)?;
            self.whole(clock.now(), board);
        }
        while self.stage != Stage::Whole {
            self.look(clock, board, gateway.as_deref_mut(), course)?;
            std::thread::sleep(CLOSELY);
        }
        self.note(clock.now(), board);
        Ok(())
    }

    /// Notes how many sessions broke, and when all were back.
    fn note(&mut self, now: Nanos, board: &Board) {
        let Some(last) = self.faults.last_mut() else {
            return;
        };
        if let Some(ready) = last.ready
            && now <= last.began + ready + AFTERMATH
        {
            last.broken = board.total().disconnects_excused - last.ended_before;
            let calm = board.calm_since();
            let back = board.away() == 0 && (last.broken == 0 || calm > last.began);
            last.back = back.then(|| calm.saturating_sub(last.began));
        }
    }
}
