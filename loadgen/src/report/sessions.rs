//! The results about sessions that ended and came back: storms, churn and chaos.

use serde_json::{Value, json};

use super::faults;
use crate::client::Storm;
use crate::clock::{Nanos, seconds};
use crate::scenario::chaos::{FaultKind, Whom};
use crate::settings::RunSettings;
use crate::stats::{Counters, Metric};
use crate::units::{grouped, micros};
use crate::verdict::FaultRecord;
use crate::verdict::JudgedRun;

/// The parts of a storm's sessions whose return is timed, such as 0.5 for half of them.
const PARTS: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("all", 1.0)];

/// Returns the seconds from a storm's start until this part of its cut sessions was back; `None` if
/// fewer came back.
fn until_back(storm: &Storm, part: f64) -> Option<f64> {
    let wanted = (storm.cut as f64 * part).ceil();
    let back = storm.back.len() as f64;
    let us = storm.back.value_at_quantile(wanted / back.max(1.0));
    (storm.cut > 0 && wanted <= back).then_some(us as f64 / 1e6)
}

/// Returns how many sessions came back per second, until the last was back.
fn per_second(storm: &Storm) -> Option<f64> {
    let last = storm.back.max() as f64 / 1e6;
    (last > 0.0).then(|| storm.back.len() as f64 / last)
}

/// Returns how often sessions were turned away while a storm lasted, by what turned them away.
fn turned_away(storm: &Storm) -> [(&'static str, u64); 5] {
    let after = storm.after.unwrap_or(storm.before);
    let grown = |count: fn(&Counters) -> u64| count(&after) - count(&storm.before);
    [
        ("tcp", grown(|it| it.refused)),
        ("http", grown(|it| it.refused_http)),
        ("close_3013", grown(|it| it.overloaded)),
        ("close_3012", grown(|it| it.no_pong)),
        ("timed_out", grown(|it| it.timed_out)),
    ]
}

fn name(run: &RunSettings, storm: &Storm) -> String {
    let mut names = run.scenario.scenarios.keys();
    names.nth(storm.number()).cloned().unwrap_or_default()
}

/// Returns the fields in `counts` of a summary for sessions that come back.
pub(super) fn count(c: &Counters, counts: &mut Value) {
    let more = [
        ("disconnects_excused", c.disconnects_excused),
        ("cuts", c.cuts),
        ("reconnects", c.reconnects),
        ("resumed", c.resumed),
        ("not_recovered", c.not_recovered),
        ("gone", c.gone),
        ("not_back", c.not_back),
        ("held", c.held),
        ("resent", c.resent),
        ("duplicates_answered", c.duplicates_answered),
        ("unsure", c.unsure),
        ("unknown_excused", c.unknown_excused),
        ("unknown_then_delivered", c.unknown_then_delivered),
    ];
    for (name, count) in more {
        counts[name] = json!(count);
    }
}

/// Returns the field `storms` of a summary.
pub(super) fn storms(run: &RunSettings, judged: &JudgedRun) -> Value {
    let all = judged.storms.iter().map(|storm| {
        let times = PARTS.map(|(name, part)| (name.to_owned(), json!(until_back(storm, part))));
        let refused = turned_away(storm).map(|(name, count)| (name.to_owned(), json!(count)));
        let stayed = |histogram: &hdrhistogram::Histogram<u64>| {
            let some = !histogram.is_empty();
            json!({
                "count": histogram.len(),
                "p50": some.then(|| histogram.value_at_quantile(0.5)),
                "p99": some.then(|| histogram.value_at_quantile(0.99)),
                "max": some.then(|| histogram.max()),
            })
        };
        json!({
            "name": name(run, storm),
            "at_s": seconds(storm.at),
            "sessions": storm.cut,
            "back": storm.back.len(),
            "not_back": storm.gone,
            "seconds": Value::Object(times.into_iter().collect()),
            "sessions_per_second": per_second(storm),
            "turned_away": Value::Object(refused.into_iter().collect()),
            "stayed_us": { "ack": stayed(&storm.ack), "e2e": stayed(&storm.e2e) },
        })
    });
    Value::Array(all.collect())
}

/// Returns the field `chaos` of a summary.
pub(super) fn chaos(judged: &JudgedRun) -> Value {
    let time = |at: Option<Nanos>| at.map(seconds);
    let all = judged.faults.iter().map(|it| {
        json!({
            "action": it.fault.name(),
            "victims": it.victims,
            "led": it.led,
            "at_s": seconds(it.at),
            "down_s": time(it.down),
            "ready_s": time(it.ready),
            "back_s": time(it.back),
            "sessions_broken": it.broken,
            "unacknowledged_s": time(it.unacknowledged),
            "unsure": it.unsure,
        })
    });
    Value::Array(all.collect())
}

/// Returns the lines on storms, churn and chaos; an empty list if no session ended to come back.
pub(super) fn lines(run: &RunSettings, judged: &JudgedRun) -> Vec<String> {
    let c = &judged.counters;
    let mut lines = Vec::new();
    if c.reconnects + c.cuts + c.resumed + c.not_recovered > 0 {
        lines.push(format!(
            "sessions      {} cut by this side; {} opened again with what they had missed, {} without it, \
             {} did not come back; {} attempts",
            grouped(c.cuts),
            grouped(c.resumed),
            grouped(c.not_recovered),
            grouped(c.gone),
            grouped(c.reconnects),
        ));
        lines.push(format!(
            "              {} sends waited for their session, {} were skipped; {} sent again with their key, {} of \
             these answered as duplicates; {} unanswered but stored",
            grouped(c.held),
            grouped(c.skipped),
            grouped(c.resent),
            grouped(c.duplicates_answered),
            grouped(c.unknown_then_delivered),
        ));
    }
    for storm in &judged.storms {
        lines.extend(storm_lines(&name(run, storm), storm));
    }
    lines.extend(judged.faults.iter().map(chaos_line));
    if judged
        .faults
        .iter()
        .any(|it| it.fault.whom != Whom::Gateway)
    {
        lines.push(String::new());
        lines.extend(faults::lines(&faults::rows(&judged.faults)));
    }
    lines
}

fn storm_lines(name: &str, storm: &Storm) -> [String; 3] {
    let time = |part| until_back(storm, part).map_or("never".into(), |s| format!("{s:.2} s"));
    let [half, most, nearly, all] = PARTS.map(|(_, part)| time(part));
    let p99 = |histogram: &hdrhistogram::Histogram<u64>| match histogram.is_empty() {
        true => "nothing".to_owned(),
        false => format!("p99 {}", micros(histogram.value_at_quantile(0.99))),
    };
    let away = turned_away(storm).map(|(name, count)| format!("{} {name}", grouped(count)));
    [
        format!(
            "storm         {name}: {} sessions cut at {:.2} s; back: half {half}, 90 % {most}, 99 % \
             {nearly}, all {all}: {} sessions/s",
            grouped(storm.cut),
            seconds(storm.at),
            grouped(per_second(storm).unwrap_or(0.0) as u64),
        ),
        format!("              turned away: {}", away.join(", ")),
        format!(
            "              sessions that stayed open meanwhile: ack {}, e2e {}",
            p99(&storm.ack),
            p99(&storm.e2e)
        ),
    ]
}

/// Returns which gateways and servers of a cluster a fault was done to; an empty text for a gateway alone.
fn done_to(it: &FaultRecord) -> String {
    match (it.fault.whom, it.led) {
        (Whom::Gateway, _) => String::new(),
        (_, true) => format!(" ({}, with the leader)", it.victims.join(", ")),
        (_, false) => format!(" ({})", it.victims.join(", ")),
    }
}

fn chaos_line(it: &FaultRecord) -> String {
    let time = |at: Option<Nanos>| at.map_or("never".into(), |at| format!("{:.3} s", seconds(at)));
    let what = match it.fault.action {
        FaultKind::Pause => format!("continued after {}", time(it.down)),
        FaultKind::StepDown => format!(
            "another gateway led and the command was done after {}",
            time(it.down)
        ),
        FaultKind::FullDisk => format!(
            "had room again and ended after {}, all ready after {}",
            time(it.down),
            time(it.ready)
        ),
        action if action.cuts_off() => format!(
            "mended after {}, all ready after {}",
            time(it.down),
            time(it.ready)
        ),
        _ => format!(
            "ended after {}, ready after {}",
            time(it.down),
            time(it.ready)
        ),
    };
    format!(
        "chaos         {}{} {:.3} s into sending: {what}; {} sessions broke, all back after {}; {} without an \
         acknowledgement",
        it.fault.name(),
        done_to(it),
        seconds(it.at),
        grouped(it.broken),
        time(it.back),
        time(it.unacknowledged),
    )
}

/// Returns the latencies that only sessions which come back have, if there were any.
pub(super) fn latencies(judged: &JudgedRun) -> impl Iterator<Item = Metric> {
    let all = [Metric::Resume, Metric::StormRecovery, Metric::Held];
    all.into_iter()
        .filter(|metric| !judged.latencies.of(*metric).is_empty())
}
