//! `loadgen compare`: its verdicts, and the runs that it refuses to compare.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fake::Fake;
use crate::fake_conduct::Conduct;
use crate::harness::{Done, Loadgen, scenario};

/// Folders with made-up results of runs.
struct Runs(TempDir);

/// The made-up results of one run.
struct Made {
    summary: Value,
    env: Value,
    lock: String,
}

impl Made {
    /// Makes the nth run of a side. Its figures deviate by a few percent, differently in each run.
    fn nth(n: usize, e2e: f64) -> Self {
        let wave = |of: usize| 1.0 + 0.03 * ((n * of % 13) as f64 / 6.0 - 1.0);
        let latency = |p50: f64| {
            let at = |times: f64, of| (p50 * times * wave(of)).round();
            json!({ "p50": at(1.0, 3), "p90": at(2.0, 5), "p99": at(4.0, 7), "p999": at(9.0, 4), "max": at(20.0, 8) })
        };
        let side =
            |of| json!({ "cpu_seconds": wave(of), "rss_bytes": 20_000_000, "connections": 12 });
        Self {
            summary: json!({
                "schema": 1, "scenario": "test", "verdict": "ok", "exit_code": 0, "violations": {},
                "counts": { "acknowledged": 20_000, "message_pushes": 20_000 },
                "rates": { "offered": 2_000.0, "achieved": 2_000.0 * wave(2) },
                "sending_seconds": 10.0,
                "latency_us": {
                    "connect": latency(900.0), "ack": latency(30_000.0),
                    "e2e": latency(e2e), "send_lag": latency(20.0),
                },
                "gateway": side(6), "generator": side(9),
                "health": { "faults": [] },
            }),
            env: json!({
                "loadgen": "0.1.0", "build": "release", "kernel": "6.1", "gateway": "local",
                "processors": 2, "ended_unix_s": 1_000 + 20 * n,
            }),
            lock: scenario(&[]),
        }
    }
}

impl Runs {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, made: &Made) {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).expect("a folder is made");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).expect("a file is written");
        };
        write("summary.json", &made.summary.to_string());
        write("env.json", &made.env.to_string());
        write("scenario.lock.toml", &made.lock);
    }

    /// Writes `runs` runs of a side, taken in turns with the other side. `e2e` scales their
    /// latencies.
    fn side(&self, side: &str, runs: usize, e2e: f64) {
        for n in 0..runs {
            let turn = 2 * n + usize::from(side == "b");
            let mut made = Made::nth(turn, 50_000.0 * e2e);
            made.env["ended_unix_s"] = json!(1_000 + 20 * turn);
            self.write(&format!("{side}/{n:02}"), &made);
        }
    }

    fn compare(&self, more: &[&str]) -> Done {
        let (a, b) = (self.path("a"), self.path("b"));
        let mut args = vec!["compare", text(&a), text(&b)];
        args.extend(more);
        Loadgen::start("", &args).done()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

#[track_caller]
fn check(done: &Done, code: i32, words: &[&str]) {
    assert_eq!(done.code, Some(code), "{}{}", done.stdout, done.stderr);
    // Lines are broken where they are full.
    let page = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(page.contains(word), "no {word:?} in {}", done.stdout);
    }
    let long = done.stdout.lines().find(|line| line.chars().count() > 100);
    assert_eq!(long, None);
}

/// Returns a figure of the JSON page.
fn figure<'a>(page: &'a Value, name: &str) -> &'a Value {
    let figures = page["figures"].as_array().expect("figures");
    let found = figures.iter().find(|it| it["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {page}"))
}

#[test]
fn ten_pairs_tell_worse_from_noise() {
    for (e2e, code, verdict, says) in [
        (1.0, 0, "no difference shown", "no difference shown"),
        (
            1.3,
            92,
            "B is worse beyond noise: e2e p50, e2e p99",
            "worse",
        ),
        (0.7, 0, "better: e2e p50, e2e p99", "better"),
    ] {
        let runs = Runs::new();
        runs.side("a", 10, 1.0);
        runs.side("b", 10, e2e);
        let done = runs.compare(&["--json"]);
        assert_eq!(done.code, Some(code), "{}{}", done.stdout, done.stderr);
        let page: Value = serde_json::from_str(&done.stdout).expect("JSON");
        assert_eq!(
            (&page["exit_code"], &page["pairs"]),
            (&json!(code), &json!(10))
        );
        let conclusion = page["conclusion"].as_str().expect("a sentence");
        assert!(conclusion.contains(verdict), "{page}");
        let p50 = figure(&page, "e2e p50");
        assert_eq!(p50["says"], says, "{p50}");
        let ratio = p50["ratio"].as_f64().expect("a ratio");
        assert!((ratio / e2e - 1.0).abs() < 0.03, "{p50}");
        assert_eq!(figure(&page, "ack p50")["says"], "no difference shown");
    }
}

#[test]
fn more_of_a_rate_is_better() {
    for (times, code, words) in [
        (0.8, 92, "worse beyond noise: achieved messages/s"),
        (1.25, 0, "better: achieved messages/s"),
    ] {
        let runs = Runs::new();
        runs.side("a", 10, 1.0);
        for n in 0..10 {
            let mut made = Made::nth(2 * n + 1, 50_000.0);
            let rate = made.summary["rates"]["achieved"].as_f64().expect("a rate");
            made.summary["rates"]["achieved"] = json!(rate * times);
            runs.write(&format!("b/{n}"), &made);
        }
        check(&runs.compare(&[]), code, &[words]);
    }
}

#[test]
fn certain_and_within_noise_is_inconclusive() {
    let runs = Runs::new();
    runs.side("a", 10, 1.0);
    runs.side("b", 10, 1.3);
    let done = runs.compare(&["--floor", "0.3"]);
    check(
        &done,
        93,
        &["worse, or noise: e2e p50, e2e p99", "more pairs"],
    );
    check(&runs.compare(&["--floor", "0.5"]), 0, &[]);
}

#[test]
fn what_was_not_taken_in_turns_is_not_judged() {
    let runs = Runs::new();
    runs.side("a", 10, 1.0);
    for n in 0..10 {
        let mut made = Made::nth(n, 90_000.0);
        made.env["ended_unix_s"] = json!(5_000 + n);
        runs.write(&format!("b/{n}"), &made);
    }
    check(&runs.compare(&[]), 93, &["not taken in turns"]);
}

#[test]
fn few_pairs_have_a_ratio_and_no_more() {
    let runs = Runs::new();
    runs.write("a", &Made::nth(0, 50_000.0));
    runs.write("b", &Made::nth(0, 100_000.0));
    let words = [
        "one pair says nothing about noise",
        "e2e p50 48.50 ms 97.00 ms 2.000",
        "--with",
    ];
    check(&runs.compare(&[]), 93, &words);
    let runs = Runs::new();
    runs.side("a", 9, 1.0);
    runs.side("b", 9, 2.0);
    check(&runs.compare(&[]), 93, &["9 pairs say too little"]);
}

#[test]
fn what_is_not_alike_is_not_compared() {
    type Edit = fn(&mut Made);
    let cases: [(Edit, &str, &str); 7] = [
        (
            |it| it.lock = it.lock.replace("users = 12", "users = 14"),
            "population.users is 12 in A, 14 in B",
            "population.users",
        ),
        (
            |it| it.lock = it.lock.replace("contacts = 4\n", ""),
            "traffic.contacts is 4 in A, not there in B",
            "traffic.contacts",
        ),
        (
            |it| it.env["kernel"] = json!("6.2"),
            "env.kernel is 6.1 in A, 6.2 in B",
            "env.kernel",
        ),
        (
            |it| it.env["build"] = json!("debug"),
            "env.build is debug in B, release in A",
            "env.build",
        ),
        (
            |it| it.env["gateway_durability"] = json!("os"),
            "env.gateway_durability is not said in A, os in B",
            "env.gateway_durability",
        ),
        (
            |it| it.env["gateway"] = json!("ws://127.0.0.1:7/v1/ws"),
            "env.gateway is a --target in B",
            "env.gateway",
        ),
        (
            |it| it.summary["verdict"] = json!("invalid"),
            "the verdict of the run is invalid, so its figures do not count",
            "",
        ),
    ];
    for (edit, words, key) in cases {
        let runs = Runs::new();
        runs.write("a", &Made::nth(0, 50_000.0));
        let mut made = Made::nth(1, 50_000.0);
        edit(&mut made);
        runs.write("b", &made);
        let done = runs.compare(&[]);
        check(&done, 93, &["These cannot be compared", words]);
        assert!(!done.stdout.contains("e2e"), "{}", done.stdout);
        // On purpose.
        let done = runs.compare(&["--vary", key]);
        assert_eq!(
            done.stdout.contains("e2e p50"),
            !key.is_empty(),
            "{}",
            done.stdout
        );
    }
}

#[test]
fn what_is_varied_is_the_name_of_something() {
    let runs = Runs::new();
    runs.write("a", &Made::nth(0, 50_000.0));
    runs.write("b", &Made::nth(1, 50_000.0));
    for (name, words) in [
        ("client.thraeds", "did you mean `client.threads`?"),
        ("env.kernal", "did you mean `env.kernel`?"),
        ("12345", "scenario.lock.toml of a run has them"),
    ] {
        let done = runs.compare(&["--vary", name]);
        assert_eq!(done.code, Some(104), "{}", done.stdout);
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
}

#[test]
fn what_changes_no_load_is_only_said() {
    let runs = Runs::new();
    runs.write("a", &Made::nth(0, 50_000.0));
    let mut made = Made::nth(1, 50_000.0);
    made.lock = made
        .lock
        .replace("seed = 7", "seed = 8")
        .replace("count==0", "count<9");
    made.summary["verdict"] = json!("threshold");
    runs.write("b", &made);
    let words = [
        "seed is 7 in A, 8 in B: it does not change the load",
        "thresholds.lost",
        "e2e p99",
    ];
    check(&runs.compare(&[]), 93, &words);
}

#[test]
fn a_broken_promise_goes_before_all_else() {
    let runs = Runs::new();
    runs.side("a", 10, 1.0);
    runs.side("b", 10, 1.3);
    let mut made = Made::nth(9, 50_000.0);
    made.summary["verdict"] = json!("violation");
    made.summary["violations"] = json!({ "lost": 3 });
    made.env["kernel"] = json!("other");
    runs.write("b/04", &made);
    check(
        &runs.compare(&[]),
        91,
        &["b/04: lost: 3", "broke a promise"],
    );
}

#[test]
fn bad_command_lines_are_refused() {
    let runs = Runs::new();
    runs.side("a", 2, 1.0);
    runs.side("b", 3, 1.0);
    let (a, b) = (runs.path("a"), runs.path("b"));
    let (a, b) = (text(&a), text(&b));
    let empty = tempfile::tempdir().expect("a folder");
    let damaged = runs.path("c");
    runs.write("c", &Made::nth(0, 1.0));
    std::fs::write(damaged.join("env.json"), "{").expect("a file is written");
    let old = runs.path("d");
    runs.write("d", &Made::nth(0, 1.0));
    std::fs::remove_file(old.join("env.json")).expect("a file is removed");
    for (args, words) in [
        (&[][..], &["<DIR>"][..]),
        (&[a], &["--with"]),
        (&[a, b, b], &["3 folders", "--with"]),
        (&[a, b], &["A has 2 runs and B has 3"]),
        (&[a, a], &["given twice"]),
        (&[a, "nowhere"], &["nowhere", "--out DIR"]),
        (&[a, text(empty.path())], &["no results of a run"]),
        (&[text(&damaged), a], &["env.json", "damaged"]),
        (&[text(&old), a], &["env.json", "older"]),
        (&[a, b, "--floor", "2"], &["--floor 2", "0.5"]),
    ] {
        let done = Loadgen::start("", &[&["compare"], args].concat()).done();
        done.expect_refused(104, words);
    }
}

#[test]
fn runs_that_took_place_are_compared() {
    let fake = Fake::start(Conduct::Honest);
    let done = ["", ""].map(|_| {
        let done = Loadgen::run(&scenario(&[]), &["--target", &fake.url()]).done();
        done.expect(0, "ok");
        done
    });
    let [a, b] = done.each_ref().map(Done::results);
    let compared = Loadgen::start("", &["compare", text(&a), text(&b)]).done();
    let mut words = String::new();
    let _ = write!(words, "1 pair of test A {} B {}", a.display(), b.display());
    let figures = ["achieved messages/s", "e2e p99", "generator CPU/message"];
    check(&compared, 93, &[&[&*words], &figures[..]].concat());
}
