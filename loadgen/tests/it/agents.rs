//! Runs that several agents play beside each other, over a real NATS server.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::crew::{
    LOADGEN, Nats, USERS, agent, agents, agents_of_two_times, check_whole, lead, nats_server,
    played,
};
use crate::debt::{control, ours};
use crate::fake::Fake;
use crate::fake_conduct::{Conduct, Lie};
use crate::groups;
use crate::harness::{Loadgen, number, scenario};
use crate::sessions::STORM;
use crate::tls::Target;

#[test]
fn three_agents_play_one_run() {
    let Some(server) = nats_server() else { return };
    let nats = Nats::start(Command::new(server), &["--user", "u", "--pass", "sec@ret"]);
    let url = nats.url().replace("//", "//u:sec%40ret@");
    // The clock of one agent is an hour behind: without the offset its run would begin an hour late.
    let (all, is_behind) = agents_of_two_times(&url);
    let target = Target::launch(tempfile::tempdir().expect("a folder"), &["--dev-auth"]);
    let to = ["--target", &target.url, "--control", &target.control];
    let done = lead(&url, &scenario(&[USERS]), &to);
    let summary = done.expect(0, "ok");
    check_whole(&summary, 24);
    assert_eq!(played(&summary).len(), 3, "{summary}");
    // An offset of an hour is stated, and is in no latency and in no time of the run.
    let hours: Vec<_> = played(&summary)
        .iter()
        .map(|it| (number(it, "clock_offset_us") / 3.6e9).round())
        .collect();
    assert_eq!(
        hours.iter().sum::<f64>(),
        if is_behind { -1.0 } else { 0.0 },
        "{summary}"
    );
    for agent in played(&summary) {
        assert!(number(agent, "clock_uncertainty_us") > 0.0, "{agent}");
        assert_eq!(agent["ended_early"], Value::Null, "{agent}");
    }
    for figure in [
        "latency_us.e2e.max",
        "latency_us.ack.max",
        "latency_us.send_lag.max",
    ] {
        assert!(number(&summary, figure) < 600e6, "{figure}: {summary}");
    }
    assert!(number(&summary, "sending_seconds") < 600.0, "{summary}");
    assert!(!done.stdout.contains("ret@"), "{}", done.stdout);
    assert!(done.stdout.contains("agent 3 ("), "{}", done.stdout);
    // The rows of the table add up to the counts, and the page of the run names the agents.
    let folder = done.results();
    let csv = std::fs::read_to_string(folder.join("intervals.csv")).expect("a table");
    let rows = csv.lines().skip(1).map(|row| row.split(',').nth(3));
    let attempted: f64 = rows
        .map(|cell| cell.and_then(|it| it.parse::<f64>().ok()).unwrap_or(0.0))
        .sum();
    assert_eq!(attempted, number(&summary, "counts.attempted"), "{csv}");
    let page = std::fs::read_to_string(folder.join("report.html")).expect("a page");
    assert!(page.contains("agent 2 ("), "the page names the agents");
    // The same agents play the next run, in which they wait for each other: groups, and a storm.
    let edits = [
        USERS,
        groups::SMALL,
        ("duration = \"1s\"", "duration = \"2s\""),
        ("[checks]", STORM),
    ];
    let summary = lead(&url, &scenario(&edits), &to).expect(0, "ok");
    check_groups(&summary);
    for agent in all {
        agent.signal(Signal::SIGTERM);
        let done = agent.done();
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
        assert_eq!(
            done.stdout.matches("has the results").count(),
            2,
            "{}",
            done.stdout
        );
    }
}

/// Checks a run whose 24 users are in groups and come back from a storm.
fn check_groups(summary: &Value) {
    assert_eq!(number(summary, "counts.cuts"), 24.0, "{summary}");
    assert_eq!(summary["storms"][0]["back"], 24, "{summary}");
    assert_eq!(summary["storms"].as_array().map(Vec::len), Some(1));
    assert!(number(summary, "groups.made") >= 6.0, "{summary}");
    let messages = number(summary, "counts.group_messages");
    assert_eq!(messages, number(summary, "counts.attempted"), "{summary}");
    assert_eq!(number(summary, "counts.lost"), 0.0, "{summary}");
}

#[test]
fn lies_to_agents_are_caught() {
    let Some(server) = nats_server() else { return };
    let nats = Nats::start(Command::new(server), &[]);
    let _agents = agents(3, &nats.url());
    for (lie, kind) in [
        (Lie::DropPush, "lost"),
        (Lie::RepeatPush, "duplicated"),
        (Lie::SwapPushes, "reordered"),
    ] {
        let fake = Fake::start(Conduct::Lie(lie));
        let edits = [USERS, ("devices = 1.0", "devices = 1.5"), ("30s", "4s")];
        let done = lead(&nats.url(), &scenario(&edits), &["--target", &fake.url()]);
        let summary = done.expect(91, "violation");
        assert!(summary["violations"][kind].as_u64() > Some(0), "{summary}");
        let details = done.violations();
        assert!(details.iter().any(|it| it["kind"] == kind), "{details:?}");
    }
}

#[test]
fn agents_play_a_search_and_a_run_that_ends_when_it_is_steady() {
    let Some(server) = nats_server() else { return };
    let nats = Nats::start(Command::new(server), &[]);
    let _agents = agents(2, &nats.url());
    let fake = Fake::start(Conduct::Honest);
    let (url, gateway) = (nats.url(), fake.url());
    let to = ["--agents", "2", "--nats", &url, "--target", &gateway];
    let line =
        "find-max SCENARIO --no-tui --out out --from 200/s --to 200/s --duration 1s --confirm 1";
    let args: Vec<_> = line.split(' ').chain(to).collect();
    let done = Loadgen::start(&scenario(&[USERS]), &args).done();
    let found = done.expect_in("out/find-max.json", 0, "ok");
    assert_eq!(number(&found, "rate"), 200.0, "{found}");
    let last = done.expect_in("out/trial-02/summary.json", 0, "ok");
    assert_eq!(played(&last).len(), 2, "{last}");
    assert!(number(&last, "counts.acknowledged") > 100.0, "{last}");
    // What the gateway owes grows for the first three seconds, and then everything is done.
    let port = control(|asked| match asked {
        0..12 => ours(asked * 8),
        _ => ours(asked % 2 * 8),
    });
    let steady = ["--steady=60s", "--control", &port];
    let args = [&to[..], &steady].concat();
    let done = Loadgen::run(&scenario(&[USERS]), &args).done();
    let summary = done.expect(0, "ok");
    let sent_for = number(&summary, "sending_seconds");
    assert!((1.5..60.0).contains(&sent_for), "{sent_for}");
    assert_eq!(summary["debt"]["steady"], true, "{summary}");
    let attempted = number(&summary, "counts.attempted");
    assert_eq!(number(&summary, "counts.acknowledged"), attempted);
    assert!(attempted > 1.5 * 100.0, "{summary}");
}

#[test]
fn runs_that_agents_cannot_play() {
    let Some(server) = nats_server() else { return };
    let nats = Nats::start(Command::new(server), &[]);
    let url = nats.url();
    let _agent = agent(Command::new(LOADGEN), &url, &[]);
    let target = ["--target", "ws://127.0.0.1:9/v1/ws"];
    let all = |more: &[&str]| {
        let args = [&target[..], &["--nats", &url], more].concat();
        Loadgen::run(&scenario(&[]), &args).done()
    };
    let key = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(key.path(), [7; 32]).expect("it is written");
    let key = key.path().display().to_string();
    for (more, code, words) in [
        (
            &["--agents", "1"][..],
            94,
            &["agent 1 (", "nothing answers at ws://127.0.0.1:9"][..],
        ),
        (&["--agents", "5"], 104, &["enough for 4 threads"]),
        (
            &["--agents", "1", "--token-key", &key],
            104,
            &["agent 1 (", "start it with --token-key"],
        ),
        (
            &["--agents", "1", "--steady"],
            104,
            &["--steady", "--control"],
        ),
        (&["--agents", "0"], 104, &["--agents"]),
        (&[], 104, &["--agents"]),
    ] {
        all(more).expect_refused(code, words);
    }
    let done = Loadgen::run(&scenario(&[]), &["--agents", "1", "--nats", &url]).done();
    done.expect_refused(104, &["--target"]);
    drop(nats);
    let done = Loadgen::run(
        &scenario(&[]),
        &[&target[..], &["--nats", &url, "--agents", "1"]].concat(),
    );
    done.done()
        .expect_refused(94, &["no NATS server answers at nats://127.0.0.1"]);
    let done = Loadgen::start("", &["agent", "--nats", &url]).done();
    assert_eq!(done.code, Some(94), "{}", done.stderr);
}
