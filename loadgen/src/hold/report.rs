//! The results of a hold, for people and for programs.

use serde_json::{Value, json};

use super::probe::Sample;
use super::watch::Seen;
use crate::clock::seconds;
use crate::health::Process;
use crate::report;
use crate::settings::{Gateway, RunSettings};
use crate::units::{each_bytes, grouped, memory as memory_of, readable};
use crate::verdict::JudgedRun;

/// The memory per session in bytes; `None` if it could not be measured.
#[derive(Debug, Clone, Copy, Default)]
struct Each {
    gateway: Option<f64>,
    generator: Option<f64>,
    /// The memory of this machine's kernel, for both sides if both are on it.
    kernel: Option<f64>,
}

impl Each {
    /// Returns the memory per session by the difference between two looks.
    fn of(before: Option<Sample>, with: Option<Sample>, sessions: u64) -> Self {
        let (Some(before), Some(with)) = (before, with) else {
            return Self::default();
        };
        let each =
            |with: u64, without: u64| Some((with as f64 - without as f64) / sessions.max(1) as f64);
        let gateway = with.gateway.zip(before.gateway);
        Self {
            gateway: gateway.and_then(|(with, before)| each(with.rss_bytes, before.rss_bytes)),
            generator: each(with.generator.rss_bytes, before.generator.rss_bytes),
            kernel: each(with.kernel.bytes(), before.kernel.bytes()),
        }
    }

    fn json(self) -> Value {
        json!({ "gateway": self.gateway, "generator": self.generator, "kernel": self.kernel })
    }
}

/// Returns the part of a core that a process used between two looks.
fn cores(from: &Sample, to: &Sample, of: impl Fn(&Sample) -> Option<Process>) -> Option<f64> {
    let used = of(to)?.cpu_seconds - of(from)?.cpu_seconds;
    Some(used / (to.at - from.at).as_secs_f64())
}

/// Returns the time between two looks.
#[derive(Debug, Clone, Copy)]
struct While {
    seconds: f64,
    gateway_cores: Option<f64>,
    generator_cores: Option<f64>,
    pings: u64,
}

impl While {
    fn of(from: &Sample, to: &Sample, pings: u64) -> Self {
        Self {
            seconds: (to.at - from.at).as_secs_f64(),
            gateway_cores: cores(from, to, |sample| sample.gateway),
            generator_cores: cores(from, to, |sample| Some(sample.generator)),
            pings,
        }
    }

    /// Returns the figures with all sessions idle.
    fn idle(seen: &Seen) -> Option<Self> {
        let (from, to) = seen.idle.as_ref()?;
        Some(Self::of(from, to, seen.pings))
    }

    /// Returns the figures with messages flowing.
    fn busy(seen: &Seen) -> Option<Self> {
        Some(Self::of(
            &seen.idle.as_ref()?.1,
            seen.busy.as_ref()?,
            seen.busy_pings,
        ))
    }

    fn json(self) -> Value {
        json!({
            "seconds": self.seconds,
            "gateway_cores": self.gateway_cores,
            "generator_cores": self.generator_cores,
            "pings": self.pings,
        })
    }

    fn text(self, name: &str) -> String {
        let percent = |cores: Option<f64>| {
            cores.map_or("–".into(), |cores| format!("{:.1} %", cores * 100.0))
        };
        format!(
            "{name:<13} gateway {} of a core, generator {}, over {:.1} s with {} pings",
            percent(self.gateway_cores),
            percent(self.generator_cores),
            self.seconds,
            grouped(self.pings)
        )
    }
}

/// Returns the sessions that were opened per second.
fn opening_rate(judged: &JudgedRun, seen: &Seen) -> Option<f64> {
    let took = seconds(seen.opening?).max(f64::MIN_POSITIVE);
    Some(judged.counters.sessions_opened as f64 / took)
}

/// Returns the resident memory of the gateway at a look.
fn resident(sample: Option<Sample>) -> Option<u64> {
    Some(sample?.gateway?.rss_bytes)
}

/// Returns the summary for programs: that of a run with the field `hold`.
pub(super) fn json(run: &RunSettings, judged: &JudgedRun, seen: &Seen) -> Value {
    let sessions = judged.counters.sessions_opened;
    let idle = seen.idle.as_ref();
    let mut summary = report::summary(run, judged);
    summary["hold"] = json!({
        "asked": run.sizing.sessions,
        "opened": sessions,
        "gateway_sessions": seen.sessions,
        "opening": {
            "seconds": seen.opening.map(seconds),
            "sessions_per_second": opening_rate(judged, seen),
        },
        "bytes_per_connection": {
            "idle": Each::of(seen.before, idle.map(|it| it.1), sessions).json(),
            "after_messages": Each::of(seen.before, seen.busy, sessions).json(),
        },
        "gateway_rss_bytes": {
            "before": resident(seen.before),
            "idle": resident(idle.map(|it| it.1)),
            "after_messages": resident(seen.busy),
            "after_disconnecting": resident(seen.after),
        },
        "idle": While::idle(seen).map(While::json),
        "busy": While::busy(seen).map(While::json),
        "closing_seconds": seen.closing.map(|took| took.as_secs_f64()),
        "threads": run.threads,
    });
    summary
}

/// Returns the summary for people.
pub(super) fn text(run: &RunSettings, judged: &JudgedRun, seen: &Seen) -> Vec<String> {
    let mut lines = vec![String::new()];
    lines.push(format!(
        "held          {} sessions asked, {} opened, {} counted by the gateway; {} generator threads",
        grouped(run.sizing.sessions),
        grouped(judged.counters.sessions_opened),
        seen.sessions.map_or("not".into(), grouped),
        run.threads
    ));
    if let (Some(took), Some(rate)) = (seen.opening, opening_rate(judged, seen)) {
        lines.push(format!(
            "opening       {:.1} s: {} sessions/s (TCP, upgrade, connect)",
            seconds(took),
            readable(rate)
        ));
    }
    lines.extend(memory(run, judged, seen));
    for (name, time) in [("idle", While::idle(seen)), ("busy", While::busy(seen))] {
        lines.extend(time.map(|time| time.text(name)));
    }
    if let Some(took) = seen.closing {
        lines.push(format!(
            "disconnecting {:.1} s from the last message to the last session's end; {} pings in all",
            took.as_secs_f64(),
            grouped(judged.counters.pings)
        ));
    }
    lines.extend(report::text(run, judged));
    lines
}

fn memory(run: &RunSettings, judged: &JudgedRun, seen: &Seen) -> Vec<String> {
    let ends = match run.gateway {
        Gateway::Local(_) | Gateway::Cluster(_) => "both ends",
        Gateway::Targets { .. } => "what is on this machine",
    };
    let sessions = judged.counters.sessions_opened;
    let idle = seen.idle.map(|it| it.1);
    let rss = |sample: Option<Sample>| resident(sample).map_or("–".into(), memory_of);
    let bytes = |each: Option<f64>| match each {
        None => "–".to_owned(),
        Some(each) if each < 0.0 => format!("-{}", each_bytes(each.abs().round() as u64)),
        Some(each) => each_bytes(each.round() as u64),
    };
    let mut lines = Vec::new();
    for (when, with) in [("idle", idle), ("after the messages", seen.busy)] {
        if with.is_none() {
            continue;
        }
        let each = Each::of(seen.before, with, sessions);
        lines.push(format!(
            "per session   {when}: gateway {}, generator {}, kernel {} ({ends})",
            bytes(each.gateway),
            bytes(each.generator),
            bytes(each.kernel)
        ));
    }
    if let (Some(before), Some(with)) = (seen.before, idle) {
        lines.push(format!(
            "gateway RSS   {} before, {} idle, {} after the messages, {} after disconnecting",
            rss(seen.before),
            rss(idle),
            rss(seen.busy),
            rss(seen.after)
        ));
        lines.push(format!(
            "kernel        {} more slab, {} more in TCP buffers, of the whole machine",
            memory_of(with.kernel.slab.saturating_sub(before.kernel.slab)),
            memory_of(with.kernel.buffers.saturating_sub(before.kernel.buffers))
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::probe::Kernel;
    use std::time::{Duration, Instant};

    fn sample(at: Instant, rss: u64, cpu_seconds: f64) -> Sample {
        let process = Process {
            cpu_seconds,
            rss_bytes: rss,
        };
        Sample {
            at,
            gateway: Some(process),
            generator: process,
            kernel: Kernel {
                slab: rss * 10,
                buffers: 0,
            },
        }
    }

    #[test]
    fn a_session_takes_the_difference() {
        let now = Instant::now();
        let (before, with) = (sample(now, 1_000, 0.0), sample(now, 5_000, 0.0));
        let each = Each::of(Some(before), Some(with), 10);
        assert_eq!((each.gateway, each.kernel), (Some(400.0), Some(4_000.0)));
        assert_eq!(Each::of(Some(before), None, 10).gateway, None);
    }

    #[test]
    fn processors_are_parts_of_a_core() {
        let now = Instant::now();
        let later = now + Duration::from_secs(10);
        let (from, to) = (sample(now, 0, 1.0), sample(later, 0, 1.5));
        let found = cores(&from, &to, |sample| sample.gateway).unwrap();
        assert!((found - 0.05).abs() < 1e-9, "{found}");
    }
}
