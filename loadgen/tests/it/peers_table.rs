//! `loadgen peers`: one table of the servers that are installed.

use serde_json::Value;

use crate::harness::Loadgen;

/// The options for a short comparison on any machine.
const SHORT: &[&str] = &[
    "--rounds",
    "1",
    "--duration",
    "1s",
    "--rate",
    "200/s",
    "--connections",
    "12",
    "--health",
    "send_lag_p99=60s,loop_stall_max=60s,steal_max=1,achieved_min=0",
    "--out",
    "out",
];

#[test]
fn every_server_has_a_row() {
    let args = [&["peers", "--json"][..], SHORT].concat();
    let done = Loadgen::start("", &args).done();
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let table: Value = serde_json::from_str(&done.stdout).expect("JSON");
    let rows = table["servers"].as_array().expect("rows");
    assert_eq!(rows.len(), 7, "{table}");
    for row in rows {
        // A server that is not installed says how it is.
        let missing = row["missing"].as_str().unwrap_or_default();
        if missing.starts_with("not installed: ") {
            assert_ne!(row["name"], "trunkline");
            continue;
        }
        assert_eq!(row["verdicts"], serde_json::json!(["ok"]), "{row}");
        assert!(row["messages_per_second"].as_f64() > Some(0.0), "{row}");
        assert!(row["cpu_us_per_message"].as_f64() > Some(0.0), "{row}");
        let acknowledges = row["promises"]["acknowledged"] == "yes";
        assert_eq!(row["ack_us"]["p50"].is_number(), acknowledges, "{row}");
        assert!(row["e2e_us"]["p99"].is_number(), "{row}");
    }
    let written = std::fs::read_to_string(done.results().join("peers.json")).expect("a file");
    assert_eq!(
        serde_json::from_str::<Value>(&written).expect("JSON"),
        table
    );
    let text = std::fs::read_to_string(done.results().join("peers.txt")).expect("a file");
    assert!(text.contains("synced"), "{text}");
}

#[test]
fn an_unknown_server_is_refused() {
    let args = [&["peers", "--only", "natz"][..], SHORT].concat();
    let done = Loadgen::start("", &args).done();
    done.expect_refused(104, &["did you mean `nats`?"]);
}
