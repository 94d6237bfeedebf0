//! `loadgen hold`: the sessions that it opens, and the figures that it prints.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fake::Fake;
use crate::fake_conduct::{Conduct, Lie};
use crate::harness::{Done, Loadgen, number, until};

/// Starts a hold with results in `out`. The health limits are wide: sizes and counts are looked at
/// here, on a machine whose times nobody needs.
fn start(more: &[&str]) -> Loadgen {
    let wide = "achieved_min=0,send_lag_p99=60s,loop_stall_max=60s,steal_max=1";
    Loadgen::start(
        "",
        &[&["hold", "--out", "out", "--health", wide], more].concat(),
    )
}

/// Runs a hold that ends well.
#[track_caller]
fn held(more: &[&str]) -> (Done, Value) {
    let done = start(more).done();
    let hold = done.expect_in("out/hold.json", 0, "ok");
    (done, hold)
}

#[test]
fn limits_of_health_decide_the_verdict() {
    let flags = "--connections 12 --for 1s --rate 50/s --health cpu_idle_min=1";
    let done = start(&flags.split(' ').collect::<Vec<_>>()).done();
    done.expect_in("out/hold.json", 90, "invalid");
}

#[test]
fn two_thousand_sessions_are_held_and_measured() {
    let flags = "--connections 2000 --for 2s --rate 300/s --ping 1m --shards 2";
    let (done, hold) = held(&flags.split(' ').collect::<Vec<_>>());
    let at = |path: &str| number(&hold, path);
    for sessions in [
        "hold.asked",
        "hold.opened",
        "hold.gateway_sessions",
        "gateway.connections",
        "latency_us.connect.count",
    ] {
        assert_eq!(at(sessions), 2_000.0, "{sessions}: {hold}");
    }
    assert!(at("counts.attempted") > 300.0, "{hold}");
    assert_eq!(at("counts.delivered"), at("counts.attempted"));
    assert_eq!(at("counts.acknowledged"), at("counts.attempted"));
    assert_eq!(at("counts.lost"), 0.0);
    // Some 70, had by a gateway that does not leave all of them to the interval's end.
    assert!((20.0..1_000.0).contains(&at("hold.idle.pings")), "{hold}");
    assert!(at("counts.pings") >= at("hold.idle.pings"), "{hold}");
    assert!(at("hold.opening.sessions_per_second") > 10.0, "{hold}");
    assert!(at("hold.closing_seconds") > 0.0, "{hold}");
    // The sizes are small and above zero. Exact sizes need a release build.
    for (end, least) in [("gateway", 100.0), ("generator", 50.0)] {
        let bytes = at(&format!("hold.bytes_per_connection.idle.{end}"));
        assert!((least..20_000.0).contains(&bytes), "{end}: {hold}");
    }
    for when in ["before", "idle", "after_messages", "after_disconnecting"] {
        assert!(
            at(&format!("hold.gateway_rss_bytes.{when}")) > 1e6,
            "{hold}"
        );
    }
    assert!(
        (0.0..2.0).contains(&at("hold.idle.gateway_cores")),
        "{hold}"
    );
    assert!(at("hold.busy.seconds") >= 2.0, "{hold}");
    for line in [
        "2,000 sessions asked",
        "per session",
        "gateway RSS",
        "idle ",
    ] {
        assert!(done.stdout.contains(line), "no {line:?}: {}", done.stdout);
    }
    assert_eq!(done.left_behind(), 0);
}

#[test]
fn json_is_all_that_is_printed() {
    let flags = "--connections 60 --for 1s --rate 50/s --encoding proto --json";
    let (done, hold) = held(&flags.split(' ').collect::<Vec<_>>());
    assert_eq!(number(&hold, "hold.gateway_sessions"), 60.0, "{hold}");
    assert!(number(&hold, "counts.delivered") > 0.0, "{hold}");
    let printed: Value = serde_json::from_str(&done.stdout).expect("JSON and nothing else");
    assert_eq!(printed, hold);
}

#[test]
fn a_gateway_that_drops_a_message_is_caught() {
    for (lie, kind) in [
        (Lie::DropPush, "lost"),
        (Lie::RepeatPush, "duplicated"),
        (Lie::SwapPushes, "reordered"),
    ] {
        let fake = Fake::start(Conduct::Lie(lie));
        let url = fake.url();
        let flags = "--connections 12 --for 1s --rate 200/s --drain 3s --target";
        let flags: Vec<_> = flags.split(' ').chain([&*url]).collect();
        let hold = start(&flags).done();
        let hold = hold.expect_in("out/hold.json", 91, "violation");
        assert_eq!(fake.lies(), 1, "{lie:?} was told");
        assert_eq!(number(&hold, &format!("violations.{kind}")), 1.0, "{hold}");
        assert_eq!(number(&hold, &format!("counts.{kind}")), 1.0, "{hold}");
        // Sessions cannot be counted at a gateway whose control port is not known.
        assert!(hold["hold"]["gateway_sessions"].is_null(), "{hold}");
    }
}

#[test]
fn an_interrupt_ends_it() {
    let hold = start(&["--connections", "50", "--for", "1h"]);
    until("a gateway", || {
        let open = hold.stderr().contains("sessions 50/50");
        (hold.stdout().contains("started for this run") && open).then_some(())
    });
    hold.signal(Signal::SIGINT);
    let done = hold.done();
    done.expect_in("out/hold.json", 105, "aborted");
    assert_eq!(done.left_behind(), 0);
}
