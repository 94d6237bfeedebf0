//! The earlier run that thresholds are relative to.

use std::path::Path;

use crate::course::figure;
use crate::exit::{Failure, Outcome};
use crate::report::results::summary_of;
use crate::scenario::load::Loaded;
use crate::scenario::threshold::Threshold;

/// The verdicts of runs whose figures count.
const USABLE: [&str; 2] = ["ok", "threshold"];

/// Puts figures in the place of the thresholds that are parts of an earlier run's figures, such as
/// `p(99)<=110%`. `folder` has the results of that run.
///
/// # Errors
/// There is such a threshold and no folder, or a folder and no such threshold, or the run has no such
/// figure (exit 104).
pub(crate) fn resolve(loaded: &mut Loaded, folder: Option<&Path>) -> Outcome<()> {
    let Some(folder) = folder else {
        // A scenario that is only planned needs none. A run asks again.
        return Ok(());
    };
    let summary = summary_of(folder)?;
    let verdict = summary["verdict"].as_str().unwrap_or_default();
    let bad = |why: String| Failure::scenario(format!("--baseline {}: {why}", folder.display()));
    if !USABLE.contains(&verdict) {
        return Err(bad(format!(
            "the verdict of that run is `{verdict}`, so its figures do not count: name a run with the verdict ok"
        )));
    }
    let mut found = false;
    for (metric, thresholds) in &mut loaded.scenario.thresholds {
        for threshold in thresholds.iter_mut().filter(|it| it.is_relative) {
            found = true;
            let path = threshold.figure_of(metric).unwrap_or_default();
            let figure = figure(&summary, &path).ok_or_else(|| {
                bad(format!(
                    "{metric}: that run has no such figure ({path}), so {threshold} has nothing to be compared with"
                ))
            })?;
            *threshold = Threshold {
                limit: figure * threshold.limit / 100.0,
                is_relative: false,
                ..*threshold
            };
        }
    }
    match found {
        true => Ok(()),
        false => Err(bad(
            "no threshold is relative to it: write one, such as --threshold 'e2e=p(99)<=110%'"
                .into(),
        )),
    }
}

/// Checks that every threshold has a figure for its limit.
///
/// # Errors
/// A threshold is relative to a run that nobody named (exit 104).
pub(crate) fn all_known(loaded: &Loaded) -> Outcome<()> {
    let thresholds = loaded.scenario.thresholds.iter();
    let mut relative = thresholds
        .flat_map(|(metric, all)| all.iter().map(move |it| (metric, it)))
        .filter(|(_, it)| it.is_relative);
    match relative.next() {
        None => Ok(()),
        Some((metric, threshold)) => Err(Failure::scenario(format!(
            "the threshold {metric} {threshold} is relative to an earlier run: name its folder with --baseline DIR"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load;

    const SUMMARY: &str = r#"{ "schema": 1, "scenario": "x", "verdict": "ok",
        "counts": { "unknown": 4 }, "rates": { "achieved": 2000.0 },
        "latency_us": { "e2e": { "count": 9, "p50": 100, "p99": 5000, "max": null } } }"#;

    /// Resolves the smoke preset with these thresholds against a run with this summary.
    fn resolved(thresholds: &str, summary: &str) -> Outcome<Vec<String>> {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("summary.json"), summary).expect("a file");
        let mut loaded = load::load("smoke").expect("a preset is right");
        loaded.scenario.thresholds = toml::from_str(thresholds).expect("thresholds");
        resolve(&mut loaded, Some(dir.path()))?;
        all_known(&loaded)?;
        let all = loaded.scenario.thresholds.values().flatten();
        Ok(all.map(ToString::to_string).collect())
    }

    #[test]
    fn parts_become_figures() {
        let thresholds = "e2e = [\"p(99)<=110%\", \"med<1s\"]\nachieved = [\"rate>=95%\"]\nunknown = [\"count<=150%\"]";
        let found = resolved(thresholds, SUMMARY).expect("all are known");
        assert_eq!(
            found,
            ["rate>=1900/s", "p(99)<=5500us", "p(50)<1s", "count<=6"]
        );
    }

    #[test]
    fn what_the_earlier_run_does_not_tell_is_refused() {
        let e2e = "e2e = [\"p(99)<=110%\"]";
        for (thresholds, summary, words) in [
            (
                "e2e = [\"max<=110%\"]",
                SUMMARY.to_owned(),
                "latency_us.e2e.max",
            ),
            (
                "ack = [\"p(99)<=110%\"]",
                SUMMARY.to_owned(),
                "latency_us.ack.p99",
            ),
            (
                "e2e = [\"p(99)<1s\"]",
                SUMMARY.to_owned(),
                "no threshold is relative",
            ),
            (e2e, SUMMARY.replace("\"ok\"", "\"invalid\""), "`invalid`"),
            (
                e2e,
                SUMMARY.replace("\"schema\": 1", "\"schema\": 9"),
                "schema 9",
            ),
            (e2e, "{".to_owned(), "damaged"),
        ] {
            let refused = resolved(thresholds, &summary).expect_err(words);
            assert_eq!(refused.exit.code(), 104);
            assert!(refused.message.contains(words), "{refused}");
        }
        let mut loaded = load::load("smoke").expect("a preset is right");
        loaded.scenario.thresholds = toml::from_str(e2e).expect("thresholds");
        assert!(resolve(&mut loaded, None).is_ok());
        let refused = all_known(&loaded).expect_err("nobody named a run");
        assert!(refused.message.contains("--baseline DIR"), "{refused}");
    }
}
