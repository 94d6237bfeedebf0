//! The machines that played a run, in the summaries.

use crate::couriers::Between;
use crate::units::{grouped, micros};
use crate::verdict::JudgedRun;

/// Returns how far a clock is ahead, in words: `1.2 ms ahead of the clock here, ± 0.3 ms`.
pub(crate) fn offset(ahead_us: i64, uncertainty_us: u64) -> String {
    let way = if ahead_us < 0 { "behind" } else { "ahead of" };
    format!(
        "{} {way} the clock here, ± {}",
        micros(ahead_us.unsigned_abs()),
        micros(uncertainty_us)
    )
}

/// Returns a line for each agent; an empty list if this machine played the run.
pub(super) fn lines(judged: &JudgedRun) -> Vec<String> {
    let each = judged.agents.iter().map(|agent| {
        let health = match (&agent.ended_early, &agent.health) {
            (Some(why), _) => why.clone(),
            (None, Some(it)) => format!(
                "send lag p99 {}, longest stall {}, idle {:.1} %, busiest thread {}",
                micros(it.send_lag_p99_us),
                micros(it.loop_stall_us),
                it.idle * 100.0,
                it.busiest_thread
                    .map_or("–".to_owned(), |part| format!("{:.1} %", part * 100.0))
            ),
            (None, None) => "no figures".to_owned(),
        };
        format!(
            "{}: {} users, {} sessions, {} threads; clock {}; {health}",
            agent.name,
            grouped(agent.users),
            grouped(agent.sessions),
            agent.threads,
            offset(agent.clock_offset_us, agent.clock_uncertainty_us)
        )
    });
    each.chain(judged.between.as_ref().map(between)).collect()
}

/// Returns the line on the messages between the machines.
fn between(it: &Between) -> String {
    let (counted, all) = it.counted();
    let latency = match (&it.latency_us, it.uncertainty_us) {
        (Some(p), Some(uncertainty)) => format!(
            "e2e of {counted} of {all} pairs, each latency ± {}: p50 {}, p90 {}, p99 {}, max {}",
            micros(uncertainty),
            micros(p.p50),
            micros(p.p90),
            micros(p.p99),
            micros(p.max)
        ),
        _ => format!("e2e of none of {all} pairs"),
    };
    format!(
        "between agents: {} messages, {} came, {} lost; {latency}",
        grouped(it.messages),
        grouped(it.came),
        it.lost
    )
}
