//! Runs both clients at the same time and returns the latencies that each reports.

use std::io::{BufRead, BufReader, Cursor, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, anyhow, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use trunkline_benches::crowd::{Crowd, MemberKind};
use trunkline_benches::open_loop::{self, Control, Each, Traffic};

use crate::Args;
use crate::judge::{Latencies, empty};

/// Connections begun at a time.
const AT_ONCE: usize = 500;

/// The beginning of the names of the other client's users.
pub(crate) const NAME: &str = "agreement";

/// The line by which the other client says that its sessions are open.
const READY: &str = "ready";

/// The most seconds that the other client sends longer than the load generator.
const LONGER: f64 = 60.0;

/// The client of these benchmarks in a process of its own, like the load generator. It shares only the framing with the
/// load generator: it has its own schedule, clock, histogram and event loop. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Independent {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Independent {
    /// Starts the client, and returns when its sessions are open and it begins to send.
    ///
    /// # Errors
    /// The process does not start, or the server refuses it.
    pub(crate) fn start(args: &Args, server: SocketAddr) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--client", &server.to_string()])
            .args(["--sessions", &args.sessions.to_string()])
            .args(["--seconds", &args.seconds.to_string()])
            .args(["--rate", &args.rate.to_string()])
            .args(["--bytes", &args.bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("the other client is silent")?;
        let mut client = Self {
            child,
            output: BufReader::new(output),
        };
        let mut line = String::new();
        client.output.read_line(&mut line)?;
        match line.trim_end() {
            READY => Ok(client),
            _ => bail!("the other client did not open its sessions"),
        }
    }

    /// Ends sending. Returns the latencies of each message.
    ///
    /// # Errors
    /// Some messages were not answered or pushed.
    pub(crate) fn end(mut self) -> anyhow::Result<Each> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        let ended = self.child.wait()?;
        if !ended.success() {
            bail!("the other client ended with {ended}");
        }
        Ok(serde_json::from_str(&text)?)
    }
}

impl Drop for Independent {
    fn drop(&mut self) {
        // A process that has ended cannot be killed, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the other client in this process, until its standard input ends.
///
/// # Errors
/// The server refuses the client, or sending takes much longer than the seconds of a round.
pub(crate) fn as_independent(args: &Args, server: SocketAddr) -> anyhow::Result<Each> {
    // Members talk in pairs.
    let sessions = args.sessions.next_multiple_of(2);
    let mut crowd = Crowd::new(server, MemberKind::Sessions(NAME), sessions)?;
    crowd.open(AT_ONCE)?;
    let traffic = Traffic {
        name: NAME,
        rate: args.rate,
        bytes: args.bytes,
    };
    let control = Control::default();
    control.count(true);
    let keep = (args.rate * (args.seconds + LONGER)) as usize;
    println!("{READY}");
    let latencies = std::thread::scope(|scope| {
        let sending = scope.spawn(|| open_loop::run_keeping(&mut crowd, traffic, &control, keep));
        let end = std::io::stdin().read_to_end(&mut Vec::new());
        control.end();
        end?;
        sending.join().map_err(|_| anyhow!("it panicked"))?
    })?;
    if latencies.sent as usize > keep {
        bail!("the load generator took {LONGER} s longer than its messages");
    }
    Ok(latencies.each)
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

/// Returns the load as a scenario of `loadgen`. Each seed has other times of sending.
fn scenario(args: &Args, seed: usize) -> String {
    let Args {
        sessions,
        seconds,
        rate,
        bytes,
        ..
    } = args;
    format!(
        r#"schema = 1
seed = {seed}
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

/// The latencies that the load generator reports of a run, in microseconds.
#[derive(Debug)]
pub(crate) struct Reported {
    pub(crate) ack: Latencies,
    pub(crate) e2e: Latencies,
    pub(crate) lag: Latencies,
}

/// Runs the load generator, as a user runs it.
///
/// # Errors
/// The run has another verdict than `ok`, or a message without a latency.
pub(crate) fn loadgen(
    args: &Args,
    seed: usize,
    program: &Path,
    server: SocketAddr,
    folder: &Path,
) -> anyhow::Result<Reported> {
    let file = folder.join("agreement.toml");
    std::fs::write(&file, scenario(args, seed))?;
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
    let log = std::fs::read(out.join("latency.hlog"))?;
    let reported = Reported {
        ack: logged(&log, "ack")?,
        e2e: logged(&log, "e2e")?,
        lag: logged(&log, "send_lag")?,
    };
    let messages = summary["counts"]["attempted"].as_u64().unwrap_or_default();
    let counts = [&reported.ack, &reported.e2e, &reported.lag].map(Histogram::len);
    if counts != [messages; 3] {
        bail!("loadgen sent {messages} messages, and its log has latencies of {counts:?}");
    }
    Ok(reported)
}

/// Returns the latencies with a tag in an interval log of HdrHistogram, of all intervals together.
fn logged(log: &[u8], tag: &str) -> anyhow::Result<Latencies> {
    let mut all = empty();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(log) {
        let entry = entry.map_err(|why| anyhow!("latency.hlog cannot be read: {why:?}"))?;
        let LogEntry::Interval(interval) = entry else {
            continue;
        };
        if interval.tag().is_some_and(|it| it.as_str() == tag) {
            let bytes = BASE64_STANDARD.decode(interval.encoded_histogram())?;
            let histogram: Histogram<u64> = deserializer
                .deserialize(&mut Cursor::new(bytes))
                .map_err(|why| {
                    anyhow!("latency.hlog has a histogram that cannot be read: {why:?}")
                })?;
            all.add(&histogram)?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::V2DeflateSerializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
    use std::time::Duration;

    #[test]
    fn a_log_has_the_latencies_of_all_its_intervals_by_tag() {
        let (mut bytes, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
        let builder = IntervalLogWriterBuilder::new();
        let mut log = builder.begin_log_with(&mut bytes, &mut serializer).unwrap();
        let second = Duration::from_secs(1);
        for (at, tag, micros) in [(0, "ack", 100), (0, "e2e", 200), (1, "ack", 120)] {
            let mut histogram = empty();
            histogram.record(micros).unwrap();
            log.write_histogram(&histogram, second * at, second, Tag::new(tag))
                .unwrap();
        }
        drop(log);
        let ack = logged(&bytes, "ack").unwrap();
        assert_eq!((ack.len(), ack.min(), ack.max()), (2, 100, 120));
        assert_eq!(logged(&bytes, "e2e").unwrap().len(), 1);
        assert!(logged(&bytes, "other").unwrap().is_empty());
        assert!(logged(b"1,2,3", "ack").is_err());
    }
}
