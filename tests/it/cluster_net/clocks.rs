//! Nodes whose clocks are wrong by ten minutes. Without libfaketime the test is skipped.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use trunkline_tests::apart::{Apart, GATEWAYS, with_cluster_of};
use trunkline_tests::clock::{Clock, library};
use trunkline_tests::cluster::command;
use trunkline_tests::traffic::Traffic;
use trunkline_tests::wait;

/// How far a time may be from the right one: the error of a clock, and what a test may take.
const NEAR: u64 = 15 * 60 * 1_000;

/// Returns sequences and times of the last messages of una, as a node shows them.
fn times(apart: &Apart, at: usize) -> Vec<(u64, u64)> {
    let mut dora = apart.cluster.connect(at, "dora");
    let about = json!({"conversation": "u:dora:una", "limit": 100});
    let page = dora.done("history", &about);
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    let messages = page["messages"].as_array().expect("messages").iter();
    let all = messages.map(|message| (number(&message["seq"]), number(&message["time"])));
    all.collect()
}

/// All nodes show the same times, which never go back, and are wrong by no more than the clocks.
fn times_are_good(apart: &Apart) {
    let shown = times(apart, 0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_millis() as u64;
    for pair in shown.windows(2) {
        assert!(pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1, "{pair:?}");
    }
    for (seq, time) in &shown {
        assert!(time.abs_diff(now) < NEAR, "{seq} has {time} at {now}");
    }
    for at in [1, 2] {
        let others = times(apart, at);
        let both = others
            .iter()
            .filter(|other| other.0 <= shown[shown.len() - 1].0);
        for other in both.filter(|other| other.0 >= shown[0].0) {
            assert!(shown.contains(other), "node {at} shows {other:?}");
        }
    }
}

/// Sets the clock of the node that leads, and waits until its sequencer has noticed, or another node leads.
fn leaps(apart: &Apart, clocks: &[Clock], offset: &str) {
    let leader = apart.roles().0;
    let node = &apart.cluster.nodes[leader];
    let before = node.metric("trunkline_clock_leaps_total");
    clocks[leader].set(offset);
    wait::until("a leap that is noticed", || {
        let is_noticed = node.metric("trunkline_clock_leaps_total") > before;
        let leads = node.metric("trunkline_cluster_leader") > 0.0;
        (is_noticed || !leads).then_some(())
    });
}

/// Lets another node lead.
fn another_one_leads(apart: &Apart, traffic: &Traffic) {
    // Nobody may lead at the moment.
    wait::until("a leader that steps down", || {
        command(&apart.cluster.servers, &["step-down"]).ok()
    });
    traffic.goes_on(&GATEWAYS);
}

#[test]
fn a_clock_that_is_ten_minutes_ahead_or_behind_changes_no_order() {
    let Some(library) = library() else {
        println!("skipped: libfaketime is missing (apt-get install libfaketime)");
        return;
    };
    let clocks = Arc::new(GATEWAYS.map(|_| Clock::default()));
    let own = Arc::clone(&clocks);
    // One node starts with a wrong clock, the others get one while they run.
    own[1].set("-10m");
    let gateway = move |at: usize, setup| own[at].of(setup, &library).start();
    with_cluster_of(
        &[],
        |_| (),
        gateway,
        move |mut apart| {
            apart.under_way(|apart, traffic| {
                for offset in ["+10m", "-10m"] {
                    let (_, [follower, _]) = apart.roles();
                    clocks[follower].set(offset);
                    traffic.goes_on(&GATEWAYS);
                    times_are_good(apart);
                }
                // Another offset than any follower has, which may lead by now.
                for offset in ["+11m", "-11m"] {
                    leaps(apart, &clocks[..], offset);
                    traffic.goes_on(&GATEWAYS);
                    times_are_good(apart);
                    another_one_leads(apart, traffic);
                    times_are_good(apart);
                }
            });
        },
    );
}
