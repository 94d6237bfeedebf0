//! Limits of health from the command line.

use super::Health;
use crate::exit::{Failure, Outcome};
use crate::suggest;

/// The names of the limits, as a scenario's `[health]` has them.
const NAMES: [&str; 5] = [
    "send_lag_p99",
    "achieved_min",
    "loop_stall_max",
    "steal_max",
    "cpu_idle_min",
];

/// Replaces limits by those of the option `--health`, each written as `NAME=VALUE`.
///
/// # Errors
/// A limit has no such form, no such name, or a value of another kind (exit 104). Whether a value
/// is within its range is left to the check of the whole scenario.
pub(crate) fn replace(limits: &mut Health, given: &[String]) -> Outcome<()> {
    for one in given {
        let fail = |why: &str| Failure::scenario(format!("--health {one}: {why}"));
        let (name, value) = one
            .split_once('=')
            .ok_or_else(|| fail("write NAME=VALUE, such as steal_max=0.1"))?;
        if !NAMES.contains(&name) {
            let hint = suggest::hint(name, &NAMES);
            return Err(fail(&format!("no such limit{hint}")));
        }
        let value = match value.parse::<f64>() {
            Ok(number) => toml::Value::Float(number),
            Err(_) => toml::Value::String(value.to_owned()),
        };
        let plain = |why: &str| fail(&suggest::with_hint(why.lines().next().unwrap_or(why)));
        let mut table = toml::Table::try_from(&*limits).map_err(|e| plain(&e.to_string()))?;
        table.insert(name.to_owned(), value);
        *limits = table
            .try_into()
            .map_err(|e: toml::de::Error| plain(e.message()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(given: &[&str]) -> Result<Health, String> {
        let mut limits = Health::default();
        let given: Vec<_> = given.iter().map(|it| (*it).to_owned()).collect();
        match replace(&mut limits, &given) {
            Ok(()) => Ok(limits),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn a_named_limit_is_replaced_and_the_others_stay() {
        let limits = replaced(&["steal_max=1", "send_lag_p99=60s"]).expect("they are well-formed");
        assert_eq!(limits.steal_max, 1.0);
        assert_eq!(limits.send_lag_p99.0.as_secs(), 60);
        assert_eq!(limits.achieved_min, Health::default().achieved_min);
        assert_eq!(limits.loop_stall_max.0, Health::default().loop_stall_max.0);
    }

    #[test]
    fn every_limit_of_a_scenario_can_be_named() {
        let all = toml::Table::try_from(Health::default()).expect("limits are a table");
        let names: Vec<_> = all.keys().map(String::as_str).collect();
        let mut known = NAMES.to_vec();
        known.sort_unstable();
        assert_eq!(names, known);
        for (name, value) in &all {
            let value = value.to_string();
            let one = format!("{name}={}", value.trim_matches('"'));
            replaced(&[&one]).expect("a limit can be given as it is");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused_with_the_mend() {
        for (given, words) in [
            ("steal_max", "write NAME=VALUE"),
            ("steal=0.5", "did you mean `steal_max`?"),
            ("send_lag_p99=soon", "--health send_lag_p99=soon: "),
            ("steal_max=a lot", "it must be a number"),
            ("loop_stall_max=5", "--health loop_stall_max=5: "),
        ] {
            let why = replaced(&[given]).expect_err("it is refused");
            assert!(why.contains(words), "{given}: {why}");
        }
    }
}
