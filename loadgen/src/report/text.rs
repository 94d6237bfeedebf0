//! The summary for people.

use super::{agents, sessions};
use crate::course::Worst;
use crate::debt::Debt;
use crate::exit::Exit;
use crate::health::Process;
use crate::settings::RunSettings;
use crate::stats::Metric;
use crate::units::{each_bytes, grouped, memory, micros, readable};
use crate::verdict::{JudgedRun, Sides};

/// Returns the lines before a run: its scenario with the arithmetic.
pub(crate) fn header(run: &RunSettings) -> Vec<String> {
    let mut lines = vec![format!(
        "loadgen run {} (seed {})",
        run.name, run.scenario.seed
    )];
    let arithmetic = run.sizing.explain(&run.scenario);
    lines.extend(arithmetic.into_iter().map(|line| format!("    {line}")));
    lines
}

/// Returns the lines after a run: its figures and its verdict.
pub(crate) fn text(run: &RunSettings, judged: &JudgedRun) -> Vec<String> {
    let c = &judged.counters;
    let mut lines = traffic(run, judged);
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
        let figures = [p.p50, p.p90, p.p99, p.p999, p.max].map(|us| known(p.count, us));
        let [p50, p90, p99, p999, max] = figures;
        lines.push(format!(
            "{:<14} {:>9} {p50:>10} {p90:>10} {p99:>10} {p999:>10} {max:>10}",
            metric.name(),
            grouped(p.count)
        ));
    }
    lines.push("              ack, e2e and send_lag count from the intended send time".into());
    lines.push(String::new());
    lines.extend(targets(judged));
    lines.extend(sides(judged));
    lines.extend(agents::lines(judged));
    lines.push(String::new());
    lines.extend(verdict(judged));
    lines
}

/// Returns the line on the worst second.
fn worst(judged: &JudgedRun) -> String {
    let Some(worst) = judged.worst else {
        return "worst second  –: no whole second lies in the time of sending".to_owned();
    };
    let (_, happened) = judged.achievement();
    let name = Worst::name(worst.seconds);
    let e2e = worst.e2e_p99_us.zip(worst.e2e_from_s);
    format!(
        "{name:<13} {} messages/s {happened}, from {:.0} s on{}",
        readable(worst.achieved),
        worst.achieved_from_s,
        e2e.map_or(String::new(), |(p99, from)| format!(
            "; e2e p99 {}, from {from:.0} s on",
            micros(p99)
        ))
    )
}

/// Returns the lines on sessions and messages.
fn traffic(run: &RunSettings, judged: &JudgedRun) -> Vec<String> {
    let c = &judged.counters;
    let offered = run.sizing.offered_rate;
    let highest = run.sizing.highest(&run.scenario);
    let achieved = judged.achieved();
    let (counted, happened) = judged.achievement();
    vec![
        String::new(),
        format!(
            "connections   {} opened, {} failed, {} ended early",
            grouped(c.sessions_opened),
            grouped(c.connect_failures),
            grouped(c.disconnects)
        ),
        format!(
            "rate          {} messages/s offered{}, {} achieved: {} {} in {:.1} s",
            readable(offered),
            match highest > offered * 1.01 {
                true => format!(" on average and {} at the highest", readable(highest)),
                false => String::new(),
            },
            readable(achieved),
            grouped(counted),
            happened,
            judged.sending
        ),
        worst(judged),
        format!(
            "deliveries    {}/s: {} pushes in {:.1} s; {} in all, {} for each message",
            readable(judged.deliveries()),
            grouped(c.pushes_in_time),
            judged.sending,
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
    ]
}

/// The text for a figure that does not exist.
const NONE: &str = "–";

/// Explains the CPU per message, the first figure that looks large.
const ABOUT_CPU: &str = "              CPU of the whole run; at low rates each message causes its own wake-ups and syncs";

/// Formats a latency in microseconds, if there were any.
fn known(count: u64, us: u64) -> String {
    match count {
        0 => NONE.to_owned(),
        _ => micros(us),
    }
}

/// Returns a line for each gateway, if there were several.
fn targets(judged: &JudgedRun) -> Vec<String> {
    let each = judged.targets.iter().map(|it| {
        format!(
            "target        {}: {} sessions opened, {} sends acknowledged",
            it.target,
            grouped(it.tally.sessions),
            grouped(it.tally.acknowledged)
        )
    });
    each.collect()
}

fn sides(judged: &JudgedRun) -> Vec<String> {
    let health = &judged.health;
    let c = &judged.counters;
    let side = |name: &str, process: &Process, before: Option<u64>| {
        let each = |count: u64| match count {
            0 => NONE.to_owned(),
            count => format!("{:.1} µs", process.cpu_seconds / count as f64 * 1e6),
        };
        let session = Sides::per_session(process, before, c.sessions_opened);
        format!(
            "{name:<13} {:.2} s CPU ({} per message, {} per push), {} resident, {} per session",
            process.cpu_seconds,
            each(c.acknowledged),
            each(c.message_pushes),
            memory(process.rss_bytes),
            session.map_or(NONE.to_owned(), each_bytes)
        )
    };
    let sides = &judged.sides;
    let mut lines: Vec<_> = judged
        .sides
        .gateway
        .iter()
        .map(|gateway| side("gateway", gateway, sides.gateway_before))
        .collect();
    lines.extend(sides.servers.iter().map(|it| side("nats", it, None)));
    lines.push(side("generator", &sides.generator, sides.generator_before));
    lines.push(ABOUT_CPU.into());
    lines.extend(
        judged
            .debt
            .iter()
            .map(|it| format!("put-off work  {}", it.line())),
    );
    lines.push(format!(
        "health        send lag p99 {}, {:.2} % of the schedule sent, longest stall {}, steal {:.1} %, idle {:.1} %, busiest thread {}",
        known(judged.latencies.of(Metric::SendLag).len(), health.send_lag_p99_us),
        health.achieved * 100.0,
        micros(health.loop_stall_us),
        health.steal * 100.0,
        health.idle * 100.0,
        health
            .busiest_thread
            .map_or(NONE.to_owned(), |part| format!("{:.1} %", part * 100.0))
    ));
    for it in &judged.sides.agreement {
        let same = it.gateway == it.generator;
        lines.push(format!(
            "/metrics      {}: {} there, {} here: {}",
            it.what,
            grouped(it.gateway),
            grouped(it.generator),
            if same { "agrees" } else { "DIFFERS" }
        ));
    }
    lines
}

/// Returns the verdict and its reasons.
pub(crate) fn verdict(judged: &JudgedRun) -> Vec<String> {
    let mut lines = Vec::new();
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
    let unsteady = judged.debt.as_ref().and_then(Debt::complaint);
    lines.extend(unsteady.map(|why| format!("NOT STEADY    {why}")));
    lines.extend(
        judged
            .not_checked
            .iter()
            .map(|what| format!("NOT CHECKED   {what}")),
    );
    lines.extend(
        judged
            .doubts
            .iter()
            .map(|doubt| format!("INCONCLUSIVE  {doubt}")),
    );
    lines.extend(
        judged
            .notes
            .iter()
            .map(|note| format!("note          {note}")),
    );
    let what = match judged.exit {
        Exit::Ok if judged.counters.attempted == 0 => {
            "only sessions were measured: the scenario sends no messages, so none was checked"
        }
        Exit::Ok if judged.counters.acknowledged == 0 => {
            "every message was rejected, which the scenario allows; nothing else was checked"
        }
        Exit::Ok if !judged.not_checked.is_empty() => {
            "every check that was made passed; the others are listed as NOT CHECKED"
        }
        Exit::Ok => "every check passed",
        Exit::Inconclusive => "the figures contradict each other",
        Exit::Violation => "the gateway broke a promise; violations.jsonl has the evidence",
        Exit::Invalid => "the generator was not healthy: do not use these figures",
        Exit::Threshold => "the figures are right and miss a threshold",
        _ if judged.unwritten => "the results could not be written completely",
        _ if judged.counters.sessions_opened == 0 => {
            "no session could be opened: nothing was measured"
        }
        _ if judged.counters.gone == judged.counters.sessions_opened => {
            "the gateway ended every session, so the run ended"
        }
        _ => "the run was not finished",
    };
    lines.push(format!(
        "{} (exit {}): {what}",
        judged.exit.verdict(),
        judged.exit.code()
    ));
    lines
}
