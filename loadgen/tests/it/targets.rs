//! Runs against several targets, which are the nodes of a cluster.

use serde_json::Value;

use crate::fake::Fake;
use crate::fake_conduct::{Conduct, Lie};
use crate::harness::{Loadgen, number, scenario};

/// Sums a number over the targets of a summary.
fn sum(summary: &Value, name: &str) -> f64 {
    let targets = summary["targets"].as_array().expect("a list");
    targets.iter().map(|it| number(it, name)).sum()
}

#[test]
fn users_are_spread_over_the_targets_and_come_back_at_others() {
    let fake = Fake::start_nodes(Conduct::Honest, 3);
    let churn = "[scenarios.churn]\nexecutor = \"churn\"\nstart_after = \"connect\"\n\
         duration = \"1s\"\nrate = \"40/s\"\naway = \"20ms\"\n[checks]";
    let edits = [("devices = 1.0", "devices = 1.5"), ("[checks]", churn)];
    let done = Loadgen::run(&scenario(&edits), &["--target", &fake.urls()]).done();
    let summary = done.expect(0, "ok");
    let targets = summary["targets"].as_array().expect("a list");
    assert_eq!(summary["target"], fake.urls());
    assert_eq!(targets.len(), 3, "{summary}");
    for (target, url) in targets.iter().zip(fake.urls().split(',')) {
        assert_eq!(target["target"], url);
        assert!(number(target, "sessions") > 0.0, "{summary}");
        assert!(number(target, "acknowledged") > 0.0, "{summary}");
        let line = format!("target        {url}: ");
        assert!(done.stdout.contains(&line), "{}", done.stdout);
    }
    let counts = |name: &str| number(&summary, &format!("counts.{name}"));
    assert!(counts("resumed") > 0.0, "{summary}");
    assert_eq!(
        sum(&summary, "sessions"),
        counts("sessions_opened") + counts("resumed") + counts("not_recovered")
    );
    assert_eq!(sum(&summary, "acknowledged"), counts("acknowledged"));
    let page = std::fs::read_to_string(done.results().join("report.html")).expect("a report");
    assert!(page.contains("; in this order "), "{page}");
}

#[test]
fn a_run_with_one_target_says_nothing_of_targets() {
    let fake = Fake::start(Conduct::Honest);
    let done = Loadgen::run(&scenario(&[]), &["--target", &fake.url()]).done();
    assert_eq!(done.expect(0, "ok")["targets"], serde_json::json!([]));
    assert!(!done.stdout.contains("target        "), "{}", done.stdout);
}

#[test]
fn a_lie_behind_one_of_several_targets_is_caught() {
    for (lie, kind) in [
        (Lie::DropPush, "lost"),
        (Lie::RepeatPush, "duplicated"),
        (Lie::SwapPushes, "reordered"),
        (Lie::ForgetInHistory, "history-missing"),
    ] {
        let fake = Fake::start_nodes(Conduct::Lie(lie), 3);
        let done = Loadgen::run(&scenario(&[]), &["--target", &fake.urls()]).done();
        let summary = done.expect(91, "violation");
        assert_eq!(fake.lies(), 1);
        assert!(
            summary["violations"][kind].is_number(),
            "{lie:?}: {summary}"
        );
    }
}

#[test]
fn gateways_that_share_no_log_are_caught() {
    let fakes = [(); 2].map(|()| Fake::start(Conduct::Honest));
    let [one, other] = fakes.each_ref().map(Fake::url);
    // Each option may be given several times, too.
    let more = ["--target", &one, "--target", &other];
    let text = scenario(&[("drain = \"30s\"", "drain = \"1s\"")]);
    let done = Loadgen::run(&text, &more).done();
    let summary = done.expect(91, "violation");
    assert!(number(&summary, "counts.lost") > 0.0, "{summary}");
}

#[test]
fn targets_that_cannot_be_one_cluster_are_refused() {
    for (args, words) in [
        (
            &["--target", "ws://127.0.0.1:1/a,ws://127.0.0.1:2/b"][..],
            &["ws://127.0.0.1:2/b", "scheme or path"][..],
        ),
        (
            &["--target", "ws://127.0.0.1:1,ws://127.0.0.1:1"],
            &["ws://127.0.0.1:1 is there twice"],
        ),
        (
            &[
                "--target",
                "ws://127.0.0.1:1,ws://127.0.0.1:2",
                "--control",
                "http://127.0.0.1:3",
            ],
            &["1 control ports for 2 targets"],
        ),
        (
            &[
                "--target",
                "ws://127.0.0.1:1,ws://127.0.0.1:2",
                "--protocol",
                "bun-chat",
            ],
            &["kind = \"template\"", "name one"],
        ),
    ] {
        let all = [&["run", "SCENARIO"], args].concat();
        Loadgen::start(&scenario(&[]), &all)
            .done()
            .expect_refused(104, words);
    }
}
