//! The metrics of a run in the text exposition format 0.0.4 of Prometheus.

use std::fmt::Write;

use super::Exposed;
use crate::client::RunStage;
use crate::clock::seconds;
use crate::health::{Cpu, Health, Process};
use crate::live::look::{Look, latencies};
use crate::stats::{Counters, Metric, Tallied};

/// The upper bounds of the buckets of a histogram, in microseconds.
const BOUNDS_US: [u64; 19] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    60_000_000,
    300_000_000,
];

/// A page under construction.
struct Page(String);

impl Page {
    /// Begins a family; its samples follow.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.trim().replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0 += name;
        for (i, (label, text)) in labels.iter().enumerate() {
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let before = if i == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    /// Adds a family of one sample.
    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }
}

/// Returns the page of a run; without a run, that of the program alone.
pub(super) fn page(run: Option<&Exposed>) -> String {
    let mut page = Page(String::new());
    page.family("loadgen_build_info", "gauge", "The version of the program.");
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let version = env!("CARGO_PKG_VERSION");
    page.sample(
        "loadgen_build_info",
        &[("version", version), ("build", build)],
        1.0,
    );
    let Some(run) = run else {
        stages(&mut page, "starting");
        return page.0;
    };
    let now = run.ended.unwrap_or_else(|| run.clock.now());
    let look = Look::take(now, &run.board);
    let tallied = latencies(&run.board);
    course(&mut page, run, &look);
    counters(&mut page, &look.counters);
    page.family(
        "loadgen_violations_total",
        "counter",
        "Promises that the gateway broke, by kind.",
    );
    for (kind, count) in &look.violations {
        page.sample("loadgen_violations_total", &[("kind", kind)], *count as f64);
    }
    histograms(&mut page, &tallied);
    health(&mut page, run, &look, &tallied);
    processes(&mut page, run);
    page.0
}

fn stages(page: &mut Page, present: &str) {
    page.family(
        "loadgen_stage",
        "gauge",
        "1 for the stage that the run is in.",
    );
    let all = [
        "starting",
        "executing",
        "draining",
        "reading-back",
        "closing",
        "ended",
    ];
    for stage in all {
        let value = f64::from(u8::from(stage == present));
        page.sample("loadgen_stage", &[("stage", stage)], value);
    }
}

fn course(page: &mut Page, run: &Exposed, look: &Look) {
    let about = &run.about;
    page.family(
        "loadgen_run_info",
        "gauge",
        "The scenario and the target of the run.",
    );
    let labels = [("run", &*about.title), ("gateway", &*about.gateway)];
    page.sample("loadgen_run_info", &labels, 1.0);
    stages(
        page,
        match (run.ended, look.after) {
            (Some(_), _) => "ended",
            (None, RunStage::Executing) => "executing",
            (None, RunStage::Draining(_)) => "draining",
            (None, RunStage::Reading(_)) => "reading-back",
            (None, RunStage::Closing(_)) => "closing",
        },
    );
    page.family(
        "loadgen_executor_running",
        "gauge",
        "1 while an executor is at work.",
    );
    for (stage, span) in about.stages.iter().zip(&look.spans) {
        let began = span.began.is_some_and(|began| began <= look.now);
        let running = began && span.ended.is_none();
        let labels = [("executor", &*stage.name), ("kind", stage.kind)];
        page.sample(
            "loadgen_executor_running",
            &labels,
            f64::from(u8::from(running)),
        );
    }
    page.gauge(
        "loadgen_run_seconds",
        "Time since the run began.",
        seconds(look.now),
    );
    page.gauge(
        "loadgen_sessions_wanted",
        "Sessions of the run.",
        about.sessions as f64,
    );
    page.gauge(
        "loadgen_connecting",
        "Connections whose sessions are not open yet.",
        look.connecting as f64,
    );
}

/// Adds all counters, by name.
fn counters(page: &mut Page, counters: &Counters) {
    for counter in counters.named() {
        let (kind, end) = match counter.may_fall() {
            true => ("gauge", ""),
            false => ("counter", "_total"),
        };
        let name = format!("loadgen_{}{end}", counter.name);
        page.family(&name, kind, counter.about);
        page.sample(&name, &[], counter.value as f64);
    }
}

fn histograms(page: &mut Page, tallied: &[Tallied]) {
    const NAME: &str = "loadgen_latency_seconds";
    page.family(
        NAME,
        "histogram",
        "Durations by metric; ack, e2e and send_lag count from the intended send time. A value within 1.6 % below a bound may count above it.",
    );
    for (metric, tallied) in Metric::ALL.iter().zip(tallied) {
        let metric = ("metric", metric.name());
        let bucket = format!("{NAME}_bucket");
        for (bound, count) in BOUNDS_US.iter().zip(tallied.at_most(&BOUNDS_US)) {
            let bound = (*bound as f64 / 1e6).to_string();
            page.sample(&bucket, &[metric, ("le", &bound)], count as f64);
        }
        let count = tallied.count() as f64;
        page.sample(&bucket, &[metric, ("le", "+Inf")], count);
        page.sample(&format!("{NAME}_sum"), &[metric], tallied.sum_seconds());
        page.sample(&format!("{NAME}_count"), &[metric], count);
    }
}

/// Adds the health of the generator, as the verdict judges it.
fn health(page: &mut Page, run: &Exposed, look: &Look, tallied: &[Tallied]) {
    let health = Health::judge(
        &run.about.health,
        &look.counters,
        &tallied[Metric::SendLag as usize].percentiles(),
        look.stall,
        &Cpu::between(run.cpu, Cpu::look()),
    );
    page.gauge(
        "loadgen_healthy",
        "1 while the generator is fit to measure, as the verdict would be now.",
        f64::from(u8::from(health.healthy)),
    );
    page.gauge(
        "loadgen_send_lag_p99_seconds",
        "99th percentile of the lag of the sends so far.",
        health.send_lag_p99_us as f64 / 1e6,
    );
    page.gauge(
        "loadgen_schedule_kept_ratio",
        "Part of the scheduled sends that were sent.",
        health.achieved,
    );
    page.gauge(
        "loadgen_loop_stall_seconds",
        "Longest time that an event loop was away from its sockets.",
        health.loop_stall_us as f64 / 1e6,
    );
    page.gauge(
        "loadgen_cpu_steal_ratio",
        "Part of the machine's CPU time that the hypervisor took since the run began.",
        health.steal,
    );
    page.gauge(
        "loadgen_cpu_idle_ratio",
        "Part of the machine's CPU time that was idle since the run began.",
        health.idle,
    );
}

fn processes(page: &mut Page, run: &Exposed) {
    // A gateway that has ended has used nothing that could be looked at.
    let gateway = run.gateway.filter(|_| run.ended.is_none());
    let sides: Vec<_> = [
        ("generator", Some(std::process::id())),
        ("gateway", gateway),
    ]
    .into_iter()
    .filter_map(|(side, pid)| Some((side, Process::look(pid?))))
    .collect();
    let name = "loadgen_process_cpu_seconds_total";
    page.family(name, "counter", "CPU time of each side's process.");
    for (side, process) in &sides {
        page.sample(name, &[("side", side)], process.cpu_seconds);
    }
    let name = "loadgen_process_resident_bytes";
    page.family(name, "gauge", "Resident memory of each side's process.");
    for (side, process) in &sides {
        page.sample(name, &[("side", side)], process.rss_bytes as f64);
    }
}
