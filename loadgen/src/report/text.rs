//! The summary for people.

use super::sessions;
use crate::exit::Exit;
use crate::run::judge::Judged;
use crate::run::resolve::Resolved;
use crate::stats::Metric;
use crate::units::{grouped, micros, readable};

/// What is about to be run, with its arithmetic.
pub(crate) fn header(run: &Resolved) -> Vec<String> {
    let mut lines = vec![format!(
        "loadgen run {} (seed {})",
        run.name, run.scenario.seed
    )];
    let arithmetic = run.sizing.explain(&run.scenario);
    lines.extend(arithmetic.into_iter().map(|line| format!("    {line}")));
    lines
}

/// What came of it.
pub(crate) fn text(run: &Resolved, judged: &Judged) -> Vec<String> {
    let c = &judged.counters;
    let offered = run.sizing.offered_rate;
    let achieved = judged.achieved();
    let mut lines = vec![
        String::new(),
        format!(
            "connections   {} opened, {} failed, {} ended early",
            grouped(c.sessions_opened),
            grouped(c.connect_failures),
            grouped(c.disconnects)
        ),
        format!(
            "rate          {} messages/s offered, {} achieved over {:.1} s",
            readable(offered),
            readable(achieved),
            judged.sending
        ),
        format!(
            "deliveries    {}/s: {} pushes, {} for each message",
            readable(judged.deliveries()),
            grouped(c.message_pushes),
            readable(judged.fan_out())
        ),
        format!(
            "messages      {} attempted, {} acknowledged, {} delivered ({} to users offline), {} rejected, {} unknown",
            grouped(c.attempted),
            grouped(c.acknowledged),
            grouped(c.delivered),
            grouped(c.to_offline),
            grouped(c.rejected),
            grouped(c.unknown)
        ),
        format!(
            "integrity     {} lost, {} duplicated, {} reordered, {} unexpected, {} recovered",
            c.lost, c.duplicated, c.reordered, c.unexpected, c.recovered
        ),
        format!(
            "read back     {} messages of {} conversations; {} receipts sent, {} pushed",
            grouped(c.messages_read),
            grouped(c.conversations_read),
            grouped(c.receipts_sent),
            grouped(c.receipt_pushes)
        ),
    ];
    lines.extend(sessions::lines(run, judged));
    if c.groups_made > 0 {
        lines.push(format!(
            "groups        {} with {} memberships, made in {:.1} s before; {} messages in them, {} pushes",
            grouped(c.groups_made),
            grouped(c.group_members),
            judged.making,
            grouped(c.group_messages),
            grouped(c.group_pushes)
        ));
    }
    lines.extend([
        String::new(),
        format!(
            "{:<13} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "latency", "count", "p50", "p90", "p99", "p99.9", "max"
        ),
    ]);
    let usual = [
        Metric::Connect,
        Metric::Ack,
        Metric::E2e,
        Metric::E2eGroup,
        Metric::SendLag,
    ];
    for metric in usual.into_iter().chain(sessions::latencies(judged)) {
        let p = judged.latencies.percentiles(metric);
        if metric == Metric::E2eGroup && p.count == 0 {
            continue;
        }
        let figures = [p.p50, p.p90, p.p99, p.p999, p.max].map(micros);
        let [p50, p90, p99, p999, max] = figures;
        lines.push(format!(
            "{:<14} {:>9} {p50:>10} {p90:>10} {p99:>10} {p999:>10} {max:>10}",
            metric.name(),
            grouped(p.count)
        ));
    }
    lines.push("              ack, e2e and send_lag count from the intended send time".into());
    lines.push(String::new());
    lines.extend(sides(judged));
    lines.extend(verdict(judged));
    lines
}

fn sides(judged: &Judged) -> Vec<String> {
    let health = &judged.health;
    let side = |name: &str, process: &crate::health::Process| {
        let each = process.cpu_seconds / judged.counters.acknowledged.max(1) as f64 * 1e6;
        let push = process.cpu_seconds / judged.counters.message_pushes.max(1) as f64 * 1e6;
        format!(
            "{name:<13} {:.2} s CPU ({each:.1} µs per message, {push:.1} per push), {} MiB resident",
            process.cpu_seconds,
            process.rss_bytes >> 20
        )
    };
    let mut lines: Vec<_> = judged
        .sides
        .gateway
        .iter()
        .map(|g| side("gateway", g))
        .collect();
    lines.push(side("generator", &judged.sides.generator));
    lines.push(format!(
        "health        send lag p99 {}, {:.2} % of the schedule sent, longest stall {}, steal {:.1} %, idle {:.1} %",
        micros(health.send_lag_p99_us),
        health.achieved * 100.0,
        micros(health.loop_stall_us),
        health.steal * 100.0,
        health.idle * 100.0
    ));
    for (what, theirs, ours) in &judged.sides.agreement {
        let says = if theirs == ours { "agrees" } else { "DIFFERS" };
        lines.push(format!(
            "/metrics      {what}: {} there, {} here: {says}",
            grouped(*theirs),
            grouped(*ours)
        ));
    }
    lines
}

fn verdict(judged: &Judged) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (kind, count) in &judged.violations {
        lines.push(format!("VIOLATION     {kind}: {count}"));
    }
    lines.extend(
        judged
            .health
            .faults
            .iter()
            .map(|fault| format!("UNHEALTHY     {fault}")),
    );
    lines.extend(
        judged
            .missed
            .iter()
            .map(|missed| format!("THRESHOLD     {missed}")),
    );
    lines.extend(
        judged
            .notes
            .iter()
            .map(|note| format!("note          {note}")),
    );
    let what = match judged.exit {
        Exit::Ok => "every check passed",
        Exit::Violation => "the gateway broke a promise; violations.jsonl has what was seen",
        Exit::Invalid => "the generator was not healthy: do not use these figures",
        Exit::Threshold => "the figures are right and miss a threshold",
        _ => "the run was not finished",
    };
    lines.push(format!(
        "{} (exit {}): {what}",
        judged.exit.verdict(),
        judged.exit.code()
    ));
    lines
}
