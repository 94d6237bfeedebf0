//! The summary for programs: `summary.json`.

use serde_json::{Map, Value, json};

use super::{broke, faults, sessions};
use crate::debt::Debt;
use crate::health::Process;
use crate::settings::RunSettings;
use crate::stats::{Counters, Metric, Percentiles};
use crate::verdict::{JudgedRun, Sides};

/// The version of the summary. Under one version fields are added, and never renamed.
const SCHEMA: u32 = 1;

/// Returns the field `groups` of a summary.
fn groups(judged: &JudgedRun) -> Value {
    json!({
        "made": judged.counters.groups_made,
        "memberships": judged.counters.group_members,
        "making_seconds": judged.making,
    })
}

/// Returns the field `counts` of a summary.
fn counts(c: &Counters) -> Value {
    json!({
        "attempted": c.attempted,
        "acknowledged": c.acknowledged,
        "acknowledged_in_time": c.acknowledged_in_time,
        "delivered": c.delivered,
        "lost": c.lost,
        "duplicated": c.duplicated,
        "reordered": c.reordered,
        "unexpected": c.unexpected,
        "recovered": c.recovered,
        "rejected": c.rejected,
        "unknown": c.unknown,
        "skipped": c.skipped,
        "given_up": c.given_up,
        "to_offline": c.to_offline,
        "message_pushes": c.message_pushes,
        "message_pushes_in_time": c.pushes_in_time,
        "group_messages": c.group_messages,
        "group_pushes": c.group_pushes,
        "group_changes": c.group_changes,
        "receipts_sent": c.receipts_sent,
        "receipt_pushes": c.receipt_pushes,
        "messages_read_back": c.messages_read,
        "conversations_read_back": c.conversations_read,
        "conversations_unread": c.conversations_unread,
        "unproven": c.unproven,
        "sessions_opened": c.sessions_opened,
        "connect_failures": c.connect_failures,
        "disconnects": c.disconnects,
        "command_errors": c.command_errors,
        "gaps": c.gaps,
        "pings": c.pings,
        "undecided": c.undecided,
        "strange": c.strange,
    })
}

/// Returns the percentiles of a latency in microseconds. A latency without values has null, not 0.
fn latency(percentiles: &Percentiles) -> Value {
    match percentiles.count {
        0 => {
            json!({ "count": 0, "p50": null, "p90": null, "p99": null, "p999": null, "max": null })
        }
        _ => json!(percentiles),
    }
}

/// Returns the summary of a run.
pub(crate) fn summary(run: &RunSettings, judged: &JudgedRun) -> Value {
    let c = &judged.counters;
    let latencies: Map<String, Value> = Metric::ALL
        .iter()
        .map(|metric| {
            let percentiles = judged.latencies.percentiles(*metric);
            (metric.name().to_owned(), latency(&percentiles))
        })
        .collect();
    let achieved = judged.achieved();
    let per = |seconds: f64, count: u64| (count > 0).then(|| seconds / count as f64 * 1e6);
    // Each side's connections as that side counted them.
    let side = |process: &Process, before: Option<u64>, connections: Option<u64>| {
        json!({
            "cpu_seconds": process.cpu_seconds,
            "rss_bytes": process.rss_bytes,
            "rss_bytes_before": before,
            "bytes_per_session": Sides::per_session(process, before, c.sessions_opened),
            "cpu_us_per_message": per(process.cpu_seconds, c.acknowledged),
            "cpu_us_per_push": per(process.cpu_seconds, c.message_pushes),
            "connections": connections,
        })
    };
    let sides = &judged.sides;
    let agreement: Map<String, Value> = judged
        .sides
        .agreement
        .iter()
        .map(|it| {
            (
                it.what.replace(' ', "_"),
                json!({ "gateway": it.gateway, "generator": it.generator }),
            )
        })
        .collect();
    let mut summary = json!({
        "schema": SCHEMA,
        "scenario": run.name,
        "seed": run.scenario.seed,
        "target": run.gateway.name(),
        "targets": judged.targets,
        "verdict": judged.exit.verdict(),
        "exit_code": judged.exit.code(),
        "counts": counts(c),
        "rates": {
            "offered": run.sizing.offered_rate,
            "highest": run.sizing.highest(&run.scenario),
            "achieved": achieved,
            "deliveries": judged.deliveries(),
        },
        "fan_out": judged.fan_out(),
        "groups": groups(judged),
        "sending_seconds": judged.sending,
        "worst_second": judged.worst,
        "until_steady": run.steady.is_some(),
        "debt": judged.debt,
        "not_steady": Vec::from_iter(judged.debt.as_ref().and_then(Debt::complaint)),
        "latency_us": latencies,
        "gateway": sides.gateway.as_ref().map(|it| side(it, sides.gateway_before, sides.accepted)),
        "nats": sides.servers.as_ref().map(|it| json!({
            "cpu_seconds": it.cpu_seconds,
            "rss_bytes": it.rss_bytes,
            "cpu_us_per_message": per(it.cpu_seconds, c.acknowledged),
        })),
        "generator": side(&sides.generator, sides.generator_before, Some(c.sessions_opened)),
        "storms": sessions::storms(run, judged),
        "chaos": sessions::chaos(judged),
        "faults": faults::rows(&judged.faults).iter().map(faults::FaultRow::json).collect::<Vec<_>>(),
        "health": judged.health,
        "agents": judged.agents,
        "between_agents": judged.between,
        "violations": judged.violations,
        "thresholds_missed": judged.missed,
        "metrics": agreement,
        "protocol": run.scenario.protocol.kind,
        "acknowledges": run.scenario.protocol.acknowledges(),
        "not_checked": judged.not_checked,
        "doubts": judged.doubts,
        "notes": judged.notes,
        "first_break": broke::first(&run.scenario, &judged.intervals),
    });
    sessions::count(c, &mut summary["counts"]);
    summary
}
