//! The verdict on a run, from its summary alone.

use serde_json::Value;

use crate::exit::Exit;
use crate::scenario::Scenario;
use crate::scenario::threshold::{Statistic, Threshold};
use crate::verdict::doubts::{self, Evidence};

/// The verdict judged again, and why.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) exit: Exit,
    /// The reasons, in sentences.
    pub(super) why: Vec<String>,
    /// Thresholds that a summary cannot judge.
    pub(super) untold: Vec<String>,
}

/// Judges a summary by the thresholds of `scenario`. The health stays as the run found it, because
/// a summary lacks the figures behind it.
pub(super) fn judge(summary: &Value, scenario: &Scenario) -> Verdict {
    let mut why = Vec::new();
    for (kind, count) in summary["violations"].as_object().into_iter().flatten() {
        why.push(format!("{kind}: {count}"));
    }
    let (mut missed, mut untold) = (Vec::new(), Vec::new());
    for (metric, thresholds) in &scenario.thresholds {
        for threshold in thresholds {
            match value(summary, metric, threshold) {
                // Of a latency that never happened nothing is known.
                _ if summary["latency_us"][metric]["count"] == 0 => {}
                Some(value) if threshold.holds(value) => {}
                Some(value) => missed.push(threshold.complaint(metric, value)),
                None => untold.push(format!("{metric}: {threshold}")),
            }
        }
    }
    // What a scenario does not mention must not happen.
    for metric in ["rejected", "unknown", "disconnects", "not_back"] {
        let count = |name: &str| summary["counts"][name].as_u64().unwrap_or(0);
        // Events that the run itself caused need no permission in the scenario.
        let count = count(metric) - count(&format!("{metric}_excused")).min(count(metric));
        if count > 0 && !scenario.thresholds.contains_key(metric) {
            missed.push(format!("{metric}: {count}, and the scenario allows none"));
        }
    }
    let faults = summary["health"]["faults"].as_array().into_iter().flatten();
    let faults: Vec<_> = faults
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let evidence = evidence(summary);
    let mut doubts = evidence.doubts();
    if !evidence.is_nothing() {
        let count = |metric: &str| summary["latency_us"][metric]["count"].as_u64();
        doubts.extend(doubts::unmeasured(&scenario.thresholds, count));
    }
    doubts.extend(disagreement(summary));
    if summary["until_steady"] == true && summary["debt"]["steady"] != true {
        doubts
            .push("not steady: the gateway put off more work than it did, or does not tell".into());
    }
    let exit = if !why.is_empty() {
        Exit::Violation
    } else if summary["verdict"] == Exit::Aborted.verdict() {
        Exit::Aborted
    } else if !faults.is_empty() {
        why = faults;
        Exit::Invalid
    } else if !missed.is_empty() && !evidence.is_nothing() {
        why = missed;
        Exit::Threshold
    } else if !doubts.is_empty() {
        why = doubts;
        Exit::Inconclusive
    } else {
        Exit::Ok
    };
    Verdict { exit, why, untold }
}

/// Returns the evidence in a summary.
fn evidence(summary: &Value) -> Evidence {
    let count = |name: &str| summary["counts"][name].as_u64();
    let arrived = count("message_pushes").zip(count("recovered"));
    Evidence {
        offered: summary["rates"]["offered"].as_f64().unwrap_or(0.0),
        attempted: count("attempted"),
        acknowledged: count("acknowledged").filter(|_| summary["acknowledges"] != false),
        rejected: count("rejected"),
        arrived: arrived.map(|(pushed, recovered)| pushed + recovered),
        skipped: count("skipped"),
    }
}

/// Returns a sentence on each counter of the gateway that is above that of the run. For a gateway
/// that was started for the run, and for lower counters, that is a violation by itself.
fn disagreement(summary: &Value) -> Vec<String> {
    let compared = summary["metrics"].as_object().into_iter().flatten();
    let differ = compared.filter(|(_, both)| both["gateway"] != both["generator"]);
    differ
        .map(|(what, both)| {
            format!(
                "/metrics: {} {} there, {} here",
                what.replace('_', " "),
                both["gateway"],
                both["generator"]
            )
        })
        .collect()
}

/// Returns the value that a threshold judges, if a summary has it.
fn value(summary: &Value, metric: &str, threshold: &Threshold) -> Option<f64> {
    let latency = |statistic: &str| summary["latency_us"][metric][statistic].as_f64();
    match threshold.statistic {
        Statistic::Percentile(50.0) => latency("p50"),
        Statistic::Percentile(90.0) => latency("p90"),
        Statistic::Percentile(99.0) => latency("p99"),
        Statistic::Percentile(99.9) => latency("p999"),
        Statistic::Max | Statistic::Percentile(100.0) => latency("max"),
        Statistic::Percentile(_) | Statistic::Mean => None,
        Statistic::Rate => summary["rates"]["achieved"].as_f64(),
        Statistic::Count => summary["counts"][metric].as_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load;
    use serde_json::json;

    fn judged(edit: (&str, Value), thresholds: &[(&str, &str)]) -> Verdict {
        let mut scenario = load::load("smoke").unwrap().scenario;
        for (metric, threshold) in thresholds {
            let threshold = threshold.parse().unwrap();
            scenario
                .thresholds
                .insert((*metric).into(), vec![threshold]);
        }
        let mut summary = json!({
            "verdict": "ok",
            "violations": {},
            "counts": {
                "lost": 0, "duplicated": 0, "reordered": 0, "unexpected": 0, "rejected": 0,
                "attempted": 9, "acknowledged": 9, "message_pushes": 9, "recovered": 0,
            },
            "rates": { "offered": 2000.0, "achieved": 1990.0 },
            "metrics": { "send_replies": { "gateway": 9, "generator": 9 } },
            "latency_us": { "e2e": { "count": 9, "p50": 300, "p90": 900, "p99": 5000, "p999": 9000, "max": 20000 } },
            "health": { "faults": [] },
        });
        *summary.pointer_mut(edit.0).unwrap() = edit.1;
        judge(&summary, &scenario)
    }

    const NOTHING: &str = "/health/faults";

    #[test]
    fn every_kind_of_verdict_comes_again() {
        for (path, value, exit) in [
            (NOTHING, json!([]), Exit::Ok),
            (NOTHING, json!(["send lag"]), Exit::Invalid),
            ("/violations", json!({ "lost": 2 }), Exit::Violation),
            ("/counts/lost", json!(1), Exit::Threshold),
            ("/counts/rejected", json!(1), Exit::Threshold),
            ("/verdict", json!("aborted"), Exit::Aborted),
            ("/counts/attempted", json!(0), Exit::Inconclusive),
            ("/counts/acknowledged", json!(0), Exit::Inconclusive),
            ("/counts/message_pushes", json!(0), Exit::Inconclusive),
            ("/latency_us/e2e/count", json!(0), Exit::Inconclusive),
            (
                "/metrics/send_replies/gateway",
                json!(10),
                Exit::Inconclusive,
            ),
        ] {
            let verdict = judged((path, value), &[("e2e", "p(99)<1s")]);
            assert_eq!(verdict.exit, exit, "{path}: {verdict:?}");
            let silent = matches!(exit, Exit::Ok | Exit::Aborted);
            assert_eq!(verdict.why.is_empty(), silent, "{verdict:?}");
        }
    }

    #[test]
    fn other_thresholds_may_come_to_another_verdict() {
        for (metric, threshold, exit) in [
            ("e2e", "p(50)<1ms", Exit::Ok),
            ("e2e", "p(50)<200us", Exit::Threshold),
            ("e2e", "p(90)<800us", Exit::Threshold),
            ("e2e", "p(99)<=5ms", Exit::Ok),
            ("e2e", "p(99)<5ms", Exit::Threshold),
            ("e2e", "p(99.9)<8ms", Exit::Threshold),
            ("e2e", "max<20ms", Exit::Threshold),
            ("achieved", "rate>=1980/s", Exit::Ok),
            ("achieved", "rate>=2000/s", Exit::Threshold),
        ] {
            let verdict = judged((NOTHING, json!([])), &[(metric, threshold)]);
            assert_eq!(verdict.exit, exit, "{metric} {threshold}: {verdict:?}");
            assert!(verdict.untold.is_empty());
        }
        // A summary has no mean and no other percentiles.
        for threshold in ["avg<1ms", "p(95)<1ms"] {
            let verdict = judged((NOTHING, json!([])), &[("e2e", threshold)]);
            assert_eq!(verdict.untold, [format!("e2e: {threshold}")]);
        }
    }
}
