//! Runs the two clients and returns the latencies that each reports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use trunkline_benches::crowd::{Crowd, MemberKind};
use trunkline_benches::open_loop::{self, Control, Traffic};

use crate::Args;

/// The percentiles that are compared.
pub(crate) const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

/// The latencies that a client reports, in microseconds, by [`QUANTILES`].
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) ack: [f64; 3],
    pub(crate) e2e: [f64; 3],
    /// The times from the intended send of a message to its write.
    pub(crate) lag: [f64; 3],
    pub(crate) messages: u64,
}

/// Connections begun at a time.
const AT_ONCE: usize = 500;

/// The beginning of the names of the other client's users.
const NAME: &str = "agreement";

/// Runs the client of these benchmarks in a separate process, like the load generator. It shares
/// only the framing with the load generator: it has its own schedule, clock, histogram and event
/// loop.
pub(crate) fn independent(args: &Args, server: SocketAddr) -> anyhow::Result<Said> {
    let child = Command::new(std::env::current_exe()?)
        .args(["--client", &server.to_string()])
        .args(["--sessions", &args.sessions.to_string()])
        .args(["--seconds", &args.seconds.to_string()])
        .args(["--rate", &args.rate.to_string()])
        .args(["--bytes", &args.bytes.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !child.status.success() {
        bail!("the other client ended with {}", child.status);
    }
    Ok(serde_json::from_slice(&child.stdout)?)
}

/// Runs the other client in this process.
///
/// # Errors
/// The server refuses the client.
pub(crate) fn as_independent(args: &Args, server: SocketAddr) -> anyhow::Result<Said> {
    let mut crowd = Crowd::new(server, MemberKind::Sessions(NAME), args.sessions)?;
    crowd.open(AT_ONCE)?;
    let traffic = Traffic {
        name: NAME,
        rate: args.rate,
        bytes: args.bytes,
    };
    let control = Control::default();
    control.count(true);
    let latencies = std::thread::scope(|scope| {
        let sending = scope.spawn(|| open_loop::run(&mut crowd, traffic, &control));
        std::thread::sleep(std::time::Duration::from_secs_f64(args.seconds));
        control.end();
        sending.join().map_err(|_| anyhow::anyhow!("it panicked"))?
    })?;
    let of = |histogram: &hdrhistogram::Histogram<u64>| {
        QUANTILES.map(|(_, q)| histogram.value_at_quantile(q) as f64 / 1e3)
    };
    Ok(Said {
        ack: of(&latencies.ack),
        e2e: of(&latencies.e2e),
        lag: of(&latencies.lag),
        messages: latencies.sent,
    })
}

/// Returns the load generator, built beside this program.
pub(crate) fn loadgen_program(args: &Args) -> anyhow::Result<PathBuf> {
    if let Some(program) = &args.loadgen {
        return Ok(program.clone());
    }
    let this = std::env::current_exe()?;
    let beside = this.with_file_name("loadgen");
    if !beside.is_file() {
        bail!(
            "{} is not there: cargo build --release --bin loadgen, or --loadgen PATH",
            beside.display()
        );
    }
    Ok(beside)
}

/// Returns the load as a scenario of `loadgen`.
fn scenario(args: &Args) -> String {
    let Args {
        sessions,
        seconds,
        rate,
        bytes,
        ..
    } = args;
    format!(
        r#"schema = 1
seed = 42
[population]
users = {sessions}
share = "1/1"
msgs_per_user_day = 40
window = "24h"
[traffic]
arrival = "poisson"
payload = {{ dist = "const", bytes = "{bytes}B" }}
contacts = 2
[client]
threads = 1
[scenarios.connect]
executor = "ramping-connections"
stages = [{{ duration = "500ms", target = "100%" }}]
[scenarios.day]
executor = "constant-arrival-rate"
start_after = "connect"
duration = "{seconds}s"
rate = "{rate}/s"
"#
    )
}

/// Runs the load generator, as a user runs it.
pub(crate) fn loadgen(
    args: &Args,
    program: &Path,
    server: SocketAddr,
    folder: &Path,
) -> anyhow::Result<Said> {
    let file = folder.join("agreement.toml");
    std::fs::write(&file, scenario(args))?;
    let out = folder.join("results");
    let ended = Command::new(program)
        .arg("run")
        .arg(&file)
        .args(["--no-tui", "--target", &format!("ws://{server}/v1/ws")])
        .arg("--out")
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let text = std::fs::read_to_string(out.join("summary.json"))
        .with_context(|| format!("loadgen ended with {ended} and left no summary"))?;
    let summary: serde_json::Value = serde_json::from_str(&text)?;
    if !ended.success() {
        bail!(
            "loadgen ended with {ended}: {}",
            summary["health"]["faults"]
        );
    }
    let of = |metric: &str| {
        QUANTILES.map(|(name, _)| {
            summary["latency_us"][metric][name]
                .as_f64()
                .unwrap_or(f64::NAN)
        })
    };
    Ok(Said {
        ack: of("ack"),
        e2e: of("e2e"),
        lag: of("send_lag"),
        messages: summary["counts"]["attempted"].as_u64().unwrap_or(0),
    })
}
