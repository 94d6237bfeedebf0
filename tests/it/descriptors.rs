//! Limits on connections: the configured one and the kernel's.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use trunkline_tests::gateway::Setup;
use trunkline_tests::http::exchange;
use trunkline_tests::wait;

const PRIVATE: &str = "each shard has a descriptor table of its own";
const TOO_FEW: &str = "the descriptor limit allows fewer connections";

/// An upgrade request, which a gateway without room answers with 503.
const REQUEST: &[u8] = b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn more_connections_than_one_table_holds() {
    const LIMIT: u64 = 1_000;
    const CONNECTIONS: usize = 1_200;
    // This process needs a descriptor for the other end of each.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be read");
    if hard < 3_000 {
        println!("skipped: the hard descriptor limit here is {hard}, this test needs 3,000");
        return;
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit may be raised");
    // 512 descriptors of a table are reserved, so each of the four shards has 488 for
    // connections: 1,200 do not fit into one table, and the kernel spreads them well enough
    // (300 for each, standard deviation 15).
    let setup = Setup::default().descriptors(LIMIT).flag("shards", 4);
    let mut gateway = setup.clone().flag("max-connections", 1_900).start();
    let dial = gateway.dial();
    let mut clients: Vec<_> = (0..CONNECTIONS)
        .map(|i| dial.connect(&format!("user{i}"), "d"))
        .collect();
    assert_eq!(gateway.metric("trunkline_sessions"), CONNECTIONS as f64);
    for i in 0..CONNECTIONS {
        let to = (i + CONNECTIONS / 2) % CONNECTIONS;
        clients[i].send(&format!("user{to}"), "hello");
        assert_eq!(clients[to].push_of("message")["from"], format!("user{i}"));
    }
    // The tables of four shards, and that of the process.
    assert_eq!(gateway.metric("process_max_fds"), 5.0 * LIMIT as f64);
    let open = gateway.metric("process_open_fds");
    assert!(
        open > CONNECTIONS as f64 && open < 1.5 * CONNECTIONS as f64,
        "{open}"
    );
    let log = gateway.stop().stderr;
    assert!(
        log.contains(PRIVATE) && log.contains("limit=1000") && log.contains("room=1952"),
        "{log}"
    );
    assert!(!log.contains(TOO_FEW), "{log}");
    drop(clients);

    // With more asked for than four tables hold, it says so; with less than one holds, it keeps
    // to one table.
    for (connections, private, too_few) in
        [(1_953, true, true), (488, false, false), (489, true, false)]
    {
        let log = setup
            .clone()
            .flag("max-connections", connections)
            .start()
            .stop()
            .stderr;
        assert_eq!(
            (log.contains(PRIVATE), log.contains(TOO_FEW)),
            (private, too_few),
            "{connections}: {log}"
        );
    }
}

/// The default of `max_connections` is more than most try, so it is one note and no warning.
#[test]
fn a_default_beyond_the_descriptors_is_one_line() {
    for (given, level) in [(None, "INFO"), (Some(100_000), "WARN")] {
        let mut setup = Setup::default()
            .without("max-connections")
            .descriptors(1_000);
        if let Some(given) = given {
            setup = setup.flag("max-connections", given);
        }
        let log = setup.start().stop().stderr;
        let lines: Vec<_> = log
            .lines()
            .filter(|line| line.contains("descriptor"))
            .collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(
            lines[0].contains(level) && lines[0].contains(TOO_FEW),
            "{log}"
        );
    }
}

#[test]
fn a_full_gateway_says_so() {
    let gateway = Setup::default().flag("max-connections", 3).start();
    let dial = gateway.dial();
    let mut clients: Vec<_> = (0..3)
        .map(|i| dial.connect(&format!("user{i}"), "d"))
        .collect();
    for refused in 1..=5 {
        let answer = exchange(gateway.ws(), REQUEST);
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(
            gateway.metric("trunkline_refused_total"),
            f64::from(refused)
        );
    }
    // Open sessions stay open, and a closed connection makes room for another one.
    clients[0].send("user1", "still here");
    assert_eq!(clients[1].push_of("message")["text"], "still here");
    clients.remove(0).close();
    wait::until("room for one", || {
        (gateway.metric("trunkline_connections") == 2.0).then_some(())
    });
    dial.connect("user3", "d").send("user1", "in");
    assert_eq!(clients[0].push_of("message")["text"], "in");
}
