//! The verdict on a run: the measurements of its threads, judged by the scenario's rules.

mod agents;
pub(crate) mod doubts;
mod fault_record;
mod sides;
mod targets;
mod thresholds;

use std::collections::BTreeMap;

use crate::check::{Findings, Violation};
use crate::client::{Measured, Storm};
use crate::clock::seconds;
use crate::couriers::Between;
use crate::course::{Course, Intervals, Worst};
use crate::debt::Debt;
use crate::exit::{Exit, Failure};
use crate::health::{Cpu, Health};
use crate::scenario::chaos::Whom;
use crate::scenario::protocol::ProtocolKind;
use crate::settings::{Gateway, RunSettings};
use crate::stats::{Counters, Latencies, Metric};
pub(crate) use agents::{AgentRecord, AgentResult};
use doubts::Evidence;
pub(crate) use fault_record::FaultRecord;
pub(crate) use sides::{Agreement, Baseline, OwnUse, Sides};
pub(crate) use targets::TargetResult;
use thresholds::rate;

/// The records of a run after its threads have ended.
#[derive(Debug)]
pub(crate) struct RunRecord {
    /// The measurements of each thread.
    pub(crate) measured: Vec<Measured>,
    /// The URL of each gateway.
    pub(crate) targets: Vec<String>,
    /// The machines that played the run, if it was not this one.
    pub(crate) agents: Vec<AgentRecord>,
    /// The messages between those machines, if there are several.
    pub(crate) between: Option<Between>,
    /// The faults of the gateway during the run.
    pub(crate) faults: Vec<FaultRecord>,
    /// The use of the machine's processors.
    pub(crate) cpu: Cpu,
    /// The course of the run over time.
    pub(crate) course: Course,
    /// The resources that both sides used.
    pub(crate) sides: Sides,
    /// The work that the gateway put off, where it is known.
    pub(crate) debt: Option<Debt>,
    /// The run was ended before its time.
    pub(crate) aborted: bool,
}

/// A run with its figures and its verdict.
#[derive(Debug)]
pub(crate) struct JudgedRun {
    pub(crate) exit: Exit,
    pub(crate) counters: Counters,
    pub(crate) latencies: Latencies,
    /// The seconds in which messages were sent.
    pub(crate) sending: f64,
    /// The seconds before sending in which groups were made.
    pub(crate) making: f64,
    pub(crate) health: Health,
    /// The use of each gateway, if there were several.
    pub(crate) targets: Vec<TargetResult>,
    /// The machines that played the run, if it was not this one.
    pub(crate) agents: Vec<AgentResult>,
    /// The messages between those machines, if there are several.
    pub(crate) between: Option<Between>,
    pub(crate) violations: BTreeMap<&'static str, u64>,
    /// Thresholds that were missed, in words.
    pub(crate) missed: Vec<String>,
    /// Sentences about requested figures that were not measured, and about figures that contradict
    /// each other.
    pub(crate) doubts: Vec<String>,
    /// What the protocol of the run cannot check, in sentences.
    pub(crate) not_checked: Vec<String>,
    /// Whether the server acknowledges messages.
    acknowledges: bool,
    /// Other remarks, in sentences.
    pub(crate) notes: Vec<String>,
    /// The files of the results could not be written whole.
    pub(crate) unwritten: bool,
    pub(crate) sides: Sides,
    /// The work that the gateway put off, where it is known.
    pub(crate) debt: Option<Debt>,
    /// The worst second of sending; `None` if it lasted no whole second.
    pub(crate) worst: Option<Worst>,
    /// The storms, all threads together.
    pub(crate) storms: Vec<Storm>,
    /// The faults of the gateway during the run.
    pub(crate) faults: Vec<FaultRecord>,
    /// The findings of all threads.
    pub(crate) findings: Findings,
    /// The intervals of the run.
    pub(crate) intervals: Intervals,
}

/// Judges a run.
pub(crate) fn judge(run: &RunSettings, record: RunRecord) -> JudgedRun {
    let RunRecord {
        mut measured,
        targets,
        agents,
        between,
        faults,
        cpu,
        course,
        mut sides,
        debt,
        aborted,
    } = record;
    let agents = agents::judge(&run.scenario.health, agents, &mut measured);
    let short = agents.iter().any(|it| it.ended_early.is_some());
    let Measured {
        mut findings,
        latencies,
        stall,
        busy,
        sending,
        storms,
        troubles: mut notes,
        making,
        targets: tallies,
    } = Measured::whole(measured);
    // A courier that was told to stop did not wait for what was under way.
    let couriers = between.as_ref().filter(|_| !aborted && !short);
    agents::testify(&mut findings, couriers);
    let counters = *findings.counters();
    let kinds = findings.violations().iter();
    let mut violations: BTreeMap<&'static str, u64> =
        kinds.map(|(kind, count)| (kind.name(), *count)).collect();
    let (compared, why) = comparison(&counters, &faults);
    if !aborted && !short && sides.compare(&agents::with_couriers(counters, couriers), compared) {
        violations.insert(Violation::MetricsDisagree.name(), 1);
    }
    notes.extend(sides.notes(why));
    let lag = latencies.percentiles(Metric::SendLag);
    let limits = &run.scenario.health;
    let own = || Health::judge(limits, &counters, &lag, stall, &cpu).with_busiest(busy);
    let mut health = agents::health(&agents).unwrap_or_else(own);
    if !aborted && !short {
        unfit(&mut health, &counters);
    }
    // Without a session nothing was measured, whatever the cause. The same holds if the gateway
    // ended all sessions.
    let gone = counters.gone > 0 && counters.gone == counters.sessions_opened;
    if gone && !aborted {
        notes.push("the gateway ended every session before the end of the run".into());
    }
    notes.extend(other_ways(&counters));
    let unusable = !short && (aborted || gone || counters.sessions_opened == 0);
    let mut missed = thresholds::missed(run, &counters, &latencies, seconds(sending.length()));
    missed.extend(faults.iter().filter_map(FaultRecord::complaint));
    let acknowledges = run.scenario.protocol.acknowledges();
    let evidence = Evidence::of(run.sizing.offered_rate, &counters, acknowledges);
    let mut doubts = doubts(run, evidence, &latencies, (&sides, debt.as_ref()));
    if short {
        // Figures of a part of the run miss or show nothing.
        missed.clear();
        doubts.clear();
    }
    let exit = match unusable {
        _ if !violations.is_empty() => Exit::Violation,
        true => Exit::Aborted,
        false if !health.healthy => Exit::Invalid,
        false => of_figures(evidence, &missed, &doubts),
    };
    let intervals = Intervals::new(&course, latencies.timeline());
    JudgedRun {
        exit,
        doubts,
        not_checked: not_checked(run, between.as_ref()),
        targets: targets::results(targets, &tallies),
        agents,
        between,
        acknowledges,
        counters,
        worst: intervals.worst(sending, acknowledges),
        intervals,
        debt,
        latencies,
        sending: seconds(sending.length()),
        making: seconds(making),
        health,
        violations,
        missed,
        notes,
        unwritten: false,
        sides,
        storms,
        faults,
        findings,
    }
}

/// Returns why a run that shall be steady has no figure of a steady state.
fn unsteady(run: &RunSettings, debt: Option<&Debt>) -> Option<String> {
    run.steady?;
    match debt {
        Some(debt) => debt.complaint(),
        None => Some("whether the run is steady is not known: the control port has no metric of the work that is put off".to_owned()),
    }
}

/// Returns what the run does not check, in sentences.
fn not_checked(run: &RunSettings, between: Option<&Between>) -> Vec<String> {
    let scenario = &run.scenario;
    let foreign = scenario.protocol.kind != ProtocolKind::Trunkline;
    let mut all: Vec<String> = { scenario.protocol.not_checked() }
        .into_iter()
        .map(str::to_owned)
        .collect();
    if let Some(between) = between {
        all.push(agents::NOT_CHECKED.to_owned());
        all.extend(between.left_out.iter().cloned());
    }
    let history = scenario.checks.history;
    if !foreign && history.part < history.whole {
        all.push(format!(
            "the history of some conversations: {history} of them are read back (checks.history)"
        ));
    }
    match (&run.gateway, run.debt.is_empty()) {
        (Gateway::Targets { controls, .. }, _) if controls.is_empty() && !foreign => all.push(
            "the counters of the gateway and the work that it puts off: --control names its control port".into(),
        ),
        (_, true) if foreign => all.push(
            "the work that the server puts off: --control and --debt name a metric of it".into(),
        ),
        _ => {}
    }
    all
}

/// Returns what the figures of a run do not show, in sentences.
fn doubts(
    run: &RunSettings,
    evidence: Evidence,
    latencies: &Latencies,
    (sides, debt): (&Sides, Option<&Debt>),
) -> Vec<String> {
    let mut doubts = evidence.doubts();
    if !evidence.is_nothing() {
        let count = |metric: &str| doubts::count(latencies, metric);
        doubts.extend(doubts::unmeasured(&run.scenario.thresholds, count));
    }
    doubts.extend(doubts::more_there(&sides.agreement).filter(|_| !sides.own));
    doubts.extend(unsteady(run, debt));
    doubts
}

/// Returns the verdict on figures without violations.
fn of_figures(evidence: Evidence, missed: &[String], doubts: &[String]) -> Exit {
    match (missed.is_empty(), doubts.is_empty()) {
        _ if evidence.is_nothing() => Exit::Inconclusive,
        (false, _) => Exit::Threshold,
        (true, false) => Exit::Inconclusive,
        (true, true) => Exit::Ok,
    }
}

/// Adds the faults of a generator that could not play the scenario.
fn unfit(health: &mut Health, counters: &Counters) {
    if counters.sessions_opened < counters.connects {
        health.add_fault(format!(
            "{} of {} sessions were opened",
            counters.sessions_opened, counters.connects
        ));
    }
    if counters.conversations_unread + counters.unproven > 0 {
        health.add_fault(format!(
            "{} conversations could not be read back, and {} acknowledged messages could not be traced, because no session was left to ask",
            counters.conversations_unread, counters.unproven
        ));
    }
}

impl JudgedRun {
    /// Takes the verdict back because the results could not be written. A violation stays one; no
    /// other verdict counts without its files.
    pub(crate) fn without_results(&mut self, why: &Failure) {
        self.unwritten = true;
        self.notes.push(why.message.clone());
        if self.exit != Exit::Violation {
            self.exit = Exit::Aborted;
        }
    }

    /// Returns what the achieved rate counts: a number, and what happened so often.
    pub(crate) fn achievement(&self) -> (u64, &'static str) {
        match self.acknowledges {
            true => (self.counters.acknowledged_in_time, "acknowledged"),
            false => (self.counters.pushes_in_time, "arrived"),
        }
    }

    /// Returns the sends answered per second while messages were sent. Answers after the end of the
    /// schedule do not count: otherwise a backlog would raise the rate.
    pub(crate) fn achieved(&self) -> f64 {
        rate(&self.counters, self.sending, self.acknowledges)
    }

    /// Returns the messages pushed to devices per second while messages were sent.
    pub(crate) fn deliveries(&self) -> f64 {
        self.counters.pushes_in_time as f64 / self.sending.max(f64::MIN_POSITIVE)
    }

    /// Returns the number of devices that a message was pushed to, on average.
    pub(crate) fn fan_out(&self) -> f64 {
        let acknowledged = self.counters.acknowledged.max(1);
        self.counters.message_pushes as f64 / acknowledged as f64
    }
}

/// Returns sentences on messages that came by other ways than pushes.
fn other_ways(counters: &Counters) -> Vec<String> {
    let mut notes = Vec::new();
    if counters.gaps > 0 {
        notes.push(format!(
            "the gateway left out live pushes {} times, because this program read too slowly: {} messages came by sync or history instead",
            counters.gaps, counters.recovered
        ));
    }
    if counters.not_recovered > 0 {
        notes.push(format!(
            "{} sessions were opened again without their missed messages: the gateway did not accept their position, so history was read instead",
            counters.not_recovered
        ));
    }
    if counters.strange > 0 {
        notes.push(format!(
            "[protocol] does not describe {} messages of the server",
            counters.strange
        ));
    }
    if counters.undecided > 0 {
        notes.push(format!(
            "{} messages were under way when a session broke: whether they should have come is not checked",
            counters.undecided
        ));
    }
    notes
}

/// Returns how many of the counters can be compared with the gateway's, and why not all.
fn comparison(counters: &Counters, faults: &[FaultRecord]) -> (usize, Option<&'static str>) {
    if faults.iter().any(|it| it.fault.action.starts_again()) {
        let why =
            "the gateway was started again, so its counters began again: /metrics is not compared";
        return (0, Some(why));
    }
    let breaks = |it: &FaultRecord| it.fault.whom != Whom::Gateway && !it.fault.action.is_planned();
    if faults.iter().any(breaks) {
        let why = "the cluster was broken: /metrics is not compared";
        return (0, Some(why));
    }
    if counters.cuts > 0 {
        let why = "sessions were cut with answers and pushes under way, so of /metrics only the stored messages are compared";
        return (1, Some(why));
    }
    // The reasons that the gateway gave for ending sessions are unknown here.
    match counters.unknown + counters.disconnects {
        0 => (sides::COUNTED.len(), None),
        _ => (0, None),
    }
}
