//! Breaks what a run started while it works, and notes how it comes back.
//!
//! This happens on the main thread: a gateway ends with the thread that started it
//! (PR_SET_PDEATHSIG), so no other thread may start one.

use std::collections::VecDeque;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::driven::Own;
use crate::client::Board;
use crate::clock::{Clock, Nanos, SECOND, to_nanos};
use crate::control_port;
use crate::course::Course;
use crate::exit::{Failure, Outcome};
use crate::local_cluster::{Cut, Order};
use crate::local_gateway::LocalGateway;
use crate::own_process::OwnProcess;
use crate::scenario::chaos::{Chaos as Plan, Fault, FaultKind, Whom};
use crate::scenario::cluster::node_name;
use crate::stats::Counters;
use crate::verdict::FaultRecord;

/// The time after a fault in which sessions may still end because of it: some clients wait for the
/// answer to a ping, or have not noticed the fault yet.
const AFTERMATH: Nanos = 30 * SECOND;

/// The time in which a process must stop when it is asked to.
const STOP: Nanos = 60 * SECOND;

/// The time in which all gateways of a cluster must be ready after a fault.
const RECOVERY: Nanos = 120 * SECOND;

/// The time from the recovery of a cluster to its next fault, at the least.
const REST: Nanos = SECOND;

/// The time between two looks at what was broken.
const CLOSELY: Duration = Duration::from_millis(1);

/// The time between two questions whether the gateways of a cluster are ready.
const SOON: Duration = Duration::from_millis(10);

/// A process that a fault is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// A gateway, by its place.
    Gateway(usize),
    /// A NATS server, by its place.
    Server(usize),
}

#[derive(Debug)]
enum Stage {
    /// Everything works since this time; the next fault is not due yet.
    Whole(Nanos),
    /// The processes have been told to end, and have not yet.
    Ending,
    /// The processes have ended, and are started at this time.
    Away(Nanos),
    /// The next processes are started and not ready yet.
    Starting,
    /// The processes are halted or cut off, until this time.
    Halted(Nanos),
    /// The leader is told to let another gateway lead, and the command is not done.
    Asked(Order),
    /// The fault is over, and not all gateways of the cluster are ready.
    Recovering,
}

/// Breaks what a run started as its scenario asks for, one fault after the other.
#[derive(Debug)]
pub(crate) struct ChaosRunner {
    due: VecDeque<Fault>,
    stage: Stage,
    victims: Vec<Victim>,
    faults: Vec<FaultRecord>,
    /// The time of sending. A fault of a cluster that would come after it does not happen.
    sending: Nanos,
}

impl Own {
    fn gateway(&mut self, place: usize) -> Outcome<&mut LocalGateway> {
        let found = match self {
            Self::Nothing => None,
            Self::Gateway(gateway) => Some(&mut **gateway),
            Self::Cluster(cluster) => cluster.nodes_mut().get_mut(place),
        };
        found.ok_or_else(|| Failure::aborted("a fault is done to a gateway that is not there"))
    }

    fn process(&mut self, victim: Victim) -> Outcome<&mut OwnProcess> {
        match (self, victim) {
            (Self::Cluster(cluster), Victim::Server(place)) => {
                Ok(cluster.servers_mut()[place].process())
            }
            (own, Victim::Gateway(place) | Victim::Server(place)) => {
                Ok(own.gateway(place)?.process_mut())
            }
        }
    }

    fn spawn(&mut self, victim: Victim) -> Outcome<()> {
        match (self, victim) {
            (Self::Cluster(cluster), Victim::Server(place)) => cluster.servers_mut()[place].spawn(),
            (own, Victim::Gateway(place) | Victim::Server(place)) => own.gateway(place)?.spawn(),
        }
    }

    fn is_ready(&mut self, victim: Victim) -> Outcome<bool> {
        match (self, victim) {
            (Self::Cluster(cluster), Victim::Server(place)) => {
                cluster.servers_mut()[place].is_ready()
            }
            (own, Victim::Gateway(place) | Victim::Server(place)) => {
                own.gateway(place)?.is_ready(CLOSELY)
            }
        }
    }

    /// Returns what a fault is done to now; an empty list if no gateway leads at the moment.
    fn victims(&self, whom: Whom) -> Vec<Victim> {
        match (whom, self) {
            (Whom::Node(place), _) => vec![Victim::Gateway(place.into())],
            (Whom::Server(place), _) => vec![Victim::Server(place.into())],
            (Whom::Leader, Self::Cluster(_)) => {
                self.leader().map(Victim::Gateway).into_iter().collect()
            }
            (Whom::Servers, Self::Cluster(cluster)) => {
                (0..cluster.servers()).map(Victim::Server).collect()
            }
            (Whom::Gateway | Whom::Leader | Whom::Nodes | Whom::Servers, own) => {
                (0..own.gateways().len()).map(Victim::Gateway).collect()
            }
        }
    }

    /// Returns the place of the gateway of a cluster that leads.
    fn leader(&self) -> Option<usize> {
        match self {
            Self::Cluster(cluster) => cluster.leader(),
            Self::Nothing | Self::Gateway(_) => None,
        }
    }

    /// Tells the gateway that leads to let another one lead.
    fn step_down(&self) -> Outcome<Order> {
        match (self, self.leader()) {
            (Self::Cluster(cluster), Some(leader)) => cluster.step_down(leader),
            _ => Err(Failure::aborted(
                "no gateway leads that could let another one lead",
            )),
        }
    }

    /// Returns a gateway of a cluster that is not ready.
    fn is_not_ready(&self) -> Option<&LocalGateway> {
        match self {
            Self::Cluster(cluster) => {
                let mut nodes = cluster.nodes().iter();
                nodes.find(|it| !control_port::is_ready(it.control))
            }
            Self::Nothing | Self::Gateway(_) => None,
        }
    }
}

impl ChaosRunner {
    /// Returns the faults of a plan for a run that sends for `sending`. A gateway that will be started again
    /// keeps its port.
    ///
    /// # Errors
    /// The port of the gateway cannot be kept.
    pub(crate) fn new(plan: &Plan, sending: Nanos, own: &mut Own) -> Outcome<Self> {
        if let Own::Gateway(gateway) = own
            && plan.actions.iter().any(|it| it.action.starts_again())
        {
            gateway.keep_port()?;
        }
        Ok(Self {
            due: plan.actions.iter().copied().collect(),
            stage: Stage::Whole(0),
            victims: Vec::new(),
            faults: Vec::new(),
            sending,
        })
    }

    /// Does what is due. Returns how soon to look again, if sooner than otherwise.
    ///
    /// # Errors
    /// A process cannot be signalled, does not start again, or a cluster does not recover.
    pub(crate) fn look(
        &mut self,
        clock: Clock,
        board: &Board,
        own: &mut Own,
        course: &mut Course,
    ) -> Outcome<Option<Duration>> {
        let Some(sending) = board.sending() else {
            return Ok(None);
        };
        let now = clock.now();
        self.note(now, board);
        match &mut self.stage {
            &mut Stage::Whole(since) => {
                let Some(next) = self.due.front() else {
                    return Ok(None);
                };
                let at = sending + to_nanos(next.at.0);
                if now < at {
                    return Ok(Some(Duration::from_nanos(at - now)));
                }
                if matches!(own, Own::Cluster(_)) && now >= sending + self.sending {
                    // Nothing would show what it cost.
                    self.due.clear();
                } else if self.is_at_rest(now, since, board, own)
                    && !self.strike(now, now - sending, board, own)?
                {
                    return Ok(Some(SOON));
                }
            }
            Stage::Ending => self.ending(now, own)?,
            &mut Stage::Away(until) if now >= until => {
                for victim in &self.victims {
                    own.spawn(*victim)?;
                }
                tell(course, own);
                self.stage = Stage::Starting;
            }
            &mut Stage::Away(until) => return Ok(Some(Duration::from_nanos(until - now))),
            Stage::Starting => {
                let mut ready = true;
                for victim in &self.victims {
                    ready &= own.is_ready(*victim)?;
                }
                if ready {
                    tell(course, own);
                    self.over(clock.now(), board, own);
                }
            }
            &mut Stage::Halted(until) if now >= until => self.go_on(now, board, own)?,
            &mut Stage::Halted(until) => return Ok(Some(Duration::from_nanos(until - now))),
            Stage::Asked(order) => {
                if order.is_done()? {
                    self.down(now);
                    self.over(now, board, own);
                }
            }
            Stage::Recovering => {
                self.recovering(clock, board, own)?;
                return Ok(Some(SOON));
            }
        }
        Ok(Some(CLOSELY))
    }

    /// Returns the faults that happened, in the order of time.
    pub(crate) fn into_faults(self) -> Vec<FaultRecord> {
        self.faults
    }

    /// Returns whether the next fault can come: a cluster has recovered from the last one, and
    /// acknowledges messages again.
    fn is_at_rest(&self, now: Nanos, since: Nanos, board: &Board, own: &Own) -> bool {
        let is_first = self.faults.is_empty() || !matches!(own, Own::Cluster(_));
        is_first || (now >= since + REST && board.last_acknowledged() > since)
    }

    /// Brings the fault that is due. Returns whether it came: one that is done to the leader waits until there is one.
    fn strike(&mut self, now: Nanos, at: Nanos, board: &Board, own: &mut Own) -> Outcome<bool> {
        let Some(fault) = self.due.front().copied() else {
            return Ok(false);
        };
        self.victims = own.victims(fault.whom);
        if self.victims.is_empty() {
            // Some gateway leads soon.
            return Ok(false);
        }
        let leader = own.leader().map(Victim::Gateway);
        let led = leader.is_some_and(|it| self.victims.contains(&it));
        if fault.action == FaultKind::StepDown && !led {
            return Ok(false);
        }
        self.due.pop_front();
        // What breaks is known to be broken before it breaks.
        match fault.action.is_planned() {
            true => board.planned_begins(now),
            false => board.chaos_begins(now),
        }
        let before = board.total();
        self.faults.push(FaultRecord {
            fault,
            victims: self.victims.iter().map(|it| name(*it, own)).collect(),
            led,
            at,
            down: None,
            ready: None,
            back: None,
            broken: 0,
            unacknowledged: None,
            unsure: 0,
            began: now,
            ended_before: broken(fault.action, &before),
            unsure_before: before.unsure,
        });
        for victim in &self.victims {
            hit(fault.action, *victim, own)?;
        }
        self.stage = match fault.action {
            FaultKind::Kill | FaultKind::Stop | FaultKind::Restart => Stage::Ending,
            FaultKind::StepDown => Stage::Asked(own.step_down()?),
            _ => Stage::Halted(now + to_nanos(fault.duration())),
        };
        Ok(true)
    }

    /// Notes when the processes had ended, were continued, or had followed.
    fn down(&mut self, now: Nanos) {
        if let Some(current) = self.faults.last_mut() {
            current.down = Some(now - current.began);
        }
    }

    fn ending(&mut self, now: Nanos, own: &mut Own) -> Outcome<()> {
        let Some(current) = self.faults.last_mut() else {
            return Ok(());
        };
        for victim in &self.victims {
            let process = own.process(*victim)?;
            if process.has_ended()? {
                continue;
            }
            if now > current.began + to_nanos(current.fault.duration()) + STOP {
                return Err(Failure::aborted(format!(
                    "{}: {} did not end\n{}",
                    current.fault,
                    process.what(),
                    process.log_tail()
                )));
            }
            return Ok(());
        }
        current.down = Some(now - current.began);
        let away = match current.fault.action {
            // That was the time without room.
            FaultKind::FullDisk => Duration::ZERO,
            _ => current.fault.duration(),
        };
        self.stage = Stage::Away(now + to_nanos(away));
        Ok(())
    }

    /// Lets halted processes go on, and mends cuts.
    fn go_on(&mut self, now: Nanos, board: &Board, own: &mut Own) -> Outcome<()> {
        let Some(current) = self.faults.last_mut() else {
            return Ok(());
        };
        for victim in &self.victims {
            match current.fault.action {
                action if action.cuts_off() => cut(own, *victim, Cut::Nothing),
                FaultKind::FullDisk => {
                    let process = own.process(*victim)?;
                    if !process.has_ended()? {
                        process.may_write(true)?;
                        process.signal(Signal::SIGTERM)?;
                    }
                }
                _ => own.process(*victim)?.signal(Signal::SIGCONT)?,
            }
        }
        if current.fault.action == FaultKind::FullDisk {
            self.stage = Stage::Ending;
            return Ok(());
        }
        self.down(now);
        self.over(now, board, own);
        Ok(())
    }

    /// Notes that the fault is over. A cluster may have to recover from it.
    fn over(&mut self, now: Nanos, board: &Board, own: &Own) {
        match own {
            Own::Cluster(_) => self.stage = Stage::Recovering,
            Own::Nothing | Own::Gateway(_) => self.whole(now, board),
        }
    }

    fn recovering(&mut self, clock: Clock, board: &Board, own: &mut Own) -> Outcome<()> {
        for place in 0..own.gateways().len() {
            let process = own.process(Victim::Gateway(place))?;
            if process.has_ended()? {
                return Err(Failure::aborted(format!(
                    "{} ended by itself after {}; the end of its log:\n{}",
                    process.what(),
                    self.last_fault(),
                    process.log_tail()
                )));
            }
        }
        let Some(node) = own.is_not_ready() else {
            self.whole(clock.now(), board);
            return Ok(());
        };
        let began = self.faults.last().map_or(0, |it| it.began);
        let until = began + RECOVERY;
        match clock.now() < until {
            true => Ok(()),
            false => Err(Failure::aborted(format!(
                "{} was not ready {} s after {}; the end of its log:\n{}",
                node.process().what(),
                RECOVERY / SECOND,
                self.last_fault(),
                node.process().log_tail()
            ))),
        }
    }

    fn last_fault(&self) -> String {
        self.faults
            .last()
            .map_or(String::new(), |it| it.fault.to_string())
    }

    /// Notes that everything works again.
    fn whole(&mut self, now: Nanos, board: &Board) {
        if let Some(current) = self.faults.last_mut() {
            current.ready = Some(now - current.began);
        }
        if self
            .faults
            .last()
            .is_some_and(|it| !it.fault.action.is_planned())
        {
            board.chaos_ends(now + AFTERMATH);
        }
        self.stage = Stage::Whole(now);
    }

    /// Ends the fault that is under way: starts an ended process again, or continues a paused one.
    ///
    /// # Errors
    /// The errors of [`look`](Self::look).
    pub(crate) fn finish(
        &mut self,
        clock: Clock,
        board: &Board,
        own: &mut Own,
        course: &mut Course,
    ) -> Outcome<()> {
        self.due.clear();
        match self.stage {
            Stage::Halted(_) => self.go_on(clock.now(), board, own)?,
            Stage::Away(_) => self.stage = Stage::Away(0),
            _ => {}
        }
        while !matches!(self.stage, Stage::Whole(_)) {
            let soon = self.look(clock, board, own, course)?;
            std::thread::sleep(soon.unwrap_or(CLOSELY).min(SOON));
        }
        self.note(clock.now(), board);
        Ok(())
    }

    /// Notes how many sessions broke, when all were back, and what was acknowledged meanwhile.
    fn note(&mut self, now: Nanos, board: &Board) {
        let Some(last) = self.faults.last_mut() else {
            return;
        };
        if last
            .ready
            .is_none_or(|ready| now <= last.began + ready + AFTERMATH)
        {
            let total = board.total();
            last.unsure = total.unsure - last.unsure_before;
            last.unacknowledged = board.longest_silence();
            if last.ready.is_some() {
                last.broken = broken(last.fault.action, &total) - last.ended_before;
                let calm = board.calm_since();
                let back = board.away() == 0 && (last.broken == 0 || calm > last.began);
                last.back = back.then(|| calm.saturating_sub(last.began));
            }
        }
    }
}

/// Tells the course of a run that its only gateway is another process.
fn tell(course: &mut Course, own: &Own) {
    if let Own::Gateway(gateway) = own {
        course.gateway_is(gateway);
    }
}

/// Returns how many sessions broke so far, where a fault of this kind counts them.
const fn broken(action: FaultKind, counters: &Counters) -> u64 {
    match action.is_planned() {
        true => counters.disconnects,
        false => counters.disconnects_excused,
    }
}

/// Does what a fault of this kind begins with to a process.
fn hit(action: FaultKind, victim: Victim, own: &mut Own) -> Outcome<()> {
    let signal = match action {
        FaultKind::Kill => Signal::SIGKILL,
        FaultKind::Stop | FaultKind::Restart => Signal::SIGTERM,
        FaultKind::Pause => Signal::SIGSTOP,
        FaultKind::FullDisk => return own.process(victim)?.may_write(false),
        FaultKind::Partition | FaultKind::Deaf | FaultKind::Mute => {
            cut(own, victim, directions(action));
            return Ok(());
        }
        // The cluster is asked for it, and not the process.
        FaultKind::StepDown => return Ok(()),
    };
    let process = own.process(victim)?;
    // For its figures: of its memory there is nothing left when it has ended.
    process.has_ended()?;
    process.signal(signal)
}

/// Returns in which directions a fault cuts a gateway off.
const fn directions(action: FaultKind) -> Cut {
    match action {
        FaultKind::Deaf => Cut::In,
        FaultKind::Mute => Cut::Out,
        _ => Cut::Both,
    }
}

fn cut(own: &Own, victim: Victim, cut: Cut) {
    if let (Own::Cluster(cluster), Victim::Gateway(place)) = (own, victim) {
        cluster.cut(place, cut);
    }
}

/// Returns the name of a process in results.
fn name(victim: Victim, own: &Own) -> String {
    match (victim, own) {
        (Victim::Server(place), _) => format!("nats {}", place + 1),
        (Victim::Gateway(place), Own::Cluster(_)) => {
            u8::try_from(place).map_or_else(|_| place.to_string(), node_name)
        }
        (Victim::Gateway(_), _) => "gateway".to_owned(),
    }
}
