//! `--prometheus`: the metrics that the generator serves during a run.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;

use crate::groups::SMALL;
use crate::harness::{Loadgen, scenario, until};

/// Returns the page, once it is served.
fn scrape(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn value(page: &str, name: &str) -> Option<f64> {
    let line = page
        .lines()
        .find(|line| line.split(' ').next() == Some(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Scrapes a run until its counters move, and ends it.
#[track_caller]
fn check(run: &Loadgen, title: &str) {
    let address = until("the address", || {
        let said = run.stdout();
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("metrics: http://"))?;
        Some(line.trim_end_matches("/metrics").to_owned())
    });
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let page = until("messages", || {
        let page = scrape(&address)?;
        let acknowledged = value(&page, "loadgen_acknowledged_total")?;
        let timed = value(&page, "loadgen_latency_seconds_count{metric=\"e2e\"}")?;
        (acknowledged > 0.0 && timed > 0.0).then_some(page)
    });
    for (name, least) in [
        ("loadgen_sessions", 12.0),
        ("loadgen_sessions_wanted", 12.0),
        ("loadgen_stage{stage=\"executing\"}", 1.0),
        ("loadgen_process_resident_bytes{side=\"generator\"}", 1e6),
        ("loadgen_process_resident_bytes{side=\"gateway\"}", 1e6),
    ] {
        assert!(value(&page, name) >= Some(least), "{name}: {page}");
    }
    assert_eq!(value(&page, "loadgen_lost_total"), Some(0.0));
    assert!(page.contains(&format!("run=\"{title}\"")), "{page}");
    // A scraper that does not go away is no reason not to end.
    let _stays = TcpStream::connect(&address).expect("it listens");
    run.signal(Signal::SIGINT);
}

#[test]
fn a_run_is_scraped_while_it_goes_on() {
    let long = scenario(&[("duration = \"1s\"", "duration = \"1h\"")]);
    let run = Loadgen::run(&long, &["--prometheus", "0"]);
    check(&run, "run test");
    run.done().expect(105, "aborted");
}

#[test]
fn latencies_of_a_run_with_groups_are_scraped_too() {
    let long = scenario(&[("duration = \"1s\"", "duration = \"1h\""), SMALL]);
    let run = Loadgen::run(&long, &["--prometheus", "0"]);
    check(&run, "run test");
    run.done().expect(105, "aborted");
}

#[test]
fn a_hold_is_scraped_too() {
    let flags = "hold --connections 12 --for 1h --rate 200/s --out out --prometheus 0";
    let hold = Loadgen::start("", &flags.split(' ').collect::<Vec<_>>());
    check(&hold, "hold");
    hold.done().expect_in("out/hold.json", 105, "aborted");
}

#[test]
fn an_address_that_is_taken_is_refused_before_anything_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let run = Loadgen::run(&scenario(&[]), &["--prometheus", &address]).done();
    run.expect_refused(94, &["--prometheus", &address, "take another port"]);
    assert!(!run.stdout.contains("gateway:"), "{}", run.stdout);
    let bad = Loadgen::run(&scenario(&[]), &["--prometheus", "here"]).done();
    bad.expect_refused(104, &["--prometheus", "HOST:PORT"]);
}
