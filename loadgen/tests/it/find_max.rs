//! `loadgen find-max`: the highest rate that holds the thresholds.

use crate::harness::{Loadgen, number, scenario};

/// Looks in a scenario for the highest rate with this threshold of the end-to-end latency.
fn find(threshold: &str, more: &[&str]) -> crate::harness::Done {
    let threshold = format!("lost = [\"count==0\"]\ne2e = [\"{threshold}\"]");
    let text = scenario(&[("lost = [\"count==0\"]", &threshold)]);
    let mut args = vec!["find-max", "SCENARIO", "--out", "out"];
    args.extend(more);
    Loadgen::start(&text, &args).done()
}

#[test]
fn what_holds_at_every_rate_is_found_at_the_top() {
    let args = ["--from", "200/s", "--to", "300/s", "--duration", "1s"];
    let done = find("p(99)<60s", &[&args[..], &["--confirm", "1"]].concat());
    let found = done.expect_in("out/find-max.json", 0, "ok");
    assert_eq!(number(&found, "rate"), 300.0);
    assert!(found["limit"].is_null(), "{found}");
    let trials = found["trials"].as_array().expect("trials");
    let offered: Vec<_> = trials
        .iter()
        .map(|trial| number(trial, "offered"))
        .collect();
    assert_eq!(offered, [200.0, 300.0, 300.0]);
    // Each trial is a run with results of its own.
    let last = done.expect_in("out/trial-03/summary.json", 0, "ok");
    assert_eq!(number(&last, "rates.offered"), 300.0);
    assert!(number(&last, "counts.acknowledged") > 200.0, "{last}");
    assert!(done.stdout.contains("300.0 messages/s hold, 2 of 2 trials"));
    // The folder of the search is reported by its trials.
    let folder = done.results();
    let report = Loadgen::start("", &["report", folder.to_str().expect("a path")]).done();
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    let html = std::fs::read_to_string(folder.join("report.html")).expect("a page");
    for trial in ["trial-01", "trial-02", "trial-03"] {
        assert!(html.contains(&format!("test ({trial})")), "{trial}");
    }
}

#[test]
fn where_no_rate_holds_the_gateway_is_named_or_the_machine() {
    let args = ["--from", "400/s", "--duration", "500ms"];
    let done = find("p(50)<1us", &args);
    let found = done.expect_in("out/find-max.json", 99, "threshold");
    assert!(found["rate"].is_null(), "{found}");
    let trials = found["trials"].as_array().expect("trials");
    // 400, and 200: fewer than 100 messages come at half of that.
    assert_eq!(trials.len(), 2, "{found}");
    let side = found["limit"]["side"].as_str();
    assert!(matches!(side, Some("gateway" | "machine")), "{found}");
    assert!(done.stdout.contains("no rate holds"), "{}", done.stdout);
    let bracket = &found["bracket"];
    assert!(bracket["held"].is_null(), "{found}");
    assert_eq!(number(bracket, "failed"), 200.0);
}
