//! The largest values of a scenario. A larger value is a typing error, or would overflow.

use super::{Check, must};
use crate::scenario::sizing::Sizing;
use crate::scenario::{Executor, Scenario, Target};
use crate::units::{Rate, Span, counted, grouped, readable};

/// The maximum number of users of a service: more than there are people, and small enough for exact
/// products.
const USERS_MAX: u64 = 1_000_000_000_000;
/// The most messages of a user and day.
const MESSAGES_MAX: f64 = 1e6;
/// The largest peak factor.
const PEAK_MAX: f64 = 1e4;
/// The most timeline writes of a message, and reads for each write.
const WRITES_MAX: f64 = 1e6;
/// The most years that messages are kept.
const YEARS_MAX: f64 = 1e3;
/// The most copies of everything stored.
const COPIES_MAX: u32 = 1_000;
/// The most members of a large group, and the most such groups.
const GROUPS_MAX: u64 = 1_000_000_000;
/// The maximum number of messages, or of cut sessions, per second of a run: ten times the rate of
/// one machine.
pub(crate) const RATE_MAX: f64 = 1e7;
/// The most seconds that a run may take.
const RUN_MAX: f64 = 366.0 * 86_400.0;
/// The maximum product of a run's users and their contacts, because each such pair has a 32-bit
/// number.
const STREAMS_MAX: u64 = u32::MAX as u64;

/// Checks the values of a scenario by themselves.
pub(super) fn check(scenario: &Scenario) -> Check {
    let p = &scenario.population;
    let most = |path: &str, value: f64, most: f64| {
        let name = path.rsplit('.').next().unwrap_or(path);
        let message = format!("{name} is {value}: {} at most", counted(most));
        // What is no number is not at most anything.
        must(value <= most, path, message)
    };
    must(
        p.users <= USERS_MAX,
        "population.users",
        format!(
            "users is {}: {} at most",
            grouped(p.users),
            grouped(USERS_MAX)
        ),
    )?;
    most(
        "population.msgs_per_user_day",
        p.msgs_per_user_day,
        MESSAGES_MAX,
    )?;
    most("population.peak_factor", p.peak_factor, PEAK_MAX)?;
    let plan = &scenario.plan;
    most("plan.years", plan.years, YEARS_MAX)?;
    most(
        "plan.replication",
        f64::from(plan.replication),
        f64::from(COPIES_MAX),
    )?;
    for (key, copies) in [
        ("plan.gateways_per_cell", plan.gateways_per_cell),
        ("plan.servers_per_cell", plan.servers_per_cell),
    ] {
        most(key, f64::from(copies), f64::from(COPIES_MAX))?;
    }
    most("plan.reads_per_write", plan.reads_per_write, WRITES_MAX)?;
    let writes = plan.writes_per_message.unwrap_or(0.0);
    most("plan.writes_per_message", writes, WRITES_MAX)?;
    if let Some(groups) = &scenario.traffic.groups {
        let size = groups.size.mean();
        let named = groups.large.iter().map(|it| it.size.max(it.count));
        let largest = named.max().unwrap_or(0);
        must(
            size <= GROUPS_MAX as f64 && largest <= GROUPS_MAX,
            "traffic.groups",
            format!(
                "a group has {} members at most, and there are as many groups at most",
                grouped(GROUPS_MAX)
            ),
        )?;
    }
    for (name, executor) in &scenario.scenarios {
        rates(name, executor)?;
    }
    Ok(())
}

/// Returns the rates that an executor gives.
fn rates(name: &str, executor: &Executor) -> Check {
    let stages = executor.stages.iter().flatten();
    let stages = stages.filter_map(|stage| match stage.target {
        Target::Rate(rate) => Some(("stages", rate)),
        Target::Count(_) | Target::Percent(_) => None,
    });
    let step = executor.step.map(|step| {
        let steps = f64::from(executor.steps.unwrap_or(1));
        let start = executor.start_rate.map_or(0.0, |rate| rate.0);
        ("step", Rate(start + step.0 * steps))
    });
    let own = [
        executor.rate.map(|rate| ("rate", rate)),
        executor.start_rate.map(|rate| ("start_rate", rate)),
        step,
    ];
    for (key, Rate(rate)) in own.into_iter().flatten().chain(stages) {
        must(
            rate <= RATE_MAX,
            &format!("scenarios.{name}.{key}"),
            format!(
                "{key} comes to {}/s: {}/s at most, no machine sends as much",
                readable(rate),
                counted(RATE_MAX)
            ),
        )?;
    }
    Ok(())
}

/// Checks the values that follow from the share of a run.
pub(super) fn runnable(scenario: &Scenario, sizing: &Sizing) -> Check {
    let contacts = u64::from(scenario.traffic.contacts);
    must(
        sizing.users.saturating_mul(contacts) <= STREAMS_MAX,
        "population.share",
        format!(
            "the share has {} users with {contacts} contacts each: {} users at most, lower the share or contacts",
            grouped(sizing.users),
            grouped(STREAMS_MAX / contacts.max(1))
        ),
    )?;
    let sending = sizing.sending(scenario);
    must(
        sending <= RUN_MAX,
        "scenarios",
        format!("the run takes {}: {} at most", days(sending), days(RUN_MAX)),
    )
}

/// Checks that the derived rate is within bounds. A run checks this after the preflight check of
/// its sessions.
///
/// # Errors
/// The rate is too high. The sentence names the limit.
pub(crate) fn sendable(scenario: &Scenario, sizing: &Sizing) -> Result<(), String> {
    let highest = sizing.highest(scenario);
    match highest <= RATE_MAX {
        true => Ok(()),
        false => Err(format!(
            "the schedule comes to {}/s: {}/s at most, no machine sends as much: lower the share, the \
             compression or the rate",
            readable(highest),
            counted(RATE_MAX)
        )),
    }
}

fn days(seconds: f64) -> String {
    format!("{} days", readable(seconds / 86_400.0))
}

/// Checks a rate that a command line names.
///
/// # Errors
/// The rate is too high. The sentence names the limit.
pub(crate) fn rate(flag: &str, Rate(rate): Rate) -> Result<(), String> {
    match rate <= RATE_MAX {
        true => Ok(()),
        false => Err(format!(
            "{flag} {}/s: {}/s at most, no machine sends as much",
            readable(rate),
            counted(RATE_MAX)
        )),
    }
}

/// Converts seconds to a time.
///
/// # Errors
/// The time is too long: a sentence with the limit.
pub(crate) fn span(flag: &str, seconds: f64) -> Result<Span, String> {
    match seconds <= RUN_MAX {
        true => Ok(Span(std::time::Duration::from_secs_f64(seconds.max(0.0)))),
        false => Err(format!(
            "{flag} takes {}: {} at most",
            days(seconds),
            days(RUN_MAX)
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::sizing::Sizing;
    use crate::scenario::{load, presets};

    /// The smoke preset with one replacement is refused with these words, to read or to run it.
    #[track_caller]
    fn refused(from: &str, to: &str, words: &[&str]) {
        let smoke = presets::find("smoke").unwrap().text;
        assert!(smoke.contains(from), "{from}");
        let loaded = load::parse("t".into(), "t.toml".into(), smoke.replace(from, to));
        let failure = loaded.and_then(|loaded| loaded.runnable()).unwrap_err();
        assert_eq!(failure.exit.code(), 104);
        for word in words {
            assert!(
                failure.message.contains(word),
                "{to}: no {word} in {failure}"
            );
        }
    }

    #[test]
    fn every_field_has_a_greatest_value_and_names_it() {
        for users in ["9223372036854775807", "1_000_000_000_001"] {
            let to = format!("users = {users}");
            refused(
                "users = 500_000_000",
                &to,
                &["users is ", "1,000,000,000,000 at most"],
            );
        }
        for (from, to, words) in [
            (
                "msgs_per_user_day = 40",
                "msgs_per_user_day = 1e300",
                ["msgs_per_user_day", "1,000,000 at most"],
            ),
            (
                "peak_factor = 1.0",
                "peak_factor = 1e9",
                ["peak_factor", "10,000 at most"],
            ),
            (
                "[checks]",
                "[plan]\nyears = 1e9\n[checks]",
                ["years", "1,000 at most"],
            ),
            (
                "[checks]",
                "[plan]\nreplication = 4294967295\n[checks]",
                ["replication", "1,000 at most"],
            ),
            (
                "[checks]",
                "[plan]\ngateways_per_cell = 1001\n[checks]",
                ["gateways_per_cell", "1,000 at most"],
            ),
            (
                "[checks]",
                "[plan]\nreads_per_write = 1e99\n[checks]",
                ["reads_per_write", "1,000,000 at most"],
            ),
            (
                "[checks]",
                "[plan]\nwrites_per_message = 1e99\n[checks]",
                ["writes_per_message", "1,000,000 at most"],
            ),
            (
                "[checks]",
                "[plan]\ndisk_per_node = \"99999PB\"\n[checks]",
                ["99999PB", "8000PiB"],
            ),
            (
                "contacts = 8",
                "groups = { large = [{ size = 9223372036854775807, count = 1 }] }",
                ["group", "1,000,000,000 members"],
            ),
            (
                "duration = \"20s\"",
                "duration = \"20s\"\nrate = \"100000000000/s\"",
                ["rate comes to 100,000,000,000/s", "10,000,000/s at most"],
            ),
            (
                "duration = \"20s\"",
                "duration = \"900d\"",
                ["900d", "366d"],
            ),
        ] {
            refused(from, to, &words);
        }
    }

    #[test]
    fn a_share_has_as_many_users_as_can_be_told_apart_and_a_rate_that_can_be_sent() {
        let (from, to) = ("contacts = 8", "contacts = 256");
        let whole = presets::find("smoke")
            .unwrap()
            .text
            .replace("1/250000", "1/1");
        let loaded = load::parse("t".into(), "t".into(), whole.replace(from, to)).unwrap();
        let refused = loaded.runnable().unwrap_err().message;
        assert!(refused.contains("16,777,215 users at most"), "{refused}");
        let scenario = load::parse("t".into(), "t".into(), whole).unwrap().scenario;
        let refused = super::sendable(&scenario, &Sizing::of(&scenario)).unwrap_err();
        for words in ["500,000,000/s", "10,000,000/s at most", "lower the share"] {
            assert!(refused.contains(words), "no {words} in {refused}");
        }
    }
}
