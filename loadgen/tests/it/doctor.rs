//! `loadgen doctor`: the limits of this machine, and the commands that raise them.

use serde_json::Value;

use crate::harness::Loadgen;

/// The limits that every Linux has.
const ROWS: [&str; 15] = [
    "RLIMIT_NOFILE soft",
    "RLIMIT_NOFILE hard",
    "fs.nr_open",
    "fs.file-max",
    "fs.epoll.max_user_watches",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "memory",
    "cores",
    "kernel",
    "swap",
    "disk sync",
];

#[test]
fn every_limit_has_a_row() {
    let done = Loadgen::start("", &["doctor"]).done();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for row in ROWS {
        assert!(done.stdout.contains(row), "no {row} in\n{}", done.stdout);
    }
    assert!(done.stdout.contains("both ends"), "{}", done.stdout);
    assert!(done.stdout.contains("carries "), "{}", done.stdout);
}

#[test]
fn what_is_low_has_a_fix() {
    let args = ["doctor", "--connections", "400000000", "--json"];
    let done = Loadgen::start("", &args).done();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let said: Value = serde_json::from_str(&done.stdout).expect("JSON");
    let rows = said["rows"].as_array().expect("rows");
    for name in ROWS {
        assert!(
            rows.iter().any(|row| row["name"] == name),
            "no {name}: {said}"
        );
    }
    let mut low = 0;
    for row in rows {
        let fixed = row["fix"].is_string();
        assert_eq!(fixed, row["verdict"] == "LOW", "{row}");
        low += u64::from(fixed);
    }
    assert_eq!(said["low"], low, "{said}");
    assert!(low >= 2, "{said}");
    assert!(said["carries"].as_u64() < Some(400_000_000), "{said}");
}
