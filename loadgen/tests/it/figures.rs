//! Every figure of a run's summary is the same in the terminal, in JSON and in the report.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use crate::chat::{Chat, Deceit};
use crate::harness::{Loadgen, number, scenario};

fn text(folder: &Path, name: &str) -> String {
    let file = folder.join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()))
}

/// Returns a number with its digits in groups of three.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns a time in microseconds in the unit that the summary prints.
fn micros(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// Returns a rate with as many decimals as it needs.
fn rate(number: f64) -> String {
    match number {
        n if n >= 1e3 => grouped(n),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.3}"),
    }
}

/// Returns the texts that each line of the summary must contain, by the first word of the line.
fn lines_of(summary: &Value) -> Vec<(&'static str, Vec<String>)> {
    let at = |path: &str| number(summary, path);
    let count = |name: &str| grouped(at(&format!("counts.{name}")));
    vec![
        (
            "connections ",
            vec![
                count("sessions_opened"),
                count("connect_failures"),
                count("disconnects"),
            ],
        ),
        (
            "rate ",
            vec![
                rate(at("rates.offered")),
                rate(at("rates.achieved")),
                count("acknowledged_in_time"),
                format!("{:.1} s", at("sending_seconds")),
            ],
        ),
        (
            "deliveries ",
            vec![
                rate(at("rates.deliveries")),
                count("message_pushes_in_time"),
                count("message_pushes"),
                rate(at("fan_out")),
            ],
        ),
        (
            "messages ",
            [
                "attempted",
                "acknowledged",
                "delivered",
                "to_offline",
                "rejected",
                "unknown",
            ]
            .map(count)
            .into(),
        ),
        (
            "integrity ",
            ["lost", "duplicated", "reordered", "unexpected", "recovered"]
                .map(count)
                .into(),
        ),
        (
            "read back ",
            [
                "messages_read_back",
                "conversations_read_back",
                "receipts_sent",
                "receipt_pushes",
            ]
            .map(count)
            .into(),
        ),
    ]
}

/// Checks that JSON, terminal and page agree on the CPU and memory of both sides.
fn sides(summary: &Value, line: &dyn Fn(&str) -> String, html: &str) {
    let at = |path: &str| number(summary, path);
    for side in ["gateway", "generator"] {
        let line = line(&format!("{side} "));
        let of = |name: &str| at(&format!("{side}.{name}"));
        for figure in [
            format!("{:.2} s", of("cpu_seconds")),
            format!("{:.1} µs", of("cpu_us_per_message")),
            format!("{} MiB", grouped((of("rss_bytes") / 1_048_576.0).round())),
            format!("{} B", grouped(of("bytes_per_session"))),
        ] {
            assert!(line.contains(&figure), "no {figure} in {line}");
            assert!(
                html.contains(&format!("<td>{figure}</td>")),
                "{side}: no {figure}"
            );
        }
        let grown = of("rss_bytes") - of("rss_bytes_before");
        assert_eq!(of("bytes_per_session"), (grown.max(0.0) / 12.0).floor());
    }
}

/// The units of figures in the summary, each behind its number.
const UNITS: [&str; 7] = ["µs", "ms", "s", "MiB", "B", "%", ""];

/// Returns every number of the summary in every form that a unit allows.
fn renderings(value: &Value, to: &mut HashSet<String>) {
    match value {
        Value::Number(number) => {
            let n = number.as_f64().expect("a number");
            let decimals = [
                format!("{n:.0}"),
                format!("{n:.1}"),
                format!("{n:.2}"),
                format!("{n:.3}"),
            ];
            to.extend([grouped(n), rate(n), micros(n), micros(n.floor())]);
            to.extend(decimals.iter().map(|it| format!("{it} s")));
            to.extend(decimals);
            to.extend([format!("{n:.1} µs"), format!("{} B", grouped(n))]);
            to.insert(format!("{} MiB", grouped((n / 1_048_576.0).round())));
            to.extend([format!("{:.1} %", n * 100.0), format!("{:.2} %", n * 100.0)]);
        }
        Value::Array(all) => all.iter().for_each(|it| renderings(it, to)),
        Value::Object(all) => all.values().for_each(|it| renderings(it, to)),
        _ => {}
    }
}

/// Returns the figures of a text, each with its unit.
fn figures(text: &str) -> Vec<String> {
    // A rate is a number without a unit: `175.0/s`.
    let text = text.replace("/s", " ");
    let words: Vec<_> = text
        .split([' ', '\n', '(', ')', ';', ':', '/'])
        .map(|it| it.trim_end_matches([',', '.']))
        .filter(|it| !it.is_empty())
        .collect();
    let is_number = |it: &str| {
        it.starts_with(|c: char| c.is_ascii_digit())
            && it
                .chars()
                .all(|c| c.is_ascii_digit() || c == '.' || c == ',')
    };
    let figure = |(at, word): (usize, &&str)| {
        let unit = words.get(at + 1).filter(|it| UNITS.contains(it));
        let unit = unit.map_or(String::new(), |it| format!(" {it}"));
        is_number(word).then(|| format!("{word}{unit}"))
    };
    words.iter().enumerate().filter_map(figure).collect()
}

/// Returns the cells of the first two tables of a page, which have the figures of the run.
fn cells(html: &str) -> Vec<String> {
    let tables = html.split("<table").skip(1).take(2);
    let cells = tables.flat_map(|it| it.split("<td>").skip(1));
    let texts = cells.filter_map(|it| it.split("</td>").next());
    let shown = texts.filter(|it| it.starts_with(|c: char| c.is_ascii_digit()));
    shown.map(str::to_owned).collect()
}

#[test]
fn no_figure_is_of_another_unit_or_rounding_than_in_the_json() {
    let longer = ("duration = \"1s\"", "duration = \"3s\"");
    let chat = Chat::start(Deceit::None);
    let url = chat.url();
    let foreign = ["--target", &*url, "--protocol", "bun-chat"];
    for args in [&[][..], &foreign] {
        let done = Loadgen::run(&scenario(&[longer]), args).done();
        let summary = done.expect(0, "ok");
        let folder = done.results();
        let (shown, html) = (text(&folder, "summary.txt"), text(&folder, "report.html"));
        let mut known = HashSet::new();
        renderings(&summary, &mut known);
        // The header is the arithmetic of the scenario; it ends with the line of the gateway.
        let told = figures(&shown);
        assert!(told.len() > 60, "{told:?}");
        for figure in &told {
            assert!(
                known.contains(figure),
                "{figure} is not in {summary}, but in {shown}"
            );
        }
        let cells = cells(&html);
        assert!(cells.len() > 30, "{cells:?}");
        for cell in &cells {
            assert!(
                told.contains(cell),
                "{cell} of the report is not in {shown}"
            );
        }
    }
}

#[test]
fn every_figure_is_the_same_wherever_it_stands() {
    let longer = ("duration = \"1s\"", "duration = \"3s\"");
    let gateway = Loadgen::run(&scenario(&[longer]), &[]).done();
    let summary = gateway.expect(0, "ok");
    let folder = gateway.results();
    let (shown, html) = (text(&folder, "summary.txt"), text(&folder, "report.html"));
    // The page has the whole of it, and so has the terminal.
    for line in shown.lines() {
        let escaped = line
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        assert!(html.contains(&escaped), "{line}");
        assert!(gateway.stdout.contains(line), "{line}");
    }
    let at = |path: &str| number(&summary, path);
    let line = |begins: &str| {
        let found = shown.lines().find(|line| line.starts_with(begins));
        found
            .unwrap_or_else(|| panic!("no {begins} in {shown}"))
            .to_owned()
    };
    for (begins, figures) in lines_of(&summary) {
        let line = line(begins);
        for figure in figures {
            assert!(line.contains(&figure), "no {figure} in {line}");
        }
    }
    for metric in ["connect", "ack", "e2e", "send_lag"] {
        let line = line(&format!("{metric} "));
        for percentile in ["p50", "p90", "p99", "p999", "max"] {
            let figure = micros(at(&format!("latency_us.{metric}.{percentile}")));
            assert!(line.contains(&figure), "no {figure} in {line}");
        }
        let cell = format!(
            "<td>{}</td>",
            micros(at(&format!("latency_us.{metric}.p99")))
        );
        assert!(html.contains(&cell), "no {cell}");
    }
    sides(&summary, &line, &html);
    let worst = [
        rate(at("worst_second.achieved")),
        micros(at("worst_second.e2e_p99_us")),
    ];
    for figure in worst {
        assert!(line("worst second ").contains(&figure), "no {figure}");
        assert!(html.contains(&format!("<td>{figure}</td>")), "no {figure}");
    }
    assert_eq!(at("worst_second.seconds"), 1.0);
    let put_off = line("put-off work ");
    for name in ["before", "after", "most"] {
        let mib = (at(&format!("debt.{name}")) / 1_048_576.0).round();
        assert!(
            put_off.contains(&format!("{} MiB", grouped(mib))),
            "{put_off}"
        );
    }
    let health = line("health ");
    for figure in [
        micros(at("health.send_lag_p99_us")),
        format!("{:.2} %", at("health.achieved") * 100.0),
        micros(at("health.loop_stall_us")),
        format!(
            "busiest thread {:.1} %",
            at("health.busiest_thread") * 100.0
        ),
    ] {
        assert!(health.contains(&figure), "no {figure} in {health}");
    }
    // When, where, with what, and what was asked of it.
    let env: Value = serde_json::from_str(&text(&folder, "env.json")).expect("env.json is JSON");
    let processor = env["kernel"].as_str().expect("a kernel");
    for fact in [
        processor,
        env!("CARGO_PKG_VERSION"),
        " UTC",
        "seed 7",
        "lost count==0",
        "constant-arrival-rate",
    ] {
        assert!(html.contains(fact), "no {fact}");
    }
}
