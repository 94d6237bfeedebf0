//! The resources that both sides of a run used, and the check that their counters agree.

use crate::control_port::Metrics;
use crate::health::Process;
use crate::stats::Counters;

/// A counter as both sides of a run have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// The counted events, such as `send replies`.
    pub(crate) what: &'static str,
    /// The count in the gateway's /metrics.
    pub(crate) gateway: u64,
    /// The count of this program.
    pub(crate) generator: u64,
}

/// What the gateways used that were started for a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnUse {
    /// All gateways together.
    pub(crate) gateways: Process,
    /// The CPU seconds of processes that have ended.
    pub(crate) spent: f64,
    /// The NATS servers together, if there are any.
    pub(crate) servers: Option<Process>,
}

/// Both sides before the first session. The run's own use is the difference to it.
#[derive(Debug)]
pub(crate) struct Baseline {
    /// What was started for the run.
    own: Option<OwnUse>,
    generator: Process,
    /// The counters of each gateway, where its control port is known.
    metrics: Vec<Metrics>,
}

impl Baseline {
    /// Reads the use of both sides now.
    pub(crate) fn look(own: Option<OwnUse>, metrics: Vec<Metrics>) -> Self {
        Self {
            own,
            generator: Process::look(std::process::id()),
            metrics,
        }
    }
}

/// The resources that both sides of a run used, and the gateway's counters.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    pub(crate) gateway: Option<Process>,
    /// The NATS servers of a cluster that was started for the run.
    pub(crate) servers: Option<Process>,
    pub(crate) generator: Process,
    /// Resident memory of the gateway before the first session, in bytes.
    pub(crate) gateway_before: Option<u64>,
    /// Resident memory of this program before the first session, in bytes.
    pub(crate) generator_before: Option<u64>,
    /// The counters that were compared.
    pub(crate) agreement: Vec<Agreement>,
    counted: Option<[u64; 4]>,
    /// Connections that the gateway accepted, by its own count.
    pub(crate) accepted: Option<u64>,
    /// Whether the gateway was started for the run, so that no other client uses it.
    pub(super) own: bool,
    /// The target is another process than before the run.
    pub(super) began_again: bool,
}

/// The counters of the gateway that must agree with those of this program.
pub(super) const COUNTED: [(&str, &str); 4] = [
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
    /// Looks at both sides after the run.
    pub(crate) fn look(
        own: Option<OwnUse>,
        baseline: &Baseline,
        metrics_after: &[Metrics],
    ) -> Self {
        let (before, metrics_before) = (baseline.own, &*baseline.metrics);
        let began_again = own.is_none() && { metrics_after.iter().zip(metrics_before) }
            .any(|(after, before)| after.began_again(before));
        // Of another process than before, a difference means nothing.
        let metrics_before = if began_again { &[] } else { metrics_before };
        let difference = |name: &str| -> Option<f64> {
            let pairs = metrics_after.iter().zip(metrics_before);
            let each = pairs.map(|(after, before)| Some(after.get(name)? - before.get(name)?));
            each.sum::<Option<f64>>()
                .filter(|_| !metrics_before.is_empty())
        };
        let memory = |metrics: &[Metrics]| {
            let each = metrics
                .iter()
                .map(|it| it.get("process_resident_memory_bytes"));
            let bytes = each.sum::<Option<f64>>()?;
            (!metrics.is_empty()).then_some(bytes as u64)
        };
        let since = |now: Process, before: Process| Process {
            cpu_seconds: now.cpu_seconds - before.cpu_seconds,
            ..now
        };
        let gateway = match (own, before) {
            (Some(now), Some(before)) => Some(since(now.gateways, before.gateways)),
            _ => difference("process_cpu_seconds_total").map(|cpu_seconds| Process {
                cpu_seconds,
                rss_bytes: memory(metrics_after).unwrap_or(0),
            }),
        };
        let servers = own.zip(before);
        let servers = servers.and_then(|(now, before)| now.servers.zip(before.servers));
        let counted = COUNTED.map(|(_, name)| difference(name).map(|n| n as u64));
        // Of a gateway that was started again the baseline is another process's.
        let one_process = own.is_none_or(|own| own.spent == 0.0);
        Self {
            gateway,
            servers: servers.map(|(now, before)| since(now, before)),
            gateway_before: before
                .map(|before| before.gateways.rss_bytes)
                .or_else(|| memory(metrics_before))
                .filter(|_| one_process),
            generator: Process::look(std::process::id()),
            generator_before: Some(baseline.generator.rss_bytes),
            agreement: Vec::new(),
            counted: match counted {
                [Some(a), Some(b), Some(c), Some(d)] => Some([a, b, c, d]),
                _ => None,
            },
            accepted: difference("trunkline_accepted_total").map(|n| n as u64),
            own: own.is_some(),
            began_again,
        }
    }

    /// Puts the processes of agents in the place of this one, and their memory before the run.
    pub(crate) fn played_by(&mut self, agents: Process, before: u64) {
        self.generator = agents;
        self.generator_before = Some(before);
    }

    /// Returns the bytes that each session added to a side; `None` if they are unknown.
    pub(crate) fn per_session(side: &Process, before: Option<u64>, sessions: u64) -> Option<u64> {
        let grown = side.rss_bytes.saturating_sub(before?);
        grown.checked_div(sessions)
    }

    /// Returns sentences on what is not known of the gateway. `why` says why not all counters are
    /// compared, where they are known.
    pub(super) fn notes(&self, why: Option<&str>) -> impl Iterator<Item = String> {
        let again = self.began_again.then_some(
            "the target was started again during the run: its CPU, memory and counters are unknown",
        );
        let why = why.filter(|_| self.counted.is_some());
        again.into_iter().chain(why).map(str::to_owned)
    }

    /// Compares the first `compared` counters. Returns whether the gateway's counters are impossible.
    pub(super) fn compare(&mut self, counters: &Counters, compared: usize) -> bool {
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
            .map(|(((what, _), gateway), generator)| Agreement {
                what,
                gateway,
                generator,
            })
            .collect();
        // Other clients may use a running gateway at the same time, so it may count more, but never
        // less.
        let mut agreement = self.agreement.iter();
        agreement.any(|it| it.gateway < it.generator || (self.own && it.gateway != it.generator))
    }
}
