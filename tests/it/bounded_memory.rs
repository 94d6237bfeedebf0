//! What crowds and storms make the gateway hold is bounded, is what the gateway counts, and is given
//! back to the machine when they are gone.
//!
//! Memory comes back to within a fifth of what it was, and a KiB for each connection that waited: the
//! allocator keeps the smallest blocks for the next crowd, and an index for what was stored.

use std::net::TcpStream;
use std::thread;

use serde_json::json;
use trunkline_tests::client::Client;
use trunkline_tests::crowd::Crowd;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::memory::{MIB, comes_back, forget_peak, held, peak, resident, unstored};
use trunkline_tests::wait;

/// The bytes of a long text: a message of 64 KiB, nearly.
const LONG: usize = 60_000;

/// The bytes of a text whose pushes are too short to be shared: each connection has its own.
const MIDDLING: usize = 7_000;

/// What the gateway needs besides what it counts: batches on their way, answers of readers, the buffer of
/// a turn, free blocks.
const BESIDES: f64 = 8.0 * MIB;

/// What may stay of a connection that waited.
const STAYS: f64 = 1_024.0;

fn member(n: usize) -> String {
    format!("m{n}")
}

/// Makes the group `all` of the owner and `members` others.
fn make_group(owner: &mut Client, members: usize) {
    owner.done("group_create", &json!({"group": "all"}));
    let names: Vec<_> = (0..members).map(member).collect();
    for part in names.chunks(1_000) {
        owner.done("group_add", &json!({"group": "all", "members": part}));
    }
}

/// Compares the most that was counted with the most that was resident in addition to `before`: they
/// differ by a quarter at most, and by what the gateway needs besides.
fn resident_as_counted(gateway: &Gateway, before: f64, counted: f64) {
    let grown = peak(gateway) - before;
    let near = (grown - counted).abs() < 0.25 * counted + BESIDES;
    let [grown, counted] = [grown, counted].map(|bytes| bytes / MIB);
    assert!(near, "{grown:.1} MiB for {counted:.1} that are counted");
}

/// Waits until nothing is counted and nobody but `rest` sessions is there.
fn all_gone(gateway: &Gateway, rest: f64) {
    wait::until("everybody to be gone", || {
        let sessions = gateway.metric("trunkline_connections");
        (sessions <= rest && held(gateway) == 0.0).then_some(())
    });
}

/// Messages of this length to a group of silent members end in a gap for each of them. The gateway
/// never counts more than `bound` bytes.
fn a_silent_group(setup: Setup, members: usize, length: usize, bound: f64) {
    let gateway = setup.start();
    let mut owner = gateway.dial().connect("owner", "pc");
    make_group(&mut owner, members);
    let say = json!({"group": "all", "text": "x".repeat(length)});
    owner.done("send", &say);
    let before = unstored(&gateway);
    // Batches of pushes that are not shared leave free blocks behind: not looked at here.
    let crowd = Crowd::join(&gateway, (0..members).map(member), length == LONG);
    let begun = resident(&gateway);
    forget_peak(&gateway);
    let mut most = 0.0_f64;
    wait::until("a gap for each of them", || {
        owner.done("send", &say);
        most = most.max(held(&gateway));
        (gateway.metric("trunkline_gaps_total") >= members as f64).then_some(())
    });
    assert!(most < bound, "{:.1} MiB are held", most / MIB);
    resident_as_counted(&gateway, begun, most);
    drop(crowd);
    all_gone(&gateway, 1.0);
    comes_back(&gateway, before, members as f64 * STAYS);
    owner.ping();
}

/// Long messages are in memory once for each shard, up to the MiB that a connection may have, with a
/// list of them for each member.
fn long_messages(members: usize, shards: usize) {
    let bound = 4.0 * MIB * shards as f64 + 2_048.0 * members as f64;
    let setup = Setup::default().flag("shards", shards);
    a_silent_group(setup, members, LONG, bound);
}

#[test]
fn long_messages_to_2000_silent_members_with_one_shard() {
    long_messages(2_000, 1);
}

#[test]
fn long_messages_to_2000_silent_members_with_two_shards() {
    long_messages(2_000, 2);
}

#[test]
fn long_messages_to_5000_silent_members_with_one_shard() {
    long_messages(5_000, 1);
}

#[test]
fn long_messages_to_5000_silent_members_with_two_shards() {
    long_messages(5_000, 2);
}

/// Each member has bytes of its own, up to three quarters of `shard_buffer_bytes` together, and the pushes
/// of one event beyond that.
#[test]
fn messages_that_are_not_shared_to_1000_silent_members() {
    const MEMBERS: usize = 1_000;
    let setup = Setup::default().flag("shards", 1);
    let setup = setup.flag("shard-buffer-bytes", "64MiB");
    let event = (MEMBERS * 2 * MIDDLING) as f64;
    a_silent_group(setup, MEMBERS, MIDDLING, 48.0 * MIB + event);
}

/// Messages of which a part has arrived count with what has arrived.
#[test]
fn halves_of_messages_of_1000_connections() {
    const CONNECTIONS: usize = 1_000;
    const SENT: usize = 20_000;
    let gateway = Setup::default()
        .flag("shards", 1)
        .flag("message-timeout", "1h")
        .start();
    let before = unstored(&gateway);
    let mut crowd = Crowd::join(&gateway, (0..CONNECTIONS).map(member), true);
    let begun = resident(&gateway);
    forget_peak(&gateway);
    crowd.begin_message(LONG, SENT);
    let all = (CONNECTIONS * SENT) as f64;
    wait::until("all halves to be counted", || {
        (held(&gateway) >= all).then_some(())
    });
    resident_as_counted(&gateway, begun, held(&gateway));
    drop(crowd);
    all_gone(&gateway, 0.0);
    comes_back(&gateway, before, CONNECTIONS as f64 * STAYS);
}

/// Long signals from one shard to silent devices on both. What cannot be delivered is dropped.
#[test]
fn long_signals_to_silent_devices() {
    const DEVICES: usize = 100;
    const SIGNALS: usize = 120;
    let gateway = Setup::default().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let signal = json!({"user": "sink", "data": "x".repeat(LONG)});
    alice.done("signal", &signal);
    let before = unstored(&gateway);
    let fields = (0..DEVICES).map(|n| json!({"user": "sink", "device": format!("d{n}")}));
    let crowd = Crowd::knock(&gateway, fields);
    wait::until("the devices to be in", || {
        let sessions = gateway.metric("trunkline_sessions") as usize;
        (sessions == DEVICES + 1).then_some(())
    });
    let begun = resident(&gateway);
    forget_peak(&gateway);
    let mut most = 0.0_f64;
    for _ in 0..SIGNALS {
        alice.done("signal", &signal);
        most = most.max(held(&gateway));
    }
    // A MiB for each connection, which those of a shard share.
    assert!(most > MIB && most < 8.0 * MIB, "{most} bytes are held");
    resident_as_counted(&gateway, begun, most);
    drop(crowd);
    all_gone(&gateway, 1.0);
    comes_back(&gateway, before, DEVICES as f64 * STAYS);
}

/// Connections that are refused leave nothing behind.
#[test]
fn garbage_in_place_of_tokens() {
    const CONNECTIONS: usize = 300;
    const ROUNDS: usize = 5;
    let gateway = Setup::default().flag("shards", 1).start();
    let before = unstored(&gateway);
    forget_peak(&gateway);
    for round in 0..ROUNDS {
        let token = |n| json!({"token": format!("{round}.{n:0>4000}.x")});
        let crowd = Crowd::knock(&gateway, (0..CONNECTIONS).map(token));
        let wanted = ((round + 1) * CONNECTIONS) as f64;
        wait::until("all to be refused", || {
            let refused = gateway.metric("trunkline_errors_total{error=\"unauthorized\"}");
            (refused >= wanted).then_some(())
        });
        drop(crowd);
        all_gone(&gateway, 0.0);
    }
    resident_as_counted(&gateway, before, 0.0);
    comes_back(&gateway, before, CONNECTIONS as f64 * STAYS);
}

/// Devices that ask for all that there is and do not read it get pages up to what a connection may have,
/// and up to the limit of the shard.
#[test]
fn storms_of_devices_that_want_everything() {
    const DEVICES: usize = 150;
    const ROUNDS: usize = 4;
    let gateway = Setup::default()
        .flag("shards", 1)
        .flag("shard-buffer-bytes", "32MiB")
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send_all("alice", std::iter::repeat_n("x".repeat(LONG), 40));
    let before = unstored(&gateway);
    forget_peak(&gateway);
    let mut most = 0.0_f64;
    for _ in 0..ROUNDS {
        let device = |n| json!({"user": "alice", "device": format!("d{n}"), "since": "0"});
        let crowd = Crowd::knock(&gateway, (0..DEVICES).map(device));
        wait::until("pages for them", || {
            let now = held(&gateway);
            most = most.max(now);
            (now > 8.0 * MIB).then_some(())
        });
        for _ in 0..50 {
            most = most.max(held(&gateway));
        }
        drop(crowd);
        all_gone(&gateway, 1.0);
    }
    // The pages of one turn come in addition to the limit.
    assert!(most < 40.0 * MIB, "{:.1} MiB are held", most / MIB);
    let grown = (peak(&gateway) - before) / MIB;
    assert!(grown < 1.25 * 40.0 + 8.0, "{grown:.1} MiB");
    comes_back(&gateway, before, DEVICES as f64 * STAYS);
    alice.ping();
}

/// Connections that say nothing, thousands in a row.
#[test]
fn thousands_of_connects_and_disconnects() {
    const THREADS: usize = 4;
    const EACH: usize = 2_500;
    let gateway = Setup::default().flag("shards", 1).start();
    let before = unstored(&gateway);
    forget_peak(&gateway);
    let address = gateway.ws();
    let connect = move || {
        for _ in 0..EACH {
            drop(TcpStream::connect(address).expect("the gateway listens"));
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(connect))));
    all_gone(&gateway, 0.0);
    resident_as_counted(&gateway, before, 0.0);
    comes_back(&gateway, before, 0.0);
}
