//! `loadgen report`: plots and tables of one run, or of several together.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::about::{About, FACTS};
use super::chart::{Axes, COLOURS, Chart, Line};
use super::html::{self, escape, page, table};
use super::results::{self, AGAIN, MIXED, OLD};
use super::{spectrum, whole};
use crate::args::ReportArgs;
use crate::course::{Table, Worst, figure};
use crate::debt;
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::output::say;
use crate::stats::OVER_TIME;
use crate::units::{counted, each_bytes, memory, micros, readable};

/// The content of a run's folder.
#[derive(Debug)]
struct Run {
    name: String,
    summary: Value,
    about: About,
    /// The summary for people, if the folder has it.
    text: Option<String>,
    table: Table,
    /// The percentiles of each latency, in the order of [`OVER_TIME`].
    spectra: Vec<Vec<(f64, f64)>>,
}

/// Writes the report that a command line asks for.
///
/// # Errors
/// A folder is not that of a run or cannot be read (exit 104), or the file cannot be written (exit
/// 105).
pub(crate) fn run(args: &ReportArgs) -> Outcome<Exit> {
    if args.dirs.len() > COLOURS {
        return Err(Failure::scenario(format!(
            "{} folders are too many: {COLOURS} at most fit into a plot; leave some out",
            args.dirs.len()
        )));
    }
    let (dirs, name) = match &args.dirs[..] {
        [one] if results::is_search(one) => (results::trials_of(one, COLOURS)?, "report.html"),
        [_] => (args.dirs.clone(), "report.html"),
        _ => (args.dirs.clone(), "compared.html"),
    };
    let runs = dirs
        .iter()
        .map(|dir| read(dir, results::summary_of(dir)?))
        .collect::<Outcome<Vec<_>>>()?;
    let beside = args.dirs.first().map(|dir| dir.join(name));
    let out = args
        .out
        .clone()
        .or(beside)
        .unwrap_or_else(|| PathBuf::from(name));
    write(&out, &runs, |why| {
        let out = out.display();
        Failure::aborted(format!(
            "cannot write {out}: {why}; free some space, or name another file with --out"
        ))
    })?;
    say(&[format!("report: {}", out.display())]);
    Ok(Exit::Ok)
}

/// Writes `report.html` into a run's folder, which has everything but the summary.
///
/// # Errors
/// The folder cannot be read or written.
pub(crate) fn page_of(folder: &Path, summary: &Value) -> Outcome<()> {
    let run = read(folder, summary.clone())?;
    let file = folder.join("report.html");
    write(&file, &[run], |why| files::unwritten(&file, why))
}

fn write(file: &Path, runs: &[Run], fail: impl Fn(&io::Error) -> Failure) -> Outcome<()> {
    if file.is_file() && !html::is_ours(file) {
        return Err(Failure::scenario(format!(
            "{} exists and is not a report of loadgen: name another file with --out, or move that file",
            file.display()
        )));
    }
    files::put(file, html(runs).as_bytes()).map_err(|why| fail(&why))
}

/// Reads the files beside a summary.
fn read(folder: &Path, summary: Value) -> Outcome<Run> {
    let bad = |name: &str, why: &str, mend: &str| results::bad(folder, name, why, mend);
    let text = |name: &str| std::fs::read_to_string(folder.join(name));
    let csv = text("intervals.csv").map_err(|why| bad("intervals.csv", &why.to_string(), OLD))?;
    let table = Table::parse(&csv).map_err(|why| bad("intervals.csv", &why, AGAIN))?;
    let spectra = OVER_TIME.iter().map(|metric| {
        let name = format!("{}.hgrm", metric.name());
        let text = text(&name).map_err(|why| bad(&name, &why.to_string(), OLD))?;
        spectrum::parse(&text).map_err(|why| bad(&name, &why, AGAIN))
    });
    let spectra = spectra.collect::<Outcome<Vec<_>>>()?;
    whole::one_run(&summary, &table, &spectra)
        .map_err(|other| bad(&other.file, &other.why, MIXED))?;
    let label = folder.file_name().unwrap_or(folder.as_os_str());
    let scenario = summary["scenario"].as_str().unwrap_or("a run");
    Ok(Run {
        name: format!("{scenario} ({})", label.to_string_lossy()),
        about: About::read(folder)?,
        text: results::text_of(folder),
        spectra,
        summary,
        table,
    })
}

impl Run {
    /// Returns a column over time. Counts stand at the middle of each interval, and states at its
    /// end.
    fn over_time(&self, column: &str, source: Source) -> Vec<(f64, f64)> {
        let (from, to) = (self.table.column("from_s"), self.table.column("to_s"));
        let spans = from.into_iter().zip(to);
        let points = spans.zip(self.table.column(column));
        let point = |((from, to), value): ((f64, f64), f64)| match source {
            Source::State => (to, value),
            Source::PerSecond => (f64::midpoint(from, to), value / (to - from).max(1e-3)),
            _ => (f64::midpoint(from, to), value),
        };
        points.map(point).collect()
    }

    /// Returns the percentiles of a latency, each by the reciprocal of the part above it.
    fn spectrum(&self, metric: &str) -> Vec<(f64, f64)> {
        let at = OVER_TIME.iter().position(|it| it.name() == metric);
        let points = at.map_or(&[][..], |at| &self.spectra[at]);
        let points = points.iter().filter(|(part, _)| *part < 1.0);
        points.map(|(part, us)| (1.0 / (1.0 - part), *us)).collect()
    }

    /// Returns the reasons of the verdict, in sentences.
    fn why(&self) -> Vec<String> {
        let violations = self.summary["violations"].as_object().into_iter().flatten();
        let violations = violations.map(|(kind, count)| format!("broken promise: {kind} {count}"));
        let lists = [
            &self.summary["health"]["faults"],
            &self.summary["thresholds_missed"],
            &self.summary["not_steady"],
            &self.summary["doubts"],
            &self.summary["notes"],
        ];
        let texts = |list: &Value| {
            let list = list.as_array().into_iter().flatten();
            let texts = list.filter_map(Value::as_str).map(str::to_owned);
            texts.collect::<Vec<_>>()
        };
        let sentences = lists.into_iter().flat_map(texts);
        let not_checked = texts(&self.summary["not_checked"]).into_iter();
        let not_checked = not_checked.map(|what| format!("not checked: {what}"));
        violations.chain(sentences).chain(not_checked).collect()
    }

    /// Returns when the run broke first, and which rule.
    fn first_break(&self) -> Option<(f64, String)> {
        let found = &self.summary["first_break"];
        let what = [&found["rule"], &found["what"]].map(|it| it.as_str().unwrap_or_default());
        Some((
            found["at_s"].as_f64()?,
            format!("{} ({})", what[1], what[0]),
        ))
    }
}

/// The question that a plot answers, with at most two figures: a thick line for the first and a
/// thin line for the second.
struct Question {
    title: &'static str,
    /// What the plot shows.
    about: &'static str,
    figures: &'static [(&'static str, &'static str)],
    source: Source,
    axes: Axes,
    unit: fn(f64) -> String,
}

#[derive(Clone, Copy)]
enum Source {
    Column,
    State,
    PerSecond,
    Spectrum,
}

#[rustfmt::skip]
const QUESTIONS: [Question; 9] = [
    Question { title: "Offered and achieved", about: "Messages per second: scheduled, and acknowledged.",
        figures: &[("offered", "scheduled"), ("achieved", "acknowledged")],
        source: Source::PerSecond, axes: Axes::Time, unit: amount },
    Question { title: "Latency to the push (e2e)", about: "From the intended time of a send to its push, in each interval.",
        figures: &[("p99", "e2e_p99_us"), ("p50", "e2e_p50_us")], source: Source::Column, axes: Axes::TimeLog, unit: time },
    Question { title: "Latency to the answer (ack)", about: "From the intended time of a send to its answer, in each interval.",
        figures: &[("p99", "ack_p99_us"), ("p50", "ack_p50_us")], source: Source::Column, axes: Axes::TimeLog, unit: time },
    Question { title: "Percentiles", about: "The whole run: the latency that 1 in 10, 100, 1,000 … messages exceeded.",
        figures: &[("e2e", "e2e"), ("ack", "ack")], source: Source::Spectrum, axes: Axes::Spectrum, unit: time },
    Question { title: "Send lag", about: "The lag of the generator itself.",
        figures: &[("p99", "send_lag_p99_us"), ("max", "send_lag_max_us")], source: Source::Column, axes: Axes::TimeLog, unit: time },
    Question { title: "Sessions", about: "Sessions open at the end of each interval.",
        figures: &[("open", "sessions")], source: Source::State, axes: Axes::Time, unit: amount },
    Question { title: "Opening sessions", about: "Sessions opened per second, and those that ended early.",
        figures: &[("opened", "sessions_opened"), ("ended early", "disconnects")],
        source: Source::PerSecond, axes: Axes::Time, unit: amount },
    Question { title: "CPU", about: "Cores in use by each side; the gateway's only if the run started it.",
        figures: &[("gateway", "gateway_cpu_s"), ("generator", "generator_cpu_s")],
        source: Source::PerSecond, axes: Axes::Time, unit: cores },
    Question { title: "Memory", about: "Resident memory of each side.",
        figures: &[("gateway", "gateway_rss_bytes"), ("generator", "generator_rss_bytes")],
        source: Source::State, axes: Axes::Time, unit: mebibytes },
];

fn time(us: f64) -> String {
    micros(us.round() as u64).replace(".00 ", " ")
}

fn amount(n: f64) -> String {
    match n.fract() {
        0.0 => counted(n),
        _ if n < 10.0 => format!("{n:.2}"),
        _ if n < 1e3 => format!("{n:.1}"),
        _ => counted(n.round()),
    }
}

fn cores(n: f64) -> String {
    format!("{n:.2}")
}

fn mebibytes(bytes: f64) -> String {
    memory(bytes as u64)
}

fn bytes_each(bytes: f64) -> String {
    each_bytes(bytes as u64)
}

fn html(runs: &[Run]) -> String {
    let names = runs.iter().map(|run| &*run.name).collect::<Vec<_>>();
    let mut body = verdicts(runs);
    let SideBySide { figures, latencies } = side_by_side(runs);
    body += &format!(
        "<div class=\"tables\">\n{}{}</div>\n",
        table(&figures),
        table(&latencies)
    );
    body += &facts(runs);
    body += "<div class=\"plots\">\n";
    for question in &QUESTIONS {
        body += &section(runs, question);
    }
    body += "</div>\n";
    body += &texts(runs);
    body += "<p>Latencies count from the intended time of a send, so that a slow gateway \
             cannot hide its queue. Beside this file: intervals.csv, *.hgrm, latency.hlog.</p>\n";
    page(&names.join(", "), &body)
}

/// Returns the summary of each run as it was printed.
fn texts(runs: &[Run]) -> String {
    let texts = runs
        .iter()
        .filter_map(|run| Some((&run.name, run.text.as_ref()?)));
    let each = texts.map(|(name, text)| {
        let (name, text) = (escape(name), escape(text.trim()));
        format!("<details><summary>all figures of {name}</summary><div class=\"wide\"><pre>{text}</pre></div></details>\n")
    });
    each.collect()
}

/// Returns the facts of each run.
fn facts(runs: &[Run]) -> String {
    let facts: Vec<_> = runs
        .iter()
        .map(|run| run.about.facts(&run.summary))
        .collect();
    let head = std::iter::once(String::new()).chain(runs.iter().map(|run| run.name.clone()));
    let mut rows = vec![head.collect::<Vec<_>>()];
    for (number, name) in FACTS.iter().enumerate() {
        let cells = facts.iter().map(|of_run| of_run[number].clone());
        rows.push(std::iter::once((*name).to_owned()).chain(cells).collect());
    }
    format!("<div class=\"about\">{}</div>\n", table(&rows))
}

/// Returns a sentence or two on each run.
fn verdicts(runs: &[Run]) -> String {
    let mut html = String::new();
    for run in runs {
        let verdict = run.summary["verdict"].as_str().unwrap_or("unknown");
        let class = if verdict == "ok" { "good" } else { "bad" };
        let (name, verdict) = (escape(&run.name), escape(verdict));
        html += &format!("<p><strong>{name}</strong>: <span class=\"{class}\">{verdict}</span>");
        html += &match run.first_break() {
            Some((at, what)) => {
                let held = match verdict.as_ref() {
                    "ok" => "; the run as a whole held it",
                    _ => "",
                };
                format!(
                    ". First over a limit after {at:.0} s: {}{held}",
                    escape(&what)
                )
            }
            None => ". No interval was over a limit".to_owned(),
        };
        html += ".</p>\n";
        let why = run.why();
        if !why.is_empty() {
            let items = why.iter().map(|why| format!("<li>{}</li>\n", escape(why)));
            html += &format!("<ul class=\"why\">\n{}</ul>\n", items.collect::<String>());
        }
    }
    html
}

/// The cells of two tables, row by row. The first row has the names of the runs.
struct SideBySide {
    /// Counts, and the use of resources.
    figures: Vec<Vec<String>>,
    latencies: Vec<Vec<String>>,
}

/// Returns a row: its name, and a figure of the summary of each run.
fn row(runs: &[Run], name: &str, path: &str, unit: fn(f64) -> String) -> Vec<String> {
    let values = runs.iter().map(|run| figure(&run.summary, path));
    let values = values.map(|value| value.map_or("–".to_owned(), unit));
    std::iter::once(name.to_owned()).chain(values).collect()
}

/// Returns the figures of the runs side by side.
fn side_by_side(runs: &[Run]) -> SideBySide {
    let names = runs.iter().map(|run| run.name.clone());
    let head: Vec<_> = std::iter::once(String::new()).chain(names).collect();
    let (mut figures, mut latencies) = (vec![head.clone()], vec![head]);
    figures.extend(amounts(runs));
    figures.extend(of_sides(runs));
    figures.extend(put_off(runs));
    latencies.extend(of_latencies(runs));
    SideBySide { figures, latencies }
}

/// Returns the rows of rates and counts.
fn amounts(runs: &[Run]) -> Vec<Vec<String>> {
    let worst = format!("achieved per second, {}", Worst::name(worst_width(runs)));
    let rates = [
        ("offered per second", "rates.offered"),
        ("achieved per second", "rates.achieved"),
        (&worst, "worst_second.achieved"),
        ("deliveries per second", "rates.deliveries"),
        ("pushes for each message", "fan_out"),
    ];
    let rates = rates.map(|(name, path)| row(runs, name, path, readable));
    let counts = [
        "attempted",
        "acknowledged",
        "delivered",
        "lost",
        "duplicated",
        "reordered",
        "unexpected",
        "unknown",
        "unknown_then_delivered",
        "cuts",
        "resumed",
        "gone",
    ];
    let counts = counts.map(|count| {
        let path = format!("counts.{count}");
        row(runs, &count.replace('_', " "), &path, amount)
    });
    rates.into_iter().chain(counts).collect()
}

/// Returns the rows of latencies.
fn of_latencies(runs: &[Run]) -> Vec<Vec<String>> {
    let usual = ["e2e", "ack", "send_lag", "connect"];
    let of_some = ["e2e_group", "resume", "storm_recovery", "held"]
        .into_iter()
        .filter(|metric| {
            let path = format!("latency_us.{metric}.count");
            let mut counts = runs.iter().filter_map(|run| figure(&run.summary, &path));
            counts.any(|count| count > 0.0)
        });
    let time = |us: f64| micros(us as u64);
    let worst = format!("e2e p99, {}", Worst::name(worst_width(runs)));
    let mut rows = vec![row(runs, &worst, "worst_second.e2e_p99_us", time)];
    for metric in usual.into_iter().chain(of_some) {
        for (name, at) in [
            ("p50", "p50"),
            ("p99", "p99"),
            ("p99.9", "p999"),
            ("max", "max"),
        ] {
            let name = format!("{} {name}", metric.replace('_', " "));
            rows.push(row(runs, &name, &format!("latency_us.{metric}.{at}"), time));
        }
    }
    rows.extend(between_agents(runs));
    rows
}

/// Returns the rows of the latencies between agents; none if no run has them.
fn between_agents(runs: &[Run]) -> Vec<Vec<String>> {
    let has = |run: &Run| run.summary["between_agents"]["latency_us"].is_object();
    if !runs.iter().any(has) {
        return Vec::new();
    }
    let time = |us: f64| micros(us as u64);
    let of = [
        ("e2e between agents p50", "latency_us.p50"),
        ("e2e between agents p99", "latency_us.p99"),
        ("e2e between agents max", "latency_us.max"),
        ("e2e between agents ±", "uncertainty_us"),
    ];
    of.map(|(name, path)| row(runs, name, &format!("between_agents.{path}"), time))
        .into()
}

/// Returns the rows of what both sides used.
fn of_sides(runs: &[Run]) -> Vec<Vec<String>> {
    type Unit = fn(f64) -> String;
    let each: [(&str, &str, Unit); 4] = [
        ("CPU", "cpu_seconds", |seconds| format!("{seconds:.2} s")),
        ("CPU per message", "cpu_us_per_message", |us| {
            format!("{us:.1} µs")
        }),
        ("memory at the end", "rss_bytes", mebibytes),
        ("memory per session", "bytes_per_session", bytes_each),
    ];
    let sides = ["gateway", "generator"].into_iter();
    let rows = sides.flat_map(|side| {
        each.map(|(name, key, unit)| {
            row(
                runs,
                &format!("{side}: {name}"),
                &format!("{side}.{key}"),
                unit,
            )
        })
    });
    rows.collect()
}

/// Returns the width of the widest interval of the runs, in seconds.
fn worst_width(runs: &[Run]) -> f64 {
    let widths = runs
        .iter()
        .filter_map(|run| figure(&run.summary, "worst_second.seconds"));
    widths.reduce(f64::max).unwrap_or(1.0)
}

/// Returns the rows of the work that servers put off, in the unit of each run's metrics; none if no run
/// knows it.
fn put_off(runs: &[Run]) -> Vec<Vec<String>> {
    if runs.iter().all(|run| run.summary["debt"].is_null()) {
        return Vec::new();
    }
    let cell = |run: &Run, path: &str| {
        let metrics = run.summary["debt"]["metrics"].as_array();
        let names = metrics.into_iter().flatten().filter_map(Value::as_str);
        let owed = figure(&run.summary, path);
        owed.map_or("–".to_owned(), |owed| debt::amount(names, owed))
    };
    let amounts = [
        ("put-off work before", "debt.before"),
        ("put-off work at the end", "debt.after"),
        ("put-off work at the most", "debt.most"),
    ];
    let amounts = amounts.map(|(name, path)| {
        let cells = runs.iter().map(|run| cell(run, path));
        std::iter::once(name.to_owned()).chain(cells).collect()
    });
    let done = row(runs, "put-off work: done in", "debt.seconds", |seconds| {
        format!("{seconds:.1} s")
    });
    amounts.into_iter().chain([done]).collect()
}

fn section(runs: &[Run], question: &Question) -> String {
    let mut lines = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        for (i, (figure, column)) in question.figures.iter().enumerate() {
            lines.push(Line {
                name: match runs.len() {
                    1 => (*figure).to_owned(),
                    _ => format!("{}: {figure}", run.name),
                },
                // One run: a colour per figure. Several: one per run.
                colour: if runs.len() == 1 { i } else { number },
                thin: i > 0,
                points: match question.source {
                    Source::Spectrum => run.spectrum(column),
                    source => run.over_time(column, source),
                },
            });
        }
    }
    let in_time = question.axes != Axes::Spectrum;
    let breaks = runs
        .iter()
        .enumerate()
        .filter(|_| in_time)
        .filter_map(|(number, run)| Some((number, run.first_break()?)));
    let (mut marks, mut legend) = (Vec::new(), String::new());
    for line in &lines {
        let (thin, name) = (if line.thin { "thin" } else { "" }, escape(&line.name));
        legend += &format!("<li><i class=\"c{} {thin}\"></i>{name}</li>\n", line.colour);
    }
    for (number, (at, _)) in breaks {
        let several = runs.len() > 1;
        marks.push((at, several.then_some(number)));
        let (class, of) = match several {
            true => (
                format!("c{number}"),
                format!(": {}", escape(&runs[number].name)),
            ),
            false => ("bad".to_owned(), String::new()),
        };
        legend += &format!("<li><i class=\"mark {class}\"></i>first over a limit{of}</li>\n");
    }
    let (title, about) = (escape(question.title), escape(question.about));
    let chart = Chart {
        lines,
        marks,
        axes: question.axes,
        unit: question.unit,
    };
    let svg = chart.svg();
    let plot = svg.map_or("<p>Nothing was measured.</p>".to_owned(), |svg| {
        let label = format!("<svg role=\"img\" aria-label=\"{title}\" ");
        format!("<figure>{}</figure>", svg.replacen("<svg ", &label, 1))
    });
    format!(
        "<section><h2>{title}</h2><p>{about}</p>\n<ul class=\"legend\">\n{legend}</ul>\n{plot}</section>\n"
    )
}
