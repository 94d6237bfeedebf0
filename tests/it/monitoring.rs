//! The dashboard and the alert rules in `deploy/` use metrics that exist, and show something under load.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::back_end::{BackEnd, Says};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http;
use trunkline_tests::process::{Process, workspace};
use trunkline_tests::tls::Authority;
use trunkline_tests::{port, wait};

const DASHBOARD: &str = "deploy/grafana/trunkline.json";
const RULES: &str = "deploy/prometheus/trunkline.rules.yml";

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).expect("a file of deploy/")
}

/// Returns the title of each panel with its queries.
fn panels() -> Vec<(String, Vec<String>)> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let panels = panels.filter(|panel| panel["type"] != "row");
    panels
        .map(|panel| {
            let title = panel["title"].as_str().expect("a title").to_owned();
            let targets = panel["targets"].as_array().expect("targets").iter();
            let queries =
                targets.map(|target| target["expr"].as_str().expect("a query").to_owned());
            (title, queries.collect())
        })
        .collect()
}

/// Returns the names of metrics in a text.
fn metrics_of(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("trunkline_") || word.starts_with("process_"))
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

#[test]
fn dashboard_and_rules_name_metrics_that_exist() {
    // Another test compares the page with what a gateway prints.
    let known = metrics_of(&read("docs/metrics.md"));
    let queries: String = panels()
        .into_iter()
        .flat_map(|(_, queries)| queries)
        .collect();
    let rules = read(RULES);
    let exprs = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let used: BTreeSet<_> = &metrics_of(&queries) | &metrics_of(&exprs.collect::<String>());
    assert!(used.len() > 30, "only {} metrics are used", used.len());
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "no such metrics: {unknown:?}");
}

/// What a query asks of a label, such as `code=~"3008|3012"`.
#[derive(Debug, PartialEq)]
struct Matcher<'a> {
    metric: &'a str,
    label: &'a str,
    values: Vec<&'a str>,
}

/// Returns the matchers of a query. Those whose labels Prometheus adds, or of any value, say nothing about a gateway.
fn matchers(query: &str) -> Vec<Matcher<'_>> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after.split_once('}').expect("an end of the braces");
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let metric = &before[before.trim_end_matches(word).len()..];
        for part in inside.split(',').filter(|part| !part.is_empty()) {
            let (label, value) = part.split_once('=').expect("a label and a value");
            let label = label.trim().trim_end_matches('!');
            let value = value.trim_start_matches('~').trim_matches('"');
            // A label that is not equal is written as `name!=` or `name!~`.
            let values = value.split('|').collect();
            if !["instance", "job"].contains(&label) {
                found.push(Matcher {
                    metric,
                    label,
                    values,
                });
            }
        }
        rest = after;
    }
    found
}

#[test]
fn queries_name_values_of_labels_that_exist() {
    let query = "rate(trunkline_a_total{instance=~\"$instance\",code=~\"1|2\"}[5m]) + trunkline_b{reason!=\"x\"}";
    let matcher = |metric, label, values: &[&'static str]| Matcher {
        metric,
        label,
        values: values.to_vec(),
    };
    let wanted = [
        matcher("trunkline_a_total", "code", &["1", "2"]),
        matcher("trunkline_b", "reason", &["x"]),
    ];
    assert_eq!(matchers(query), wanted);

    let back_end = BackEnd::start(|_| Says::Json(json!({})));
    let setup = back_end.asked_by(Setup::default().http().patient(), &["send", "offline"]);
    let gateway = setup.start();
    let metrics = http::get(gateway.control(), "/metrics").body;
    // A counter that begins with its first event hides that one from `rate`.
    let has = |metric: &str, label: &str, value: &str| {
        let pair = format!("{label}=\"{value}\"");
        metrics.lines().any(|line| {
            let labels = line
                .strip_prefix(metric)
                .and_then(|rest| rest.strip_prefix('{'));
            labels.is_some_and(|labels| labels.split([',', '}']).any(|one| one == pair))
        })
    };
    let rules = read(RULES);
    let exprs = rules.lines().map(str::trim);
    let exprs = exprs.filter_map(|line| line.strip_prefix("expr: "));
    let queries: Vec<String> = panels().into_iter().flat_map(|(_, asked)| asked).collect();
    let all = exprs.chain(queries.iter().map(String::as_str));
    let asked: Vec<_> = all.flat_map(matchers).collect();
    let mut missing = Vec::new();
    for Matcher {
        metric,
        label,
        values,
    } in &asked
    {
        let unknown = values.iter().filter(|value| !has(metric, label, value));
        missing.extend(unknown.map(|value| format!("{metric}{{{label}=\"{value}\"}}")));
    }
    assert!(missing.is_empty(), "no such series: {missing:?}");
    assert!(asked.len() >= 5, "{asked:?}");
    assert!(!has("trunkline_errors_total", "error", "internal_error"));
}

#[test]
fn the_page_has_every_alert() {
    let rules = read(RULES);
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let page = read("docs/monitoring.md");
    let listed = page
        .lines()
        .filter_map(|line| line.strip_prefix("| Trunkline"));
    let listed: BTreeSet<_> = listed.filter_map(|row| row.split(' ').next()).collect();
    let alerts: BTreeSet<_> = alerts
        .filter_map(|name| name.strip_prefix("Trunkline"))
        .collect();
    assert!(alerts.len() > 10);
    assert_eq!(alerts, listed);
}

#[test]
fn each_alert_is_raised_in_a_test() {
    let rules = read(RULES);
    let tests = read("deploy/prometheus/trunkline.rules.test.yml");
    let mut alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    assert!(alerts.clone().count() > 20);
    let raised = |alert: &str| {
        let expected = format!("alertname: {alert}\n        exp_alerts:\n          - exp_labels");
        tests.contains(&expected)
    };
    let without = alerts.find(|alert| !raised(alert));
    assert_eq!(without, None, "no test raises it");
}

/// Returns whether a tool of Debian's package prometheus is there, and says so if it is not.
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn is_there(tool: &str) -> bool {
    match Command::new(tool).arg("--version").output() {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: no {tool} (Debian's package prometheus has it)");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn promtool_is_content_with_the_rules() {
    if !is_there("promtool") {
        return;
    }
    let folder = workspace().join("deploy/prometheus");
    for (what, file) in [
        ("check rules", "trunkline.rules.yml"),
        ("test rules", "trunkline.rules.test.yml"),
        ("check config", "prometheus.yml"),
    ] {
        let mut promtool = Command::new("promtool");
        promtool.current_dir(&folder).args(what.split(' '));
        let exit = Process::start(promtool.arg(file)).ended();
        assert!(exit.status.success(), "{}{}", exit.stdout, exit.stderr);
    }
}

/// Returns a text as a part of a URL.
fn in_url(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    let part = |byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(part).collect()
}

/// Returns whether a query has a result that is a number.
fn has_data(prometheus: SocketAddr, query: &str) -> bool {
    let query = query.replace("$__rate_interval", "10s");
    let query = query.replace("$instance", ".*");
    let path = format!("/api/v1/query?query={}", in_url(&query));
    let answer = http::get(prometheus, &path);
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
    let samples = answer["data"]["result"].as_array().expect("a vector");
    // The quantile of nothing is no number.
    samples.iter().any(|sample| sample["value"][1] != "NaN")
}

/// Starts a Prometheus that scrapes these gateways. Returns its address.
fn start_prometheus(folder: &Path, gateways: &[&Gateway]) -> (Process, SocketAddr) {
    let targets: Vec<_> = gateways
        .iter()
        .map(|gateway| gateway.control().to_string())
        .collect();
    let config = format!(
        "global: {{ scrape_interval: 500ms }}\nscrape_configs:\n  - job_name: trunkline\n    \
         static_configs: [{{ targets: {targets:?} }}]\n"
    );
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config).expect("a file can be written");
    let kept = port::keep(0);
    let address = kept.address;
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!(
        "--storage.tsdb.path={}",
        folder.join("data").display()
    ));
    command.arg(format!("--web.listen-address={address}"));
    let prometheus = Process::start(&mut command);
    wait::until("Prometheus to listen", || {
        std::net::TcpStream::connect(address).ok()
    });
    // It answers 503 until it has read its files.
    wait::until("Prometheus to be ready", || {
        (http::get(address, "/-/ready").status == 200).then_some(())
    });
    (prometheus, address)
}

/// Uploads a file as alice, and downloads it again.
fn exchange_media(gateway: &Gateway) {
    let api = Api::of(gateway)
        .user("alice")
        .header("Content-Type", "text/plain");
    let answer = api.ask("POST", "/api/v1/media", Some("hello"));
    assert_eq!(answer.status, 201, "{answer:?}");
    let media: Value = serde_json::from_str(&answer.body).expect("JSON");
    let path = media["url"].as_str().expect("a path");
    assert_eq!(api.ask("GET", path, None).status, 200);
}

/// The pairs of users who talk to each other, and how much each says at a time.
const PAIRS: usize = 4;
const TEXTS: usize = 25;

/// Has a result while there is a load: messages of many rounds within ten seconds.
const LOAD: &str = "sum(rate(trunkline_messages_total[10s])) > 20";

/// Sets a flag at its end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets a user talk to another until it is over: many messages, each of which arrives, and one to somebody who is away.
fn talk(one: &mut Client, name: &str, other: &mut Client, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        one.send_all(name, (0..TEXTS).map(|text| text.to_string()));
        for _ in 0..TEXTS {
            other.push_of("message");
        }
        one.send("carol", "you are away");
    }
}

#[test]
fn every_panel_shows_data_of_a_gateway_under_load() {
    if !is_there("prometheus") {
        return;
    }
    let back_end = BackEnd::start(|_| Says::Json(json!({})));
    let setup = back_end.asked_by(Setup::default().http().patient(), &["send", "offline"]);
    let gateway = setup.start();
    let authority = Authority::new();
    let files = authority.issue("server");
    let with_tls = Setup::default()
        .patient()
        .tls(&files, &authority.trust())
        .start();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (_prometheus, address) = start_prometheus(folder.path(), &[&gateway, &with_tls]);

    let mut waiting: Vec<_> = panels()
        .into_iter()
        .flat_map(|(title, queries)| queries.into_iter().map(move |query| (title.clone(), query)))
        .collect();
    assert!(waiting.len() > 80, "{}", waiting.len());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A failure ends the load too.
        let _over = Over(&is_over);
        for pair in 0..PAIRS {
            let name = format!("bob-{pair}");
            let mut one = gateway.dial().connect(&format!("alice-{pair}"), "phone");
            let mut other = gateway.dial().connect(&name, "phone");
            let is_over = &is_over;
            scope.spawn(move || talk(&mut one, &name, &mut other, is_over));
        }
        wait::until("a load", || has_data(address, LOAD).then_some(()));
        wait::until("every panel to have data", || {
            exchange_media(&gateway);
            waiting.retain(|(_, query)| !has_data(address, query));
            waiting.is_empty().then_some(())
        });
        // It goes on.
        wait::until("a load still", || has_data(address, LOAD).then_some(()));
        wait::until("the sessions of the load", || {
            let sessions = format!("trunkline_sessions == {}", 2 * PAIRS);
            has_data(address, &sessions).then_some(())
        });
    });
    // Queries that have none.
    assert!(!has_data(address, "trunkline_nothing"));
    assert!(!has_data(address, "trunkline_sessions / 0 * 0"));
}
