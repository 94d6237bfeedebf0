//! Two nodes of one log, and a single node with the same history: each user gets the same.

mod alone;
mod random;
mod roles;
mod watch;
mod world;

use random::history;
use world::{Cluster, Single};

/// The number of histories. Each has a number, with which it can be played again: set `TRUNKLINE_TEST_HISTORY` to it
/// when this is compiled.
const HISTORIES: u64 = 200;

/// Plays a history on both. `seats` of users are spread over nodes and shards.
fn play(number: u64) {
    let history = history(number);
    let mut cluster = Cluster::new(&history.seats);
    let mut single = Single::new(&history.seats);
    for ask in &history.asks {
        cluster.ask(ask);
        single.ask(ask);
    }
    let (cluster, single) = (cluster.run(), single.run());
    assert_eq!(cluster.records, single.records, "history {number}");
    for (seat, (found, expected)) in cluster.got.iter().zip(&single.got).enumerate() {
        let at = history.seats[seat];
        assert_eq!(found, expected, "history {number}, seat {seat}: {at:?}");
    }
    assert_eq!(cluster.calls, single.calls, "history {number}");
}

#[test]
fn users_of_a_node_that_follows_get_what_those_of_a_single_node_get() {
    // The core reads no environment: the compiler does.
    if let Some(number) = option_env!("TRUNKLINE_TEST_HISTORY") {
        play(number.parse().expect("the number of a history"));
        return;
    }
    (0..HISTORIES).for_each(play);
}

#[test]
fn histories_have_something_of_everything() {
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for number in 0..20 {
        let history = history(number);
        let mut cluster = Cluster::new(&history.seats);
        history.asks.iter().for_each(|ask| cluster.ask(ask));
        let ran = cluster.run();
        for event in ran.got.iter().flatten().chain(ran.calls.iter().flatten()) {
            let kind = event
                .split(' ')
                .take(2)
                .filter(|word| !word.contains(char::is_numeric));
            *kinds.entry(kind.collect::<Vec<_>>().join(" ")).or_default() += 1;
        }
        for audience in ran.audiences {
            *kinds.entry(audience).or_default() += 1;
        }
    }
    for wanted in [
        "push",
        "part",
        "sent",
        "done Ack",
        "done Recall",
        "done React",
        "done GroupLeave",
        "done Block",
        "failed",
        "duplicate",
        "audience channel",
        "audience seeing",
        "audience gone",
        "audience fan-out",
    ] {
        let found = kinds.iter().filter(|(kind, _)| kind.starts_with(wanted));
        let count: usize = found.map(|(_, count)| count).sum();
        assert!(count >= 10, "{wanted}: {kinds:#?}");
    }
}
