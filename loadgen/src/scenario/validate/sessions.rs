//! The rules for sessions that end and come back. Events that thresholds judge must happen in the
//! run.

use super::{Check, must};
use crate::scenario::sizing::Sizing;
use crate::scenario::threshold::OF_RETURNS;
use crate::scenario::{ExecutorKind, Scenario};

/// The most storms of a run.
const MAX_STORMS: usize = 100;

pub(super) fn check(scenario: &Scenario, sizing: &Sizing) -> Check {
    let kinds = scenario.scenarios.values().map(|it| it.executor);
    let storms = kinds
        .filter(|it| *it == ExecutorKind::ReconnectStorm)
        .count();
    must(
        storms <= MAX_STORMS,
        "scenarios",
        format!("a run has up to {MAX_STORMS} storms"),
    )?;
    let returns = scenario.has_returns();
    for metric in scenario.thresholds.keys() {
        let path = format!("thresholds.{metric}");
        must(
            metric != "storm_recovery" || storms > 0,
            &path,
            "there is no storm to recover from: add a scenario with executor = \"reconnect-storm\"",
        )?;
        must(
            returns || !OF_RETURNS.contains(&&**metric),
            &path,
            "no session ends and comes back: add a scenario with executor = \"churn\" or \
             \"reconnect-storm\", or chaos",
        )?;
    }
    chaos(scenario, sizing)
}

/// Checks that faults happen while messages are sent, in the order in which they are written.
fn chaos(scenario: &Scenario, sizing: &Sizing) -> Check {
    let sending = sizing.sending(scenario);
    let mut last = None;
    for fault in &scenario.chaos.actions {
        let there = fault.check(scenario.cluster);
        must(
            there.is_ok(),
            "chaos.actions",
            there.err().unwrap_or_default(),
        )?;
        must(
            fault.at.0.as_secs_f64() < sending,
            "chaos.actions",
            format!(
                "{fault}: messages are sent for {sending} s, and the time of a fault counts from their start: choose an earlier time"
            ),
        )?;
        must(
            last.is_none_or(|last| last < fault.at.0),
            "chaos.actions",
            format!("{fault}: write them in the order of time, each later than the one before"),
        )?;
        last = Some(fault.at.0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::scenario::{load, presets};

    /// The smoke preset with more in it, before its checks or among its thresholds, is refused.
    #[track_caller]
    fn refused(before_checks: &str, threshold: &str, word: &str) {
        let smoke = presets::find("smoke").unwrap().text;
        let text = smoke
            .replace("[checks]", &format!("{before_checks}\n[checks]"))
            .replace("[thresholds]", &format!("[thresholds]\n{threshold}"));
        let failure = load::parse("t".into(), "t.toml".into(), text).unwrap_err();
        assert_eq!(failure.exit.code(), 104);
        assert!(failure.message.starts_with("t.toml:"), "{failure}");
        assert!(failure.message.contains(word), "{word}: {failure}");
    }

    const CHURN: &str = "[scenarios.c]\nexecutor = \"churn\"\nduration = \"9s\"\n";
    const STORM: &str = "[scenarios.s]\nexecutor = \"reconnect-storm\"\nfraction = 0.5\n";

    #[test]
    fn executors_that_cut_have_their_keys() {
        for (executor, key, word) in [
            (CHURN, "", "rate = \"100/s\""),
            (CHURN, "rate = \"0/s\"", "above zero"),
            (CHURN, "rate = \"1/s\"\nabrupt = 2.0", "0 to 1"),
            (CHURN, "rate = \"1/s\"\naway = 5", "no unit"),
            (
                CHURN,
                "rate = \"1/s\"\nfraction = 0.5",
                "churn takes no fraction",
            ),
            (STORM, "away = \"1s\"", "takes no away"),
            (STORM, "rate = \"1/s\"", "takes no rate"),
        ] {
            refused(&format!("{executor}{key}"), "", word);
        }
    }

    #[test]
    fn what_cannot_be_measured_has_no_threshold() {
        let some = "[\"p(99)<5s\"]";
        refused("", &format!("storm_recovery = {some}"), "no storm");
        refused("", &format!("resume = {some}"), "churn");
        refused("", "not_back = [\"count==0\"]", "churn");
        let churn = format!("{CHURN}rate = \"1/s\"");
        refused(&churn, &format!("storm_recovery = {some}"), "no storm");
        refused(&churn, "resume = [\"count==0\"]", "is a latency");
        refused(STORM, "not_back = [\"p(99)<5s\"]", "is a count");
    }

    #[test]
    fn chaos_hits_while_messages_are_sent() {
        for (actions, word) in [
            ("[\"kill-gateway\"]", "kill-gateway@30s"),
            ("[\"kill-gateway@20s\"]", "sent for 20 s"),
            (
                "[\"kill-gateway@5s\", \"restart-gateway@5s\"]",
                "order of time",
            ),
            (
                "[\"kill-gateway@5s\", \"restart-gateway@4s\"]",
                "order of time",
            ),
        ] {
            refused(&format!("[chaos]\nactions = {actions}"), "", word);
        }
        refused("[chaos]\nactoins = []", "", "actoins");
    }

    #[test]
    fn what_is_right_is_taken() {
        let smoke = presets::find("smoke").unwrap().text;
        let more = format!(
            "{CHURN}rate = \"1/s\"\n{STORM}[chaos]\nactions = [\"pause-gateway@1s+1s\", \
             \"kill-gateway@19s\"]\n[checks]"
        );
        let text = smoke.replace("[checks]", &more).replace(
            "[thresholds]",
            "[thresholds]\nstorm_recovery = [\"p(100)<9s\"]\nnot_back = [\"count<2\"]",
        );
        let loaded = load::parse("t".into(), "t.toml".into(), text).unwrap();
        loaded.runnable().unwrap();
        // The scenario in the results states the same.
        let text = toml::to_string(&loaded.scenario).unwrap();
        let again = load::parse("t".into(), "t".into(), text).unwrap();
        assert_eq!(again.scenario.chaos, loaded.scenario.chaos);
    }
}
