//! What a run comes to.

use std::collections::BTreeMap;

pub(crate) mod doubts;
mod fault_record;

pub(crate) use fault_record::FaultRecord;

use self::doubts::Evidence;
use crate::check::{Checker, Kind};
use crate::client::{Measured, Storm};
use crate::clock::{Nanos, seconds};
use crate::control_port::Metrics;
use crate::course::{Course, Intervals};
use crate::exit::{Exit, Failure};
use crate::health::{Cpu, Health, Process};
use crate::local_gateway::LocalGateway;
use crate::scenario::threshold::{Statistic, Threshold};
use crate::settings::RunSettings;
use crate::stats::{Counters, Latencies, Metric};

/// A run with its verdict.
#[derive(Debug)]
pub(crate) struct JudgedRun {
    pub(crate) exit: Exit,
    pub(crate) counters: Counters,
    pub(crate) latencies: Latencies,
    /// Seconds in which messages were sent.
    pub(crate) sending: f64,
    /// Seconds before that in which groups were made.
    pub(crate) making: f64,
    pub(crate) health: Health,
    pub(crate) violations: BTreeMap<&'static str, u64>,
    /// Thresholds that were missed, in words.
    pub(crate) missed: Vec<String>,
    /// What was asked for and not measured, and what does not fit together.
    pub(crate) doubts: Vec<String>,
    /// What else has to be said.
    pub(crate) notes: Vec<String>,
    /// The files of the results could not be written whole.
    pub(crate) unwritten: bool,
    pub(crate) sides: Sides,
    /// What each storm came to.
    pub(crate) storms: Vec<Storm>,
    /// What was done to the gateway.
    pub(crate) chaos: Vec<FaultRecord>,
    pub(crate) checkers: Vec<Checker>,
    /// What went on in each interval.
    pub(crate) intervals: Intervals,
}

/// What both ends used, and what the gateway counted.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    pub(crate) gateway: Option<Process>,
    pub(crate) generator: Process,
    /// Resident memory of both before the first session.
    pub(crate) gateway_before: Option<u64>,
    pub(crate) generator_before: Option<u64>,
    /// (what, as the gateway counted, as this program did).
    pub(crate) agreement: Vec<(&'static str, u64, u64)>,
    counted: Option<[u64; 4]>,
    /// Connections that the gateway accepted, as it says.
    pub(crate) accepted: Option<u64>,
    own: bool,
    /// The target is another process than before the run.
    began_again: bool,
}

/// What must not happen unless the scenario has a threshold for it: a gateway that refuses,
/// ignores or leaves its users has not carried the load, however right the rest is.
const IMPLIED: [&str; 4] = ["rejected", "unknown", "disconnects", "not_back"];

/// The gateway's counters that ours must agree with.
const COUNTED: [(&str, &str); 4] = [
    ("messages stored", "trunkline_messages_total"),
    ("send replies", "trunkline_acks_total"),
    (
        "message pushes",
        "trunkline_pushes_total{event=\"message\"}",
    ),
    (
        "receipt pushes",
        "trunkline_pushes_total{event=\"receipt\"}",
    ),
];

impl Sides {
    /// Looks at both ends after the run.
    pub(crate) fn look(
        local: Option<&LocalGateway>,
        (before, generator_before): (Option<Process>, Process),
        metrics_before: Option<&Metrics>,
        metrics_after: Option<&Option<Metrics>>,
    ) -> Self {
        let metrics_after = metrics_after.and_then(Option::as_ref);
        let began_again = local.is_none()
            && metrics_after
                .zip(metrics_before)
                .is_some_and(|(after, before)| after.began_again(before));
        // Of another process than before, a difference means nothing.
        let metrics_before = metrics_before.filter(|_| !began_again);
        let difference = |name: &str| Some(metrics_after?.get(name)? - metrics_before?.get(name)?);
        let memory = |metrics: Option<&Metrics>| {
            let bytes = metrics?.get("process_resident_memory_bytes")?;
            Some(bytes as u64)
        };
        let gateway = match (local, before) {
            (Some(local), Some(before)) => {
                let now = local.used();
                Some(Process {
                    cpu_seconds: now.cpu_seconds - before.cpu_seconds,
                    ..now
                })
            }
            _ => difference("process_cpu_seconds_total").map(|cpu_seconds| Process {
                cpu_seconds,
                rss_bytes: memory(metrics_after).unwrap_or(0),
            }),
        };
        let counted = COUNTED.map(|(_, name)| difference(name).map(|n| n as u64));
        // Of a gateway that was started again the baseline is another process's.
        let one_process = local.is_none_or(|local| local.spent() == 0.0);
        Self {
            gateway,
            gateway_before: before
                .map(|before| before.rss_bytes)
                .or_else(|| memory(metrics_before))
                .filter(|_| one_process),
            generator: Process::look(std::process::id()),
            generator_before: Some(generator_before.rss_bytes),
            agreement: Vec::new(),
            counted: match counted {
                [Some(a), Some(b), Some(c), Some(d)] => Some([a, b, c, d]),
                _ => None,
            },
            accepted: difference("trunkline_accepted_total").map(|n| n as u64),
            own: local.is_some(),
            began_again,
        }
    }

    /// Bytes that each of `sessions` has added to a side; none where that is not known.
    pub(crate) fn per_session(side: &Process, before: Option<u64>, sessions: u64) -> Option<u64> {
        let grown = side.rss_bytes.saturating_sub(before?);
        grown.checked_div(sessions)
    }

    /// Compares so many of the counters; whether the gateway's say what cannot be.
    fn compare(&mut self, counters: &Counters, compared: usize) -> bool {
        let Some(counted) = self.counted else {
            return false;
        };
        // What was never answered is stored or not: either agrees.
        let stored = counters.acknowledged + counters.unknown_then_delivered;
        let ours = [
            counted[0].clamp(stored, stored + counters.unknown),
            counters.send_replies,
            counters.message_pushes,
            counters.receipt_pushes,
        ];
        self.agreement = COUNTED
            .iter()
            .zip(counted)
            .zip(ours)
            .take(compared)
            .map(|(((what, _), a), b)| (*what, a, b))
            .collect();
        // Others may use a running gateway at the same time: it counts more then, and never less.
        let mut agreement = self.agreement.iter();
        agreement.any(|(_, there, here)| there < here || (self.own && there != here))
    }
}

/// Judges a run.
pub(crate) fn judge(
    run: &RunSettings,
    measured: Vec<Measured>,
    (cpu, course, chaos): (Cpu, Course, Vec<FaultRecord>),
    mut sides: Sides,
    aborted: bool,
) -> JudgedRun {
    let mut counters = Counters::default();
    let mut latencies = Latencies::new();
    let mut violations: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut notes = Vec::new();
    let (mut stall, mut sending): (Nanos, (Nanos, Nanos)) = (0, (Nanos::MAX, 0));
    let mut checkers = Vec::new();
    let mut storms: Vec<Storm> = Vec::new();
    let making = measured.iter().map(|part| part.making).max();
    for part in measured {
        counters.add(&part.checker.counters);
        latencies.add(&part.latencies);
        for (kind, count) in part.checker.violations() {
            *violations.entry(kind.name()).or_default() += count;
        }
        stall = stall.max(part.stall);
        sending = (sending.0.min(part.sending.0), sending.1.max(part.sending.1));
        notes.extend(part.trouble);
        merge(&mut storms, part.storms);
        checkers.push(part.checker);
    }
    notes.truncate(4);
    let (compared, why) = comparison(&counters, &chaos);
    if !aborted && sides.compare(&counters, compared) {
        violations.insert(Kind::MetricsDisagree.name(), 1);
    }
    if sides.began_again {
        notes.push(
            "the target was started again during the run: its CPU, its memory and its counters are \
             not known"
                .into(),
        );
    }
    notes.extend(why.filter(|_| sides.counted.is_some()).map(str::to_owned));
    let lag = latencies.percentiles(Metric::SendLag);
    let mut health = Health::judge(&run.scenario.health, &counters, &lag, stall, &cpu);
    if !aborted {
        unfit(&mut health, &counters);
    }
    // Without one session nothing was measured, whoever is to blame; and a gateway that left
    // everybody is none.
    let gone = counters.gone > 0 && counters.gone == counters.sessions_opened;
    if gone && !aborted {
        notes.push("the gateway ended every session before the run's end".into());
    }
    notes.extend(other_ways(&counters));
    let unusable = aborted || gone || counters.sessions_opened == 0;
    let missed = missed(
        run,
        &counters,
        &latencies,
        seconds(sending.1.saturating_sub(sending.0)),
    );
    let evidence = Evidence::of(run.sizing.offered_rate, &counters);
    let doubts = doubts(run, evidence, &latencies, &sides);
    let exit = if !violations.is_empty() {
        Exit::Violation
    } else if unusable {
        Exit::Aborted
    } else if !health.healthy {
        Exit::Invalid
    } else {
        of_figures(evidence, &missed, &doubts)
    };
    JudgedRun {
        exit,
        doubts,
        counters,
        intervals: Intervals::new(&course, latencies.timeline()),
        latencies,
        sending: seconds(sending.1.saturating_sub(sending.0)),
        making: seconds(making.unwrap_or(0)),
        health,
        violations,
        missed,
        notes,
        unwritten: false,
        sides,
        storms,
        chaos,
        checkers,
    }
}

/// What the figures of a run do not say.
fn doubts(
    run: &RunSettings,
    evidence: Evidence,
    latencies: &Latencies,
    sides: &Sides,
) -> Vec<String> {
    let mut doubts = evidence.doubts();
    if !evidence.is_nothing() {
        let count = |metric: &str| doubts::count(latencies, metric);
        doubts.extend(doubts::unmeasured(&run.scenario.thresholds, count));
    }
    doubts.extend(doubts::more_there(&sides.agreement).filter(|_| !sides.own));
    doubts
}

/// The verdict of figures that are right as far as they go.
fn of_figures(evidence: Evidence, missed: &[String], doubts: &[String]) -> Exit {
    match (missed.is_empty(), doubts.is_empty()) {
        _ if evidence.is_nothing() => Exit::Inconclusive,
        (false, _) => Exit::Threshold,
        (true, false) => Exit::Inconclusive,
        (true, true) => Exit::Ok,
    }
}

/// Adds the faults of a generator that could not do what it was asked to.
fn unfit(health: &mut Health, counters: &Counters) {
    if counters.sessions_opened < counters.connects {
        health.healthy = false;
        health.faults.push(format!(
            "{} of {} sessions were opened",
            counters.sessions_opened, counters.connects
        ));
    }
    if counters.conversations_unread + counters.unproven > 0 {
        health.healthy = false;
        health.faults.push(format!(
            "{} conversations could not be read back and {} acknowledged messages not be traced: \
             no session was left to ask",
            counters.conversations_unread, counters.unproven
        ));
    }
}

impl JudgedRun {
    /// Takes the verdict back where the results could not be written: a broken promise stays one, and
    /// nothing else counts without its files.
    pub(crate) fn without_results(&mut self, why: &Failure) {
        self.unwritten = true;
        self.notes.push(why.message.clone());
        if self.exit != Exit::Violation {
            self.exit = Exit::Aborted;
        }
    }

    /// Sends answered per second while messages were sent. What was answered only after the
    /// schedule's end does not count: otherwise any backlog would be a rate.
    pub(crate) fn achieved(&self) -> f64 {
        rate(&self.counters, self.sending)
    }

    /// Messages pushed to devices per second, counted the same way.
    pub(crate) fn deliveries(&self) -> f64 {
        self.counters.pushes_in_time as f64 / self.sending.max(f64::MIN_POSITIVE)
    }

    /// Devices that a message was pushed to, on average.
    pub(crate) fn fan_out(&self) -> f64 {
        let acknowledged = self.counters.acknowledged.max(1);
        self.counters.message_pushes as f64 / acknowledged as f64
    }
}

/// What came by other ways than by pushes, in words.
fn other_ways(counters: &Counters) -> Vec<String> {
    let mut notes = Vec::new();
    if counters.gaps > 0 {
        notes.push(format!(
            "the gateway left out live pushes {} times, since this side read too slowly: \
             {} messages came by sync or history instead",
            counters.gaps, counters.recovered
        ));
    }
    if counters.not_recovered > 0 {
        notes.push(format!(
            "{} sessions were opened again without what they had missed: the gateway did not take \
             their position, and history was asked instead",
            counters.not_recovered
        ));
    }
    notes
}

/// Adds what one thread saw of each storm.
fn merge(all: &mut Vec<Storm>, of_thread: Vec<Storm>) {
    for storm in of_thread {
        match all.iter_mut().find(|it| it.number() == storm.number()) {
            Some(known) => known.add(&storm),
            None => all.push(storm),
        }
    }
}

/// How many of the counters can be compared, and why not all.
fn comparison(counters: &Counters, chaos: &[FaultRecord]) -> (usize, Option<&'static str>) {
    if chaos.iter().any(|it| it.blow.action.starts_again()) {
        let why =
            "the gateway was started again and its counters with it: /metrics is not compared";
        return (0, Some(why));
    }
    if counters.cuts > 0 {
        let why = "sessions were cut, with answers and pushes on their way: of /metrics, only what \
                   was stored is compared";
        return (1, Some(why));
    }
    // What the gateway told those whose sessions it ended, nobody knows here.
    match counters.unknown + counters.disconnects {
        0 => (COUNTED.len(), None),
        _ => (0, None),
    }
}

fn rate(counters: &Counters, sending: f64) -> f64 {
    counters.acknowledged_in_time as f64 / sending.max(f64::MIN_POSITIVE)
}

fn missed(
    run: &RunSettings,
    counters: &Counters,
    latencies: &Latencies,
    sending: f64,
) -> Vec<String> {
    let mut missed = Vec::new();
    let none = Threshold::NONE;
    let silent = IMPLIED
        .iter()
        .filter(|metric| !run.scenario.thresholds.contains_key(**metric));
    for metric in silent {
        let value = value(metric, &none, counters, latencies, sending) - excused(metric, counters);
        if !none.holds(value) {
            missed.push(format!(
                "{metric}: it is {value:.0}, and the scenario allows none (thresholds: {metric} = [\"count<N\"])"
            ));
        }
    }
    for (metric, thresholds) in &run.scenario.thresholds {
        for threshold in thresholds {
            // Of a latency that never happened nothing is known, which is said elsewhere.
            let known = doubts::count(latencies, metric) != Some(0);
            let value = value(metric, threshold, counters, latencies, sending);
            if known && !threshold.holds(value) {
                missed.push(format!(
                    "{metric}: {threshold} does not hold, it is {value:.0}"
                ));
            }
        }
    }
    missed
}

/// How often the run itself brought something about, which nobody need allow.
fn excused(metric: &str, counters: &Counters) -> f64 {
    match metric {
        "unknown" => counters.unknown_excused as f64,
        "disconnects" => counters.disconnects_excused as f64,
        _ => 0.0,
    }
}

/// The value of a metric that a threshold is about; validation has matched the two.
fn value(
    metric: &str,
    threshold: &Threshold,
    counters: &Counters,
    latencies: &Latencies,
    sending: f64,
) -> f64 {
    let histogram = Metric::ALL
        .iter()
        .find(|m| m.name() == metric)
        .map(|metric| latencies.of(*metric));
    match (threshold.statistic, histogram) {
        (Statistic::Percentile(p), Some(h)) => h.value_at_quantile(p / 100.0) as f64,
        (Statistic::Mean, Some(h)) => h.mean(),
        (Statistic::Max, Some(h)) => h.max() as f64,
        (Statistic::Rate, _) => rate(counters, sending),
        _ => match metric {
            "lost" => counters.lost as f64,
            "duplicated" => counters.duplicated as f64,
            "reordered" => counters.reordered as f64,
            "unexpected" => counters.unexpected as f64,
            "recovered" => counters.recovered as f64,
            "rejected" => counters.rejected as f64,
            "disconnects" => counters.disconnects as f64,
            "not_back" => counters.not_back as f64,
            "not_recovered" => counters.not_recovered as f64,
            "unknown_then_delivered" => counters.unknown_then_delivered as f64,
            _ => counters.unknown as f64,
        },
    }
}
