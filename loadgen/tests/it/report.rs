//! The files of a run agree with its summary.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::fake::Fake;
use crate::fake_conduct::{Conduct, Lie};
use crate::harness::{Done, Loadgen, number, scenario};

/// A threshold that no run holds.
const MISSED: (&str, &str) = (
    "lost = [\"count==0\"]",
    "lost = [\"count==0\"]\nack = [\"max<1us\"]",
);

fn run(edits: &[(&str, &str)]) -> Done {
    let fake = Fake::start(Conduct::Honest);
    Loadgen::run(&scenario(edits), &["--target", &fake.url()]).done()
}

fn text(folder: &Path, name: &str) -> String {
    let file = folder.join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()))
}

/// Returns a copy of a run's folder beside it.
fn copy(from: &Path, name: &str) -> PathBuf {
    let to = from.with_file_name(name);
    std::fs::create_dir(&to).expect("a folder is made");
    for entry in std::fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a file is copied");
    }
    to
}

fn report(folders: &[&Path]) -> Done {
    let folders = folders.iter().map(|it| it.to_str().expect("a path"));
    let args: Vec<_> = std::iter::once("report").chain(folders).collect();
    Loadgen::start("", &args).done()
}

/// Returns a column of `intervals.csv`; empty cells are left out.
fn column(csv: &str, name: &str) -> Vec<f64> {
    let mut lines = csv.lines();
    let head = lines.next().unwrap_or_default();
    let at = head.split(',').position(|it| it == name);
    let at = at.unwrap_or_else(|| panic!("no column {name} in {head}"));
    let cells = lines.filter_map(|line| line.split(',').nth(at));
    cells.filter_map(|cell| cell.parse().ok()).collect()
}

#[test]
fn intervals_and_percentiles_agree_with_the_summary() {
    // Two threads, and long enough for more than one interval.
    let done = run(&[
        ("threads = 1", "threads = 2"),
        ("duration = \"1s\"", "duration = \"3s\""),
    ]);
    let summary = done.expect(0, "ok");
    assert_eq!(summary["first_break"], Value::Null, "{summary}");
    let folder = done.results();
    let csv = text(&folder, "intervals.csv");
    let sum = |name: &str| column(&csv, name).iter().sum::<f64>();
    for count in [
        "attempted",
        "acknowledged",
        "delivered",
        "rejected",
        "disconnects",
    ] {
        assert_eq!(
            sum(count),
            number(&summary, &format!("counts.{count}")),
            "{count}: {csv}"
        );
    }
    assert!(number(&summary, "counts.attempted") > 300.0);
    assert_eq!(
        sum("sessions_opened"),
        number(&summary, "generator.connections")
    );
    let hlog = text(&folder, "latency.hlog");
    for metric in ["connect", "ack", "e2e", "send_lag"] {
        let count = number(&summary, &format!("latency_us.{metric}.count"));
        assert_eq!(sum(&format!("{metric}_count")), count, "{metric}: {csv}");
        // Two digits there, three in the summary.
        let most = column(&csv, &format!("{metric}_max_us"))
            .into_iter()
            .fold(0.0, f64::max);
        let max = number(&summary, &format!("latency_us.{metric}.max"));
        assert!(
            (most - max).abs() <= max * 0.01 + 1.0,
            "{metric}: {most} and {max}"
        );
        percentiles(&text(&folder, &format!("{metric}.hgrm")), &summary, metric);
        let counts = column(&csv, &format!("{metric}_count"));
        let intervals = counts.iter().filter(|count| **count > 0.0).count();
        let logged = hlog
            .lines()
            .filter(|it| it.starts_with(&format!("Tag={metric},")));
        assert_eq!(logged.count(), intervals, "{metric}: {hlog}");
    }
    let (from, to) = (column(&csv, "from_s"), column(&csv, "to_s"));
    assert!(from.len() >= 3, "{csv}");
    assert_eq!(from[0], 0.0);
    assert_eq!(
        from[1..],
        to[..to.len() - 1],
        "intervals follow each other: {csv}"
    );
    // A run does not know the memory and CPU of a gateway that it did not start.
    assert!(column(&csv, "gateway_rss_bytes").is_empty(), "{csv}");
    assert!(
        column(&csv, "generator_rss_bytes")
            .iter()
            .all(|bytes| *bytes > 0.0)
    );
    let env: Value = serde_json::from_str(&text(&folder, "env.json")).expect("env.json is JSON");
    assert!(
        env["processors"].as_u64() > Some(0) && env["kernel"].is_string(),
        "{env}"
    );
    let lock = text(&folder, "scenario.lock.toml");
    assert!(lock.contains("ramping-connections"), "{lock}");
}

/// Checks that a percentile file rises, counts all values at its end, and has the summary's
/// figures.
fn percentiles(hgrm: &str, summary: &Value, metric: &str) {
    let of = |name: &str| number(summary, &format!("latency_us.{metric}.{name}"));
    let lines = hgrm.lines().skip(1);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let points: Vec<Vec<f64>> = lines
        .map(|line| {
            line.split_whitespace()
                .filter_map(|cell| cell.parse().ok())
                .collect()
        })
        .collect();
    let rises = |at: usize| points.windows(2).all(|pair| pair[0][at] <= pair[1][at]);
    assert!(rises(0) && rises(1) && rises(2), "{metric}: {hgrm}");
    let last = points.last().expect("there are points");
    assert_eq!(
        (last[0], last[1], last[2]),
        (of("max"), 1.0, of("count")),
        "{metric}: {hgrm}"
    );
    let median = points
        .iter()
        .find(|point| point[1] >= 0.5)
        .expect("a median");
    assert_eq!(median[0], of("p50"), "{metric}: {hgrm}");
    assert!(
        hgrm.contains(&format!("Total count    = {:12}]", of("count"))),
        "{hgrm}"
    );
}

/// Checks that a page loads nothing from elsewhere.
#[track_caller]
fn self_contained(html: &str) {
    // The name of SVG's vocabulary is no address that is looked up.
    let html = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for word in [
        "<script", "<link", "<img", "<iframe", "@import", "url(", " src=\"", " href=\"", "://",
    ] {
        assert!(!html.contains(word), "{word}");
    }
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
    assert_eq!(
        html.matches("<section>").count(),
        html.matches("</section>").count()
    );
    assert!(html.contains("prefers-color-scheme: dark") && html.contains("viewport"));
}

#[test]
fn a_page_is_one_file_and_names_each_run() {
    let done = run(&[MISSED]);
    let summary = done.expect(99, "threshold");
    let rule = summary["first_break"]["rule"].as_str();
    assert_eq!(rule, Some("ack: max<1us"), "{summary}");
    assert!(number(&summary, "first_break.at_s") < number(&summary, "sending_seconds") + 60.0);
    let folder = done.results();
    let html = text(&folder, "report.html");
    self_contained(&html);
    assert!(html.contains("First over a limit after"), "{html}");
    assert!(html.contains("stroke=\"#030303\""), "the break is marked");
    assert!(
        html.contains("<li>ack: max&lt;1us does not hold"),
        "the verdict has its reason: {html}"
    );
    for title in [
        "Offered and achieved",
        "Percentiles",
        "Send lag",
        "Sessions",
        "CPU",
        "Memory",
    ] {
        let section = html
            .split("<section>")
            .find(|it| it.starts_with(&format!("<h2>{title}<")));
        let section = section.unwrap_or_else(|| panic!("no section {title}"));
        assert!(
            section.contains("<polyline"),
            "{title} has a line: {section}"
        );
    }

    // Names are text, wherever they come from.
    let odd = copy(&folder, "b&<i>odd");
    let evil = text(&odd, "summary.json").replace("\"test\"", "\"<script src='//x'>\"");
    assert!(
        evil.contains("<script"),
        "the scenario's name is in the summary: {evil}"
    );
    std::fs::write(odd.join("summary.json"), evil).expect("it is written");
    let both = report(&[&folder, &odd]);
    assert_eq!(both.code, Some(0), "{}", both.stderr);
    let html = text(&folder, "compared.html");
    self_contained(&html);
    assert!(!html.contains("<i>odd"), "{html}");
    let names = [
        "test (out)",
        "&lt;script src=&#39;//x&#39;&gt; (b&amp;&lt;i&gt;odd)",
    ];
    for name in names {
        assert!(html.contains(&format!("<th>{name}</th>")), "{name}");
        assert!(html.contains(&format!("</i>{name}: p99</li>")), "{name}");
    }
    assert!(html.contains("stroke=\"#000010\"") && html.contains("stroke=\"#000011\""));
    // Whose break it is shows.
    assert!(html.contains("stroke=\"#030310\"") && html.contains("stroke=\"#030311\""));
}

#[test]
fn results_of_an_earlier_run_are_gone() {
    let lying = Fake::start(Conduct::Lie(Lie::RepeatPush));
    let url = lying.url();
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    let folder = out.to_str().expect("a path");
    let run = |target: &[&str]| {
        let args = ["run", "SCENARIO", "--no-tui", "--out", folder];
        Loadgen::start(&scenario(&[]), &[&args[..], target].concat()).done()
    };
    let first = run(&["--target", &url]);
    assert_eq!(first.code, Some(91), "{}", first.stderr);
    assert!(!first.stdout.contains("earlier run"), "{}", first.stdout);
    assert!(out.join("violations.jsonl").exists());
    std::fs::write(out.join("notes.md"), "mine").expect("it is written");
    std::fs::write(out.join("hold.json"), "{}").expect("it is written");

    let honest = Fake::start(Conduct::Honest);
    let second = run(&["--target", &honest.url()]);
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert!(
        second
            .stdout
            .contains("the results of an earlier run are replaced"),
        "{}",
        second.stdout
    );
    assert!(!out.join("violations.jsonl").exists());
    assert!(!out.join("hold.json").exists());
    // What is not a run's stays.
    assert_eq!(text(&out, "notes.md"), "mine");

    // A run that does not end well also replaces the earlier files.
    let refuses = Fake::start(Conduct::Refuse);
    drop(honest);
    let third = run(&["--target", &refuses.url(), "--duration", "1s"]);
    assert_eq!(third.code, Some(105), "{}", third.stderr);
    let summary = text(&out, "summary.json");
    assert!(summary.contains("aborted"), "{summary}");
}

#[test]
fn what_is_no_run_is_refused_with_the_mend() {
    let done = run(&[]);
    let summary = done.expect(0, "ok");
    let folder = done.results();
    let check = |edit: &dyn Fn(&Path), words: &[&str]| {
        let name = format!("copy-{}", words.join("-").replace('/', "-"));
        let copy = copy(&folder, &name);
        edit(&copy);
        report(&[&folder, &copy]).expect_refused(104, words);
    };
    let write = |name: &'static str, text: &'static str| {
        move |dir: &Path| std::fs::write(dir.join(name), text).expect("it is written")
    };
    let remove = |name: &'static str| {
        move |dir: &Path| std::fs::remove_file(dir.join(name)).expect("it is removed")
    };
    let again = "run the scenario again";
    check(
        &remove("summary.json"),
        &["summary.json", "no results", "--out"],
    );
    check(
        &write("summary.json", "{"),
        &["summary.json", "damaged", again],
    );
    check(
        &write("summary.json", "{\"schema\":99}"),
        &["schema 99", "use the loadgen that wrote it"],
    );
    check(
        &remove("intervals.csv"),
        &["intervals.csv", "older loadgen", again],
    );
    check(
        &write("intervals.csv", "from_s,to_s\n"),
        &["no column", again],
    );
    check(&remove("ack.hgrm"), &["ack.hgrm", "older loadgen", again]);
    check(
        &write("e2e.hgrm", "Value\n\nx y z\n"),
        &["e2e.hgrm", "line 3", again],
    );
    let csv = text(&folder, "intervals.csv");
    let cut = csv.trim_end().rsplit_once(',').expect("cells").0.to_owned();
    let shorten = |dir: &Path| std::fs::write(dir.join("intervals.csv"), &cut).expect("written");
    check(&shorten, &["intervals.csv", "cells", again]);
    // Files of two runs, whichever is the older.
    let mixed = ["another run than the summary", "two runs are mixed"];
    let swap = |from: String, to: &'static str, name: &'static str| {
        move |dir: &Path| {
            let edited = text(dir, name).replacen(&from, to, 1);
            std::fs::write(dir.join(name), edited).expect("it is written");
        }
    };
    let count = format!("\"count\": {}", number(&summary, "latency_us.ack.count"));
    check(&swap(count, "\"count\": 7", "summary.json"), &mixed);
    let max = format!("\"max\": {}", number(&summary, "latency_us.e2e.max"));
    check(
        &swap(max, "\"max\": 1", "summary.json"),
        &["hgrm", mixed[0]],
    );
    check(
        &write("hold.json", "{}"),
        &["hold.json", "beside it", mixed[1]],
    );
    report(&[&*folder; 7]).expect_refused(104, &["7 folders", "6 at most"]);
    report(&[&folder.with_file_name("nowhere")]).expect_refused(104, &["no results of a run"]);
}
