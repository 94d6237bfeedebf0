//! The model of the live view: arithmetic over looks, without a clock, a terminal or a thread.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::about::About;
use super::history::{History, Point};
use super::look::{Look, Used};
use crate::client::RunStage;
use crate::clock::{Nanos, seconds};
use crate::health::{Cpu, Health, Process};
use crate::stats::{Counters, Metric, Percentiles, Tallied};
use crate::units::grouped;

/// The time over which a present rate is taken.
const RATE_WINDOW: f64 = 3.0;
/// The seconds over which present percentiles are taken.
pub(crate) const RECENT: usize = 5;
/// The most troubles that are kept.
const TROUBLES: usize = 50;

/// The counters of broken promises that are always shown.
const PROMISES: [&str; 4] = ["lost", "duplicated", "reordered", "unexpected"];

/// The counters of oddities, which need not be faults. They are shown if they are not zero.
const ODD: [&str; 10] = [
    "rejected",
    "unknown",
    "skipped",
    "disconnects",
    "connect_failures",
    "command_errors",
    "gaps",
    "recovered",
    "unproven",
    "conversations_unread",
];

/// The present rates, per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rates {
    /// Sends that became due.
    pub(crate) offered: f64,
    /// Sends that were made.
    pub(crate) sent: f64,
    /// Sends that were acknowledged.
    pub(crate) acknowledged: f64,
    /// Messages that were pushed.
    pub(crate) pushed: f64,
    /// Sessions that were opened.
    pub(crate) opened: f64,
    /// The bytes received per second.
    pub(crate) bytes_in: f64,
    /// The bytes sent per second.
    pub(crate) bytes_out: f64,
}

/// A latency of the last seconds and of the run so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) metric: Metric,
    pub(crate) recent: Percentiles,
    pub(crate) run: Percentiles,
}

/// The CPU and the memory of both sides.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// The number of processors kept busy in the last second.
    pub(crate) generator_cpu: f64,
    pub(crate) gateway_cpu: f64,
    pub(crate) generator: Process,
    /// The process of a gateway that was started for the run.
    pub(crate) gateway: Option<Process>,
    /// The memory of the gateway before the run.
    pub(crate) gateway_before: u64,
    /// The use of the machine's processors in the last second.
    pub(crate) idle: f64,
    pub(crate) steal: f64,
}

/// Everything that is shown of a run.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) about: About,
    pub(crate) look: Look,
    pub(crate) rates: Rates,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) usage: Usage,
    /// The health, if the run were judged now; `None` before there are figures to judge.
    pub(crate) health: Option<Health>,
    pub(crate) history: History,
    /// The troubles, the latest last.
    pub(crate) troubles: VecDeque<(Nanos, String)>,
    /// The number of troubles that are not kept.
    pub(crate) forgotten: u64,
    /// Lines about the run from outside, such as earlier trials.
    pub(crate) notes: Vec<String>,
    /// The most sessions that were open at one time.
    most_open: u64,
    counters: VecDeque<(f64, Counters)>,
    tallied: VecDeque<Vec<Tallied>>,
    /// The counters at the last second, and their time.
    second: (f64, Counters),
    first: Option<Used>,
    last: Option<(f64, Used)>,
}

/// A stage of a run, as a bar shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) state: StageState,
    /// The start of the stage, in seconds.
    pub(crate) passed: f64,
    /// The duration of the stage in seconds, as far as it is known.
    pub(crate) lasts: f64,
    pub(crate) at_most: bool,
}

/// The state of a stage of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StageState {
    Waiting,
    Running,
    Ended,
}

impl Model {
    /// Makes a model of a run that has not begun.
    pub(crate) fn new(about: About) -> Self {
        Self {
            about,
            look: Look::default(),
            rates: Rates::default(),
            latencies: Vec::new(),
            usage: Usage::default(),
            health: None,
            history: History::default(),
            troubles: VecDeque::new(),
            forgotten: 0,
            notes: Vec::new(),
            most_open: 0,
            counters: VecDeque::new(),
            tallied: VecDeque::new(),
            second: (0.0, Counters::default()),
            first: None,
            last: None,
        }
    }

    /// Adds a look, and the troubles since the last one.
    pub(crate) fn note(&mut self, look: Look, troubles: Vec<(Nanos, String)>) {
        for trouble in troubles {
            // A repeated trouble is not added again.
            if self.troubles.back().is_some_and(|last| last.1 == trouble.1) {
                self.forgotten += 1;
                continue;
            }
            self.troubles.push_back(trouble);
            if self.troubles.len() > TROUBLES {
                self.troubles.pop_front();
                self.forgotten += 1;
            }
        }
        self.counters.push_back((look.told_at, look.counters));
        // The window begins at the youngest look that is old enough.
        while self
            .counters
            .get(1)
            .is_some_and(|second| look.told_at - second.0 >= RATE_WINDOW)
        {
            self.counters.pop_front();
        }
        let (then, before) = self.counters[0];
        let passed = look.told_at - then;
        let rate = |counter: fn(&Counters) -> u64| {
            let more = counter(&look.counters).saturating_sub(counter(&before));
            per_second(more, passed)
        };
        self.rates = Rates {
            offered: rate(|it| it.scheduled),
            sent: rate(|it| it.attempted),
            acknowledged: rate(|it| it.acknowledged),
            pushed: rate(|it| it.message_pushes),
            opened: rate(|it| it.sessions_opened),
            bytes_in: rate(|it| it.bytes_in),
            bytes_out: rate(|it| it.bytes_out),
        };
        self.most_open = self.most_open.max(look.counters.sessions);
        self.look = look;
    }

    /// Adds the figures of a second: latencies, in the order of [`Metric::ALL`], and the resources
    /// that both sides use.
    pub(crate) fn note_second(&mut self, tallied: Vec<Tallied>, used: Used) {
        // In the first seconds, the whole run counts as recent.
        let full = self.tallied.len() == RECENT;
        let before = self.tallied.front().filter(|_| full);
        let latencies = Metric::ALL.iter().zip(&tallied).enumerate();
        self.latencies = latencies
            .map(|(i, (metric, now))| Latency {
                metric: *metric,
                recent: match before {
                    Some(before) => now.since(&before[i]).percentiles(),
                    None => now.percentiles(),
                },
                run: now.percentiles(),
            })
            .collect();
        let last_second: Vec<_> = match self.tallied.back() {
            Some(last) => {
                let pairs = tallied.iter().zip(last);
                pairs.map(|(now, last)| now.since(last)).collect()
            }
            None => tallied.clone(),
        };
        self.tallied.push_back(tallied);
        if self.tallied.len() > RECENT {
            self.tallied.pop_front();
        }
        self.use_up(used);
        self.judge();
        let p99 = |metric: Metric| last_second[metric as usize].percentiles().p99 as f64;
        let (then, before) = self.second;
        self.second = (self.look.told_at, self.look.counters);
        let rate = |counter: fn(&Counters) -> u64| {
            let more = counter(&self.look.counters).saturating_sub(counter(&before));
            per_second(more, self.look.told_at - then)
        };
        let point = Point {
            at: seconds(self.look.now),
            offered: rate(|it| it.scheduled),
            achieved: rate(|it| it.acknowledged),
            open: self.look.counters.sessions as f64,
            ack_p99: p99(Metric::Ack),
            e2e_p50: last_second[Metric::E2e as usize].percentiles().p50 as f64,
            e2e_p99: p99(Metric::E2e),
            lag_p99: p99(Metric::SendLag),
            connect_p99: p99(Metric::Connect),
            generator_cpu: self.usage.generator_cpu,
            gateway_cpu: self.usage.gateway_cpu,
            gateway_rss: self.usage.gateway.map_or(0.0, |it| it.rss_bytes as f64),
        };
        self.history.push(point);
    }

    fn use_up(&mut self, used: Used) {
        let at = seconds(self.look.now);
        let first = *self.first.get_or_insert(used);
        let (then, before) = self.last.unwrap_or((at, used));
        let passed = at - then;
        let busy = |now: Process, before: Process| match passed > 0.0 {
            true => ((now.cpu_seconds - before.cpu_seconds) / passed).max(0.0),
            false => 0.0,
        };
        let cpu = Cpu::between(before.cpu, used.cpu);
        self.usage = Usage {
            generator_cpu: busy(used.generator, before.generator),
            gateway_cpu: match (used.gateway, before.gateway) {
                (Some(now), Some(before)) => busy(now, before),
                _ => 0.0,
            },
            generator: used.generator,
            gateway: used.gateway,
            gateway_before: first.gateway.map_or(0, |it| it.rss_bytes),
            idle: cpu.idle,
            steal: cpu.steal,
        };
        self.last = Some((at, used));
    }

    /// Judges the generator as the verdict does, from the run's start to now.
    fn judge(&mut self) {
        let (Some(first), Some((_, last))) = (self.first, self.last) else {
            return;
        };
        if let Some(lag) = self.latency(Metric::SendLag) {
            self.health = Some(Health::judge(
                &self.about.health,
                &self.look.counters,
                &lag.run,
                self.look.stall,
                &Cpu::between(first.cpu, last.cpu),
            ));
        }
    }

    /// Returns the latencies of a metric; `None` in the first second.
    pub(crate) fn latency(&self, metric: Metric) -> Option<&Latency> {
        self.latencies.iter().find(|it| it.metric == metric)
    }

    /// Returns the part of the schedule that was kept, 0 to 1.
    pub(crate) fn kept(&self) -> f64 {
        let counters = &self.look.counters;
        match counters.scheduled {
            0 => 1.0,
            scheduled => counters.attempted as f64 / scheduled as f64,
        }
    }

    /// Returns the broken promises with their counts: the four about messages always, others if
    /// they are not zero.
    pub(crate) fn wrong(&self) -> Vec<(&'static str, u64)> {
        let mut wrong: BTreeMap<_, _> = self.look.violations.clone();
        for name in PROMISES {
            let counted = self.look.counters.get(name).unwrap_or(0);
            let count = wrong.entry(name).or_default();
            *count = counted.max(*count);
        }
        let first = PROMISES.map(|name| (name, wrong.remove(name).unwrap_or(0)));
        first.into_iter().chain(wrong).collect()
    }

    /// Returns the number of broken promises.
    pub(crate) fn wrong_total(&self) -> u64 {
        self.wrong().iter().map(|(_, count)| count).sum()
    }

    /// Returns the state of a run without broken promises, in words that say no more than is known.
    pub(crate) fn calm(&self) -> &'static str {
        let healthy = self.health.as_ref().is_none_or(|it| it.healthy);
        match healthy && self.away() == 0 && self.odd().is_empty() {
            true => "nothing wrong",
            false => "no promise broken",
        }
    }

    /// Returns sentences on present states that no trouble has named: sessions that are away or
    /// ended.
    pub(crate) fn standing(&self) -> Vec<String> {
        let counters = &self.look.counters;
        let mut lines = Vec::new();
        if counters.disconnects > 0 {
            lines.push(match counters.disconnects_excused {
                0 => format!("{} sessions ended early", grouped(counters.disconnects)),
                own => format!(
                    "{} sessions broke, {} of them because this run broke the gateway",
                    grouped(counters.disconnects),
                    grouped(own)
                ),
            });
        }
        if self.away() > 0 {
            let away = grouped(self.away());
            lines.push(format!("{away} sessions are away and will reconnect"));
        }
        lines
    }

    /// Returns the counters that deserve a look, by name.
    pub(crate) fn odd(&self) -> Vec<(&'static str, u64)> {
        let counters = ODD
            .iter()
            .filter_map(|name| Some((*name, self.look.counters.get(name)?)));
        counters.filter(|(_, count)| *count > 0).collect()
    }

    /// Returns the counters of connections that are neither open nor being opened, by name.
    pub(crate) fn other_states(&self) -> Vec<(&'static str, u64)> {
        let named = self.look.counters.named().filter(|it| it.is_state());
        named
            .filter(|it| it.name != "sessions")
            .map(|it| (it.name, it.value))
            .collect()
    }

    /// Returns how many sessions were open and are neither open nor being opened again. At the end
    /// of a run, which closes all sessions, this is 0.
    pub(crate) fn away(&self) -> u64 {
        match self.look.after {
            RunStage::Closing(_) => 0,
            _ => self
                .most_open
                .saturating_sub(self.look.counters.sessions + self.look.connecting),
        }
    }

    /// Returns the stages of the run, in the order in which they begin.
    pub(crate) fn bars(&self) -> Vec<Bar> {
        let now = self.look.now;
        let spans = &self.look.spans;
        let mut executors: Vec<_> = (0..self.about.stages.len())
            .map(|i| (self.about.span(i, spans), i))
            .collect();
        executors.sort_by_key(|(span, i)| (span.start, span.end, *i));
        let mut bars: Vec<_> = executors
            .into_iter()
            .map(|(Range { start, end }, i)| {
                let (stage, span) = (&self.about.stages[i], spans.get(i));
                let span = span.copied().unwrap_or_default();
                let (state, passed) = match (span.began, span.ended) {
                    (_, Some(_)) => (StageState::Ended, end - start),
                    (Some(began), None) if began <= now => (StageState::Running, now - began),
                    _ => (StageState::Waiting, 0),
                };
                Bar {
                    name: stage.name.clone(),
                    kind: stage.kind,
                    state,
                    passed: seconds(passed),
                    lasts: seconds(end.saturating_sub(start)),
                    at_most: false,
                }
            })
            .collect();
        bars.extend(self.ending());
        bars
    }

    /// Returns the stages after the executors.
    fn ending(&self) -> [Bar; 3] {
        let (now, after) = (self.look.now, self.look.after);
        let running = match after {
            RunStage::Executing => None,
            RunStage::Draining(until) => Some((0, until)),
            RunStage::Reading(until) => Some((1, until)),
            RunStage::Closing(until) => Some((2, until)),
        };
        let mut number = 0;
        ["drain", "read back", "close"].map(|name| {
            let (state, left) = match running {
                None => (StageState::Waiting, 0.0),
                Some((at, until)) if at == number => {
                    (StageState::Running, seconds(until.saturating_sub(now)))
                }
                Some((at, _)) if at > number => (StageState::Ended, 0.0),
                Some(_) => (StageState::Waiting, 0.0),
            };
            let planned = if number == 0 {
                seconds(self.about.drain)
            } else {
                0.0
            };
            number += 1;
            Bar {
                name: name.into(),
                kind: "",
                state,
                passed: if state == StageState::Running {
                    (planned - left).max(0.0)
                } else {
                    0.0
                },
                lasts: planned.max(left),
                at_most: true,
            }
        })
    }

    /// Returns when the last executor ends, in seconds, as far as is known.
    pub(crate) fn end(&self) -> f64 {
        seconds(self.about.end(&self.look.spans))
    }

    /// Returns the time of the run, in seconds.
    pub(crate) fn now(&self) -> f64 {
        seconds(self.look.now)
    }
}

fn per_second(more: u64, seconds: f64) -> f64 {
    match seconds > 0.0 {
        true => more as f64 / seconds,
        false => 0.0,
    }
}

/// Formats seconds as a clock does: `0:07`, `12:05`, `1:02:03`.
pub(crate) fn clock(seconds: f64) -> String {
    let all = seconds.max(0.0) as u64;
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
