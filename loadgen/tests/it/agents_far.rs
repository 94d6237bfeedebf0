//! Runs of agents that are far from the gateway, or from the NATS server, or from both: in network namespaces of their
//! own, and behind relays that delay.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::crew::{
    LOADGEN, Nats, USERS, agent, agents_of_two_times, check_whole, lead, nats_server, played,
};
use crate::harness::{Done, Loadgen, number, scenario, sentences, until};
use crate::networks::{Networks, relay};
use crate::tls::Target;

/// Machines with 5 ms between the hub, which has a gateway and a NATS server, and each agent. A relay on
/// the hub delays the bytes, as not every kernel can (tc-netem(8)).
struct Site {
    agents: Vec<Loadgen>,
    target: Target,
    /// The gateway as the agents reach it.
    url: String,
    nats: Nats,
    networks: Networks,
}

impl Site {
    /// Starts everything with three agents. `None`, and a word, if that is not possible here.
    fn start() -> Option<Self> {
        let server = nats_server()?.display().to_string();
        let networks = match Networks::make(3) {
            Ok(networks) => networks,
            Err(why) => {
                eprintln!("skipped: no network namespaces: {why}");
                return None;
            }
        };
        let nats = Nats::start(networks.on_hub(&server), &[]);
        let folder = tempfile::tempdir().expect("a folder");
        let any_host = ["--dev-auth", "--allowed-origins", "*"];
        let target = Target::launch_by(networks.on_hub(LOADGEN), folder, &any_host);
        let delay = Duration::from_millis(5);
        let port = target.url.trim_end_matches("/v1/ws").rsplit(':').next();
        let port = port.and_then(|it| it.parse().ok()).expect("a port");
        let url = format!("ws://{}/v1/ws", networks.relay(port, delay));
        let far = format!("nats://{}", networks.relay(nats.port, delay));
        let agents = (0..3).map(|machine| agent(networks.on(machine, LOADGEN), &far, &[]));
        Some(Self {
            agents: agents.collect(),
            target,
            url,
            nats,
            networks,
        })
    }

    /// Leads a run of so many agents from the hub.
    fn lead(&self, text: &str, count: &str) -> Loadgen {
        let (nats, control) = (self.nats.url(), &self.target.control);
        let run = "run SCENARIO --no-tui --out out --events tmp/events --agents".split(' ');
        let args = run.chain([
            count,
            "--nats",
            &nats,
            "--target",
            &self.url,
            "--control",
            control,
        ]);
        let args: Vec<_> = args.collect();
        Loadgen::start_by(self.networks.on_hub(LOADGEN), text, &args, &[])
    }

    /// Leads a run that lasts ten minutes. Returns when messages were acknowledged.
    fn lead_long(&self, count: &str) -> Loadgen {
        let long = ("duration = \"1s\"", "duration = \"600s\"");
        let run = self.lead(&scenario(&[USERS, long, ("200/s", "100/s")]), count);
        let events = run.temporary().join("events");
        until("messages", || {
            let lines = std::fs::read_to_string(&events).unwrap_or_default();
            let lines = lines.lines();
            let mut lines = lines.filter_map(|it| serde_json::from_str::<Value>(it).ok());
            lines
                .any(|it| it["acknowledged"].as_u64() > Some(0))
                .then_some(())
        });
        run
    }
}

#[test]
fn an_agent_that_dies_makes_the_run_invalid() {
    let Some(mut site) = Site::start() else {
        return;
    };
    let done = site.lead(&scenario(&[USERS]), "3").done();
    let summary = done.expect(0, "ok");
    check_whole(&summary, 24);
    for agent in played(&summary) {
        // A round trip takes 10 ms at the least, and no answer is faster than that.
        assert!(number(agent, "clock_uncertainty_us") >= 5_000.0, "{agent}");
    }
    assert!(
        number(&summary, "latency_us.ack.p50") >= 10_000.0,
        "{summary}"
    );
    let run = site.lead_long("3");
    site.agents.remove(1).signal(Signal::SIGKILL);
    check_short(&run.done(), ") died at ", "8 users");
    // The others are free again. One is ended by a signal.
    let run = site.lead_long("2");
    let ended = site.agents.remove(0);
    ended.signal(Signal::SIGTERM);
    check_short(&run.done(), ") left at ", "12 users");
    assert_eq!(ended.done().code, Some(105));
    // The lead dies: the last agent gives its part up, and plays the next run.
    site.lead_long("1").signal(Signal::SIGKILL);
    until("the agent to be free", || {
        let said = site.agents[0].stdout();
        said.contains("the lead is silent").then_some(())
    });
    let done = site.lead(&scenario(&[USERS]), "1").done();
    check_whole(&done.expect(0, "ok"), 24);
}

/// Checks a run of which one agent ended early, in these words and with these users.
fn check_short(done: &Done, how: &str, users: &str) {
    let summary = done.expect(90, "invalid");
    let faults = sentences(&summary["health"]["faults"]);
    assert!(faults.contains(how) && faults.contains(users), "{summary}");
    let early = played(&summary).iter();
    let early = early.filter(|it| it["ended_early"].is_string());
    assert_eq!(early.count(), 1, "{summary}");
    assert!(
        done.stdout.contains("UNHEALTHY     agent "),
        "{}",
        done.stdout
    );
    // What the others did is there to look at, and is judged: nothing of it is wrong.
    assert!(number(&summary, "counts.attempted") > 0.0, "{summary}");
    assert_eq!(summary["violations"], serde_json::json!({}), "{summary}");
}

/// The time that bytes take in a relay between agents and what they reach.
const FAR: Duration = Duration::from_millis(150);

/// Leads a run of three agents whose gateway, or whose NATS server, is far away. Returns its summary.
fn lead_far(server: &Path, gateway: Duration, nats_server: Duration) -> (Value, Done) {
    let nats = Nats::start(Command::new(server), &[]);
    let far = format!("nats://{}", relay(nats.port, nats_server));
    let _agents = agents_of_two_times(&far);
    let folder = tempfile::tempdir().expect("a folder");
    let any_host = ["--dev-auth", "--allowed-origins", "*"];
    let target = Target::launch(folder, &any_host);
    let port = target.url.trim_end_matches("/v1/ws").rsplit(':').next();
    let port = port.and_then(|it| it.parse().ok()).expect("a port");
    let url = format!("ws://{}/v1/ws", relay(port, gateway));
    let to = ["--target", &url, "--control", &target.control];
    let longer = ("duration = \"1s\"", "duration = \"2s\"");
    let done = lead(&nats.url(), &scenario(&[USERS, longer]), &to);
    let summary = done.expect(0, "ok");
    check_whole(&summary, 24);
    (summary, done)
}

#[test]
fn latency_between_agents_counts_as_far_as_their_clocks_are_known() {
    let Some(server) = nats_server() else { return };
    // A message takes 150 ms to the gateway and 150 ms from it. One clock is an hour behind, and clocks are
    // known to some milliseconds.
    let (summary, done) = lead_far(&server, FAR, Duration::ZERO);
    let between = &summary["between_agents"];
    assert!(number(between, "latency_us.count") > 20.0, "{between}");
    for (figure, own) in [("p50", 0.9), ("p99", 0.0), ("max", 0.0)] {
        let us = number(between, &format!("latency_us.{figure}"));
        let exact = us + number(between, "uncertainty_us");
        assert!(exact >= 2.0 * FAR.as_micros() as f64, "{figure}: {between}");
        assert!(us < 600e6, "{figure}: {between}");
        // It is no better than that of messages on one agent, but for the uncertainty.
        let e2e = number(&summary, &format!("latency_us.e2e.{figure}"));
        assert!(exact >= own * e2e, "{figure}: {summary}");
    }
    let said = &done.stdout;
    assert!(
        said.contains("between agents: ") && said.contains("e2e of "),
        "{said}"
    );
    let page = std::fs::read_to_string(done.results().join("report.html")).expect("a page");
    assert!(page.contains("e2e between agents p50"), "the page has them");
    assert!(
        page.contains("e2e between agents ±"),
        "the page says how exact"
    );
    // With a NATS server that is as far away, the clocks are known to ± 300 ms and messages take less.
    let (summary, done) = lead_far(&server, Duration::ZERO, FAR);
    let between = &summary["between_agents"];
    for pair in between["pairs"].as_array().expect("pairs") {
        assert!(number(pair, "uncertainty_us") >= 300_000.0, "{pair}");
    }
    assert_eq!(between["latency_us"], Value::Null, "{between}");
    let said = &done.stdout;
    assert!(said.contains("latencies of 6 of 6 pairs"), "{said}");
    assert!(said.contains("e2e of none of 6 pairs"), "{said}");
}
