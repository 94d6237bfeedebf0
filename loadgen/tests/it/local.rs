//! Runs that start their own gateway.

use nix::sys::signal::Signal;

use crate::harness::{Loadgen, number, scenario, until};

/// Returns the children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let text = text.unwrap_or_default();
    text.split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect()
}

pub(crate) fn is_there(pid: u32) -> bool {
    // One that has ended and was not waited for yet is gone too (state Z).
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .trim()
        .chars()
        .next();
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Returns a run whose gateway has been started: the run and the gateway's process id.
pub(crate) fn started(text: &str, more: &[&str]) -> (Loadgen, u32) {
    let run = Loadgen::run(text, more);
    let gateway = until("a gateway", || {
        let ready = run.stdout().contains("started for this run");
        children(run.id()).first().copied().filter(|_| ready)
    });
    assert_eq!(children(run.id()), [gateway]);
    assert!(run.temporary().read_dir().expect("a folder").count() > 0);
    (run, gateway)
}

#[test]
fn the_real_gateway_is_honest_and_leaves_nothing_behind() {
    for (edits, more) in [
        (
            &[("devices = 1.0", "devices = 1.5")][..],
            &["--encoding", "json"][..],
        ),
        (
            &[("online = 1.0", "online = 0.5")],
            // A build whose gateway is named is any other build.
            &[
                "--encoding",
                "proto",
                "--shards",
                "2",
                "--gateway",
                env!("CARGO_BIN_EXE_loadgen"),
            ],
        ),
    ] {
        let (run, gateway) = started(&scenario(edits), more);
        let done = run.done();
        let summary = done.expect(0, "ok");
        assert!(!is_there(gateway));
        assert_eq!(done.left_behind(), 0);
        let metrics = summary["metrics"].as_object().expect("a map");
        assert_eq!(metrics.len(), 4, "{summary}");
        for (name, both) in metrics {
            assert_eq!(both["gateway"], both["generator"], "{name}: {summary}");
            assert!(number(both, "gateway") > 0.0, "{name}: {summary}");
        }
        assert_eq!(
            number(&summary, "counts.delivered"),
            number(&summary, "counts.attempted")
        );
        let offline = number(&summary, "counts.to_offline");
        assert_eq!(offline > 0.0, edits[0].0.starts_with("online"), "{summary}");
        assert!(number(&summary, "gateway.rss_bytes") > 0.0);
        assert!(number(&summary, "gateway.connections") > 0.0);
    }
}

const LONG: (&str, &str) = ("duration = \"1s\"", "duration = \"1h\"");

#[test]
fn a_gateway_does_not_outlive_its_generator() {
    for (signal, code) in [
        (Signal::SIGINT, Some(105)),
        (Signal::SIGTERM, Some(105)),
        (Signal::SIGKILL, None),
    ] {
        let (run, gateway) = started(&scenario(&[LONG]), &[]);
        run.signal(signal);
        let done = run.done();
        assert_eq!(done.code, code, "{signal}: {}", done.stderr);
        until("the gateway to end", || (!is_there(gateway)).then_some(()));
        if code.is_some() {
            assert_eq!(done.left_behind(), 0, "{signal}");
        }
    }
}

#[test]
fn a_gateway_that_is_killed_is_named() {
    let (run, gateway) = started(
        &scenario(&[("duration = \"1s\"", "duration = \"4s\""), ("30s", "1s")]),
        &[],
    );
    until("messages", || {
        run.stderr().contains("sessions 12/12").then_some(())
    });
    assert!(is_there(gateway));
    let pid = nix::unistd::Pid::from_raw(gateway.cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGKILL).expect("our grandchild is there");
    let done = run.done();
    let summary = done.expect(105, "aborted");
    assert!(
        done.stdout.contains("the gateway ended with signal: 9"),
        "{}",
        done.stdout
    );
    assert_eq!(summary["violations"], serde_json::json!({}), "{summary}");
    assert_eq!(done.left_behind(), 0);
}
