//! Runs that break their gateway on purpose: no message is lost, and the results list each break.

use serde_json::Value;

use crate::harness::{Done, Loadgen, number, scenario, sentences};

/// Runs four seconds of messages with chaos, on a gateway that the run starts itself.
fn run(chaos: &[&str], edits: &[(&str, &str)]) -> Done {
    let longer = [
        ("duration = \"1s\"", "duration = \"4s\""),
        ("drain = \"30s\"", "drain = \"60s\""),
    ];
    let edits: Vec<_> = longer.iter().chain(edits).copied().collect();
    let flags: Vec<_> = chaos.iter().flat_map(|it| ["--chaos", *it]).collect();
    Loadgen::run(&scenario(&edits), &flags).done()
}

fn count(summary: &Value, name: &str) -> f64 {
    number(summary, &format!("counts.{name}"))
}

/// Checks that no message is lost, every session is back, and the counts of messages add up.
#[track_caller]
fn whole(summary: &Value) {
    for none in [
        "lost",
        "duplicated",
        "reordered",
        "unexpected",
        "gone",
        "skipped",
        "not_recovered",
    ] {
        assert_eq!(count(summary, none), 0.0, "{none}: {summary}");
    }
    let fates = ["delivered", "recovered", "rejected", "unknown"].map(|name| count(summary, name));
    assert_eq!(
        fates.iter().sum::<f64>(),
        count(summary, "attempted"),
        "{summary}"
    );
    assert_eq!(count(summary, "messages_read_back"), {
        count(summary, "attempted") - count(summary, "unknown")
    });
    assert_eq!(summary["violations"], serde_json::json!({}));
}

#[test]
fn a_gateway_that_is_killed_loses_nothing() {
    for more in [
        &[("devices = 1.0", "devices = 1.5")][..],
        &[
            ("key_every = 5", "key_every = 1"),
            ("threads = 1", "threads = 2"),
        ],
    ] {
        let done = run(&["kill-gateway@1s"], more);
        let summary = done.expect(0, "ok");
        whole(&summary);
        let sessions = number(&summary, "latency_us.connect.count");
        assert_eq!(count(&summary, "disconnects"), sessions, "{summary}");
        assert_eq!(count(&summary, "disconnects_excused"), sessions);
        assert_eq!(count(&summary, "resumed"), sessions);
        let keyed = more[0].0 == "key_every = 5";
        assert!(!keyed || count(&summary, "unknown") == 0.0, "{summary}");
        let kill = &summary["chaos"][0];
        assert_eq!(kill["action"], "kill-gateway");
        assert!((1.0..3.0).contains(&number(kill, "at_s")), "{kill}");
        assert_eq!(number(kill, "sessions_broken"), sessions);
        let (down, ready, back) = (
            number(kill, "down_s"),
            number(kill, "ready_s"),
            number(kill, "back_s"),
        );
        assert!(0.0 < down && down <= ready && ready <= back, "{kill}");
        // It was away for so long at least, and the figures know it.
        let away = (ready - down) * 1e6;
        assert!(number(&summary, "latency_us.ack.max") > away, "{summary}");
        assert!(count(&summary, "held") > 0.0, "{summary}");
        let notes = sentences(&summary["notes"]);
        assert!(notes.contains("/metrics is not compared"), "{notes}");
        assert_eq!(summary["metrics"], serde_json::json!({}));
        assert!(number(&summary, "gateway.cpu_seconds") > 0.0);
        assert!(done.stdout.contains("kill-gateway"), "{}", done.stdout);
        assert_eq!(done.left_behind(), 0);
    }
}

#[test]
fn the_real_gateway_lets_everybody_come_back() {
    let storm = "[scenarios.storm]\nexecutor = \"reconnect-storm\"\nstart_after = \"connect\"\n\
         start_time = \"500ms\"\nfraction = 0.5\n[scenarios.churn]\nexecutor = \"churn\"\n\
         start_after = \"connect\"\nduration = \"2s\"\nrate = \"20/s\"\naway = \"200ms\"\n[checks]";
    let edits = [
        ("duration = \"1s\"", "duration = \"3s\""),
        ("devices = 1.0", "devices = 1.5"),
        ("[checks]", storm),
    ];
    let done = Loadgen::run(&scenario(&edits), &["--shards", "2"]).done();
    let summary = done.expect(0, "ok");
    whole(&summary);
    let storm = &summary["storms"][0];
    assert_eq!(number(storm, "back"), number(storm, "sessions"), "{storm}");
    assert_eq!(count(&summary, "resumed"), count(&summary, "cuts"));
    assert_eq!(count(&summary, "disconnects"), 0.0);
    // Pushes to sessions that were cut cannot be counted. Stored messages are.
    let metrics = summary["metrics"].as_object().expect("a map");
    assert_eq!(metrics.keys().collect::<Vec<_>>(), ["messages_stored"]);
    let notes = sentences(&summary["notes"]);
    assert!(
        notes.contains("only the stored messages are compared"),
        "{notes}"
    );
    assert_eq!(done.left_behind(), 0);
}

#[test]
fn a_gateway_that_is_killed_twice_and_speaks_tls_comes_back_twice() {
    let flags = ["--tls", "--encoding", "proto"];
    let kills = [
        "--chaos",
        "kill-gateway@500ms",
        "--chaos",
        "kill-gateway@5s",
    ];
    let text = scenario(&[
        ("duration = \"1s\"", "duration = \"6s\""),
        ("drain = \"30s\"", "drain = \"60s\""),
    ]);
    let done = Loadgen::run(&text, &[&flags[..], &kills].concat()).done();
    let summary = done.expect(0, "ok");
    whole(&summary);
    let kills = summary["chaos"].as_array().expect("a list");
    assert_eq!(kills.len(), 2, "{summary}");
    for kill in kills {
        assert!(number(kill, "ready_s") > number(kill, "down_s"), "{kill}");
    }
    assert!(count(&summary, "resumed") >= 12.0, "{summary}");
    assert_eq!(done.left_behind(), 0);
}

#[test]
fn a_pause_is_in_the_figures_and_breaks_nothing() {
    let done = run(&["pause-gateway@1s+1s"], &[]);
    let summary = done.expect(0, "ok");
    whole(&summary);
    assert_eq!(
        count(&summary, "unknown") + count(&summary, "disconnects"),
        0.0
    );
    let pause = &summary["chaos"][0];
    assert!(number(pause, "down_s") >= 1.0, "{pause}");
    assert_eq!(number(pause, "sessions_broken"), 0.0);
    // A quarter of all messages were due in it, evenly: a tenth of all waited for six tenths of it.
    for metric in ["ack", "e2e"] {
        let p90 = number(&summary, &format!("latency_us.{metric}.p90"));
        assert!(p90 > 400_000.0, "{metric}: {summary}");
    }
    // The gateway is the same, and its counters are.
    assert_eq!(
        summary["metrics"].as_object().map(serde_json::Map::len),
        Some(4)
    );
}

#[test]
fn a_gateway_that_is_asked_to_stop_tells_everybody_to_come_again() {
    let done = run(&["restart-gateway@1s"], &[]);
    let summary = done.expect(0, "ok");
    whole(&summary);
    let restart = &summary["chaos"][0];
    assert_eq!(number(restart, "sessions_broken"), 12.0, "{summary}");
    assert_eq!(count(&summary, "disconnects_excused"), 12.0, "{summary}");
    // In order: each was answered before it left, or knows that it was not.
    assert_eq!(count(&summary, "resumed"), 12.0, "{summary}");
}

#[test]
fn chaos_that_cannot_be_is_refused() {
    for (args, words) in [
        (
            &["run", "SCENARIO", "--chaos", "kill-gateway@9s"][..],
            &["kill-gateway@9s", "sent for 1 s"][..],
        ),
        (
            &["run", "SCENARIO", "--chaos", "shoot-gateway@1s"],
            &["kill-gateway@30s"],
        ),
        (
            &["run", "SCENARIO", "--chaos", "pause-gateway@500ms+1"],
            &["no unit"],
        ),
        (
            &[
                "run",
                "SCENARIO",
                "--chaos",
                "kill-gateway@500ms",
                "--target",
                "ws://127.0.0.1:1/v1/ws",
            ],
            &["kill-gateway@500ms", "leave --target out"],
        ),
        (
            &["find-max", "SCENARIO", "--chaos", "kill-gateway@1s"],
            &["--chaos", "`run`"],
        ),
    ] {
        let done = Loadgen::start(&scenario(&[]), args).done();
        done.expect_refused(104, words);
    }
}
