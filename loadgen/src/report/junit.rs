//! The verdict for CI systems: `--junit FILE`, in the form that JUnit's Ant task writes.
//!
//! Each check is a test: integrity, the health of the generator, what the figures show, and each
//! threshold.

use std::fmt::Write;

use super::html::escape;
use crate::exit::Exit;
use crate::settings::RunSettings;
use crate::verdict::JudgedRun;

/// A check and what is wrong with it; empty if nothing is.
struct Case {
    name: String,
    faults: Vec<String>,
}

/// Returns the file.
pub(crate) fn junit(run: &RunSettings, judged: &JudgedRun) -> String {
    let cases = cases(run, judged);
    let failed = cases.iter().filter(|case| !case.faults.is_empty()).count();
    let (name, time) = (escape(&run.name), judged.sending);
    let counts = format!(
        "tests=\"{}\" failures=\"{failed}\" errors=\"0\"",
        cases.len()
    );
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites name=\"loadgen\" {counts} time=\"{time:.3}\">"
    );
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{name}\" {counts} time=\"{time:.3}\">"
    );
    for case in &cases {
        let head = format!(
            "<testcase classname=\"{name}\" name=\"{}\" time=\"0\"",
            escape(&case.name)
        );
        let Some(first) = case.faults.first() else {
            let _ = writeln!(xml, "    {head}/>");
            continue;
        };
        let _ = writeln!(xml, "    {head}>");
        let all = case.faults.join("\n");
        let (first, all) = (escape(first), escape(&all));
        let _ = writeln!(xml, "      <failure message=\"{first}\">{all}</failure>");
        let _ = writeln!(xml, "    </testcase>");
    }
    xml += "  </testsuite>\n</testsuites>\n";
    xml
}

fn cases(run: &RunSettings, judged: &JudgedRun) -> Vec<Case> {
    let violations = judged.violations.iter();
    let violations = violations.map(|(kind, count)| format!("{kind}: {count}"));
    let finished = match judged.exit {
        Exit::Aborted => judged.notes.clone(),
        _ => Vec::new(),
    };
    let unfinished = judged.exit == Exit::Aborted && finished.is_empty();
    let case = |name: &str, faults: Vec<String>| Case {
        name: name.to_owned(),
        faults,
    };
    let mut cases = vec![
        case(
            "the run is finished",
            match unfinished {
                true => vec!["the run was not finished".to_owned()],
                false => finished,
            },
        ),
        case("integrity", violations.collect()),
        case("health of the generator", judged.health.faults.clone()),
        case("figures", judged.doubts.clone()),
    ];
    let mut left: Vec<&String> = judged.missed.iter().collect();
    for (metric, thresholds) in &run.scenario.thresholds {
        for threshold in thresholds {
            let begin = format!("{metric}: {threshold} ");
            let (of_this, others) = left.into_iter().partition(|it| it.starts_with(&begin));
            left = others;
            let faults: Vec<&String> = of_this;
            let faults = faults.into_iter().cloned().collect();
            cases.push(case(&format!("{metric} {threshold}"), faults));
        }
    }
    // Counts that must be 0 although the scenario has no threshold for them.
    cases.extend(left.into_iter().map(|missed| {
        let metric = missed.split(':').next().unwrap_or_default();
        case(&format!("{metric} count==0"), vec![missed.clone()])
    }));
    cases
}
