//! What crowds and storms make the gateway hold is bounded, is what the gateway counts, and is given
//! back to the machine when they are gone.
//!
//! Memory comes back to within a fifth of what it was, and a KiB for each connection that waited: the
//! allocator keeps the smallest blocks for the next crowd, and an index for what was stored.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;
use trunkline_tests::client::Client;
use trunkline_tests::crowd::Crowd;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::memory::{MIB, comes_back, forget_peak, held, peak, resident, unstored};
use trunkline_tests::tls::Authority;
use trunkline_tests::wait::{self, SetAtTheEnd};

/// The bytes of a long text: a message of 64 KiB, nearly.
const LONG: usize = 60_000;

/// The bytes of texts whose pushes are too short to be shared: each connection has its own.
const OWN: [usize; 5] = [300, 1_200, 2_500, 4_500, 7_000];

/// The bytes that have arrived of what is incomplete.
const PARTS: [usize; 6] = [1_200, 3_000, 9_000, 14_000, 15_500, 30_000];

/// What the gateway needs besides what it counts: batches on their way, answers of readers, free blocks, and
/// parts of the program that run for the first time. Each test but that of TLS records counts so much that a
/// count of half of it would be noticed.
const BESIDES: f64 = 2.0 * MIB;

/// What may stay of a connection that waited.
const STAYS: f64 = 1_024.0;

fn member(n: usize) -> String {
    format!("m{n}")
}

/// Starts a gateway, and waits until its store has made the file of 4 MiB that it keeps in reserve.
fn start(setup: Setup) -> Gateway {
    let gateway = setup.start();
    let ballast = gateway.data().join("ballast");
    wait::until("the reserve", || ballast.exists().then_some(()));
    gateway
}

/// Makes the group `all` of the owner and `members` others.
fn make_group(owner: &mut Client, members: usize) {
    owner.done("group_create", &json!({"group": "all"}));
    let names: Vec<_> = (0..members).map(member).collect();
    for part in names.chunks(1_000) {
        owner.done("group_add", &json!({"group": "all", "members": part}));
    }
}

/// Compares the most that was counted with the most that was resident in addition to `before`.
fn peak_as_counted(gateway: &Gateway, before: f64, counted: f64) {
    as_counted(peak(gateway) - before, counted);
}

/// Compares what has become resident with what is counted: they differ by a quarter at most, and by what
/// the gateway needs besides.
fn as_counted(grown: f64, counted: f64) {
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

/// Messages of these lengths to a group of silent members end in a gap for each of them. The gateway
/// never counts more than `bound` bytes.
fn a_silent_group(setup: Setup, members: usize, lengths: &[usize], bound: f64) {
    let gateway = start(setup);
    let mut owner = gateway.dial().connect("owner", "pc");
    make_group(&mut owner, members);
    let say = |length| json!({"group": "all", "text": "x".repeat(length)});
    let mut texts: Vec<_> = lengths.iter().map(|length| say(*length)).collect();
    owner.done("send", &texts[0]);
    let before = unstored(&gateway);
    let crowd = Crowd::join(&gateway, (0..members).map(member), true);
    let begun = resident(&gateway);
    forget_peak(&gateway);
    let mut most = 0.0_f64;
    wait::until("a gap for each of them", || {
        texts.rotate_left(1);
        owner.done("send", &texts[0]);
        most = most.max(held(&gateway));
        (gateway.metric("trunkline_gaps_total") >= members as f64).then_some(())
    });
    assert!(most < bound, "{:.1} MiB are held", most / MIB);
    peak_as_counted(&gateway, begun, most);
    drop(crowd);
    all_gone(&gateway, 1.0);
    comes_back(&gateway, before, members as f64 * STAYS);
    owner.ping();
}

/// Long messages are in memory once for each shard, up to what a connection may have, with a list of them
/// for each member.
fn long_messages(members: usize, shards: usize) {
    let bound = 7.0 * MIB * shards as f64 + 3_072.0 * members as f64;
    let setup = Setup::default().flag("shards", shards);
    let setup = setup.flag("outbox-bytes", "4MiB");
    a_silent_group(setup, members, &[LONG], bound);
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
    let event = (MEMBERS * 2 * OWN[4]) as f64;
    a_silent_group(setup, MEMBERS, &OWN, 48.0 * MIB + event);
}

/// What is encrypted and not taken is little: the rest waits as without TLS.
#[test]
fn messages_over_tls_to_300_silent_members() {
    const MEMBERS: usize = 300;
    let authority = Authority::new();
    let files = authority.issue("server");
    let setup = Setup::default().tls(&files, &authority.trust());
    let setup = setup.flag("shards", 1).flag("shard-buffer-bytes", "64MiB");
    let event = (MEMBERS * 2 * OWN[4]) as f64;
    a_silent_group(setup, MEMBERS, &OWN, 48.0 * MIB + event);
}

/// Input that is incomplete counts with what has arrived of it. `send` sends parts of these sizes in turn.
fn halves(setup: Setup, connections: usize, parts: &[usize], send: impl Fn(&mut Crowd, &[usize])) {
    let setup = setup.flag("shards", 1).flag("message-timeout", "1h");
    let gateway = start(setup);
    let before = unstored(&gateway);
    let mut crowd = Crowd::join(&gateway, (0..connections).map(member), true);
    let begun = resident(&gateway);
    forget_peak(&gateway);
    send(&mut crowd, parts);
    let all: usize = parts.iter().cycle().take(connections).sum();
    wait::until("all parts to be counted", || {
        (held(&gateway) >= all as f64).then_some(())
    });
    peak_as_counted(&gateway, begun, held(&gateway));
    drop(crowd);
    all_gone(&gateway, 0.0);
    comes_back(&gateway, before, connections as f64 * STAYS);
}

#[test]
fn halves_of_messages_of_1000_connections() {
    halves(Setup::default(), 1_000, &PARTS, |crowd, parts| {
        crowd.begin_message(LONG, parts);
    });
}

/// A record has 16 KiB at most. More TLS connections would leave more of their own behind than their records.
#[test]
fn halves_of_records_of_300_connections() {
    let authority = Authority::new();
    let files = authority.issue("server");
    let setup = Setup::default().tls(&files, &authority.trust());
    halves(setup, 300, &PARTS[..5], |crowd, parts| {
        crowd.begin_record(16 << 10, parts);
    });
}

/// Long signals to silent devices. What cannot be delivered is dropped. Shards share a signal, which counts once.
fn long_signals(shards: usize) {
    const DEVICES: usize = 100;
    const SIGNALS: usize = 320;
    let setup = Setup::default().flag("shards", shards);
    let gateway = start(setup.flag("outbox-bytes", "16MiB"));
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
    // A signal is in memory in both encodings.
    let bounds = 32.0 * MIB..38.0 * MIB;
    assert!(bounds.contains(&most), "{most} bytes are held");
    peak_as_counted(&gateway, begun, most);
    drop(crowd);
    all_gone(&gateway, 1.0);
    comes_back(&gateway, before, DEVICES as f64 * STAYS);
}

#[test]
fn long_signals_to_silent_devices_with_one_shard() {
    long_signals(1);
}

#[test]
fn long_signals_to_silent_devices_with_two_shards() {
    long_signals(2);
}

/// Publications of this length to silent subscribers of a topic. What cannot be delivered is dropped.
fn publications(length: usize) {
    const DEVICES: usize = 100;
    const PUBLICATIONS: usize = 320;
    let setup = Setup::default().flag("shards", 1);
    let setup = setup.flag("shard-buffer-bytes", "64MiB");
    let gateway = start(setup.flag("outbox-bytes", "16MiB"));
    let mut alice = gateway.dial().connect("alice", "phone");
    let publication = json!({"topic": "live", "data": "x".repeat(length)});
    alice.done("publish", &publication);
    let before = unstored(&gateway);
    let fields = (0..DEVICES).map(|n| json!({"user": "sink", "device": format!("d{n}")}));
    let mut crowd = Crowd::knock(&gateway, fields);
    crowd.say(&json!({"id": 2, "subscribe": {"topic": "live"}}));
    wait::until("all to have subscribed", || {
        let subscribed = "trunkline_commands_by_name_total{command=\"subscribe\"}";
        (gateway.metric(subscribed) == DEVICES as f64).then_some(())
    });
    let begun = resident(&gateway);
    forget_peak(&gateway);
    let mut most = 0.0_f64;
    for _ in 0..PUBLICATIONS {
        alice.done("publish", &publication);
        most = most.max(held(&gateway));
    }
    // Half of the limit, and the pushes of one turn.
    let bounds = 24.0 * MIB..38.0 * MIB;
    assert!(bounds.contains(&most), "{most} bytes are held");
    peak_as_counted(&gateway, begun, most);
    drop(crowd);
    all_gone(&gateway, 1.0);
    comes_back(&gateway, before, DEVICES as f64 * STAYS);
}

/// Subscribers share a long publication.
#[test]
fn long_publications_to_silent_subscribers() {
    publications(LONG);
}

/// Each subscriber has a copy of a short one.
#[test]
fn short_publications_to_silent_subscribers() {
    publications(OWN[3]);
}

/// Connections that are refused leave nothing behind.
#[test]
fn garbage_in_place_of_tokens() {
    const CONNECTIONS: usize = 300;
    const ROUNDS: usize = 12;
    let gateway = start(Setup::default().flag("shards", 1));
    let refused = || gateway.metric("trunkline_errors_total{error=\"unauthorized\"}");
    let knock = |round: usize, connections: usize| {
        let wanted = refused() + connections as f64;
        let token = |n| json!({"token": format!("{round}.{n:0>4000}.x")});
        let crowd = Crowd::knock(&gateway, (0..connections).map(token));
        wait::until("all to be refused", || (refused() >= wanted).then_some(()));
        drop(crowd);
        all_gone(&gateway, 0.0);
    };
    knock(0, 3);
    let (before, begun) = (unstored(&gateway), resident(&gateway));
    forget_peak(&gateway);
    for round in 1..=ROUNDS {
        knock(round, CONNECTIONS);
    }
    // The tokens have 14 MB.
    peak_as_counted(&gateway, begun, 0.0);
    comes_back(&gateway, before, CONNECTIONS as f64 * STAYS);
}

/// Devices that ask for all that there is and do not read it get pages up to what a connection may have,
/// and up to the limit of the shard.
#[test]
fn storms_of_devices_that_want_everything() {
    const DEVICES: usize = 150;
    const ROUNDS: usize = 4;
    let setup = Setup::default().flag("shards", 1);
    let gateway = start(setup.flag("shard-buffer-bytes", "32MiB"));
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send_all("alice", std::iter::repeat_n("x".repeat(LONG), 40));
    let (before, begun) = (unstored(&gateway), resident(&gateway));
    forget_peak(&gateway);
    let mut most = 0.0_f64;
    for _ in 0..ROUNDS {
        let device = |n| json!({"user": "alice", "device": format!("d{n}"), "since": "0"});
        let crowd = Crowd::knock(&gateway, (0..DEVICES).map(device));
        let (mut last, mut same) = (0.0, 0);
        wait::until("as many pages as there may be", || {
            let now = held(&gateway);
            most = most.max(now);
            same = if now == last { same + 1 } else { 0 };
            last = now;
            (now > 8.0 * MIB && same >= 20).then_some(())
        });
        as_counted(resident(&gateway) - begun, last);
        drop(crowd);
        all_gone(&gateway, 1.0);
    }
    // The pages of one turn come in addition to the limit.
    assert!(most < 40.0 * MIB, "{:.1} MiB are held", most / MIB);
    let grown = (peak(&gateway) - begun) / MIB;
    assert!(grown < 1.25 * 40.0, "{grown:.1} MiB");
    comes_back(&gateway, before, DEVICES as f64 * STAYS);
    alice.ping();
}

/// Connections that say nothing, thousands in a row. A neighbour on the same shard is served meanwhile: its answers do
/// not wait for many of them.
#[test]
fn thousands_of_connects_and_disconnects() {
    const THREADS: usize = 4;
    const EACH: usize = 2_500;
    const PINGS: usize = 301;
    let gateway = start(Setup::default().flag("shards", 1));
    let mut neighbour = gateway.dial().connect("neighbour", "phone");
    let address = gateway.ws();
    let (connects, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let connect = |least: usize| {
        let mut often = 0;
        while often < least || !is_over.load(Ordering::SeqCst) {
            drop(TcpStream::connect(address).expect("the gateway listens"));
            connects.fetch_add(1, Ordering::SeqCst);
            often += 1;
        }
    };
    // Returns the connects during a ping.
    let mut exchange = |_| {
        let began = connects.load(Ordering::SeqCst);
        neighbour.ping();
        connects.load(Ordering::SeqCst) - began
    };
    exchange(0);
    is_over.store(true, Ordering::SeqCst);
    connect(10);
    all_gone(&gateway, 1.0);
    is_over.store(false, Ordering::SeqCst);
    let (before, begun) = (unstored(&gateway), resident(&gateway));
    forget_peak(&gateway);
    let mut meanwhile: Vec<_> = thread::scope(|scope| {
        let _ends = SetAtTheEnd(&is_over);
        for _ in 0..THREADS {
            scope.spawn(|| connect(EACH));
        }
        (0..PINGS).map(&mut exchange).collect()
    });
    let connects = connects.load(Ordering::SeqCst);
    assert!(connects >= THREADS * EACH, "{connects}");
    // The scheduler may hold up some of the pings: half of them wait for few connects.
    meanwhile.sort_unstable();
    let half = meanwhile[PINGS / 2];
    assert!(half < 1_024, "{half} connects during a ping");
    all_gone(&gateway, 1.0);
    // Three hundred bytes of each of the first ten thousand.
    peak_as_counted(&gateway, begun, 0.0);
    comes_back(&gateway, before, 0.0);
}

/// Waits until the resident memory is the same at several looks, and returns it.
fn settled(gateway: &Gateway) -> f64 {
    let (mut last, mut same) = (0.0, 0);
    wait::until("the memory to stay the same", || {
        let now = resident(gateway);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same >= 20).then_some(last)
    })
}

/// Half heads of requests to the client API: what a connection takes is counted.
#[test]
fn half_requests_to_the_client_api() {
    const CONNECTIONS: usize = 1_000;
    let setup = Setup::default().http().flag("shards", 1);
    let gateway = start(setup.flag("http-timeout", "1h"));
    let half = format!("GET / HTTP/1.1\r\nX-Half: {}", "x".repeat(7_000));
    let open = |connections: usize| {
        let sockets: Vec<_> = (0..connections)
            .map(|_| {
                let mut socket = TcpStream::connect(gateway.http()).expect("the port is open");
                socket.write_all(half.as_bytes()).expect("it is taken");
                socket
            })
            .collect();
        wait::until("all to be there", || {
            let there = gateway.metric("trunkline_http_connections");
            (there == connections as f64).then_some(())
        });
        sockets
    };
    drop(open(3));
    let held = || gateway.metric("trunkline_http_held_bytes");
    wait::until("nobody to be there", || (held() == 0.0).then_some(()));
    let begun = resident(&gateway);
    let sockets = open(CONNECTIONS);
    as_counted(settled(&gateway) - begun, held());
    drop(sockets);
    wait::until("nobody to be there", || (held() == 0.0).then_some(()));
}

/// Streams of members of a group that do not read messages of this length. What waits is counted, and comes back with
/// the clients.
fn silent_streams(length: usize, waits: f64, stays: f64) {
    const CLIENTS: usize = 1_000;
    let setup = Setup::default().http().flag("shards", 1);
    let gateway = start(setup.flag("write-timeout", "1h"));
    let mut owner = gateway.dial().connect("owner", "pc");
    make_group(&mut owner, CLIENTS);
    let message = json!({"group": "all", "text": "x".repeat(length)});
    let unread = || gateway.metric("trunkline_http_unread_bytes");
    let streams = || gateway.metric("trunkline_http_streams");
    let mut round = |clients: usize, waits: f64| {
        let asked = (0..clients).map(|n| (member(n), "/api/v1/events"));
        let crowd = Crowd::ask(&gateway, asked);
        wait::until("all to be there", || {
            (streams() >= clients as f64).then_some(())
        });
        let begun = resident(&gateway);
        forget_peak(&gateway);
        let mut most = 0.0_f64;
        wait::until("much to wait", || {
            owner.done("send", &message);
            most = most.max(unread());
            (most >= waits).then_some(())
        });
        if clients == CLIENTS {
            peak_as_counted(&gateway, begun, most);
        }
        drop(crowd);
        wait::until("everybody to be gone", || {
            (streams() == 0.0 && unread() == 0.0).then_some(())
        });
    };
    round(3, 1.0);
    let before = unstored(&gateway);
    round(CLIENTS, waits);
    comes_back(&gateway, before, CLIENTS as f64 * stays);
}

#[test]
fn long_messages_to_1000_silent_streams() {
    silent_streams(LONG, 32.0 * MIB, STAYS);
}

/// What waits for each stream has less than 32 KiB, so its memory would not be mapped by itself. As much as a stream itself
/// needs in a debug build may stay.
#[test]
fn short_messages_to_1000_silent_streams() {
    silent_streams(3_000, 8.0 * MIB, 4.0 * STAYS);
}
