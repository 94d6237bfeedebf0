//! What a run leaves behind beside its summary, for other programs.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::spectrum;
use crate::run::judge::Judged;
use crate::run::resolve::{Gateway, Resolved};
use crate::stats::OVER_TIME;

/// What a run writes into its folder, beside a `.hgrm` for each latency.
const RESULTS: [&str; 10] = [
    "summary.json",
    "summary.txt",
    "hold.json",
    "hold.txt",
    "scenario.lock.toml",
    "intervals.csv",
    "latency.hlog",
    "env.json",
    "violations.jsonl",
    "report.html",
];

/// Makes the folder of a run, and removes what an earlier run wrote there and nothing else: half of
/// it would stay beside the new results otherwise. Whether there was something.
///
/// # Errors
/// The folder cannot be made, or not be written to.
pub(crate) fn make_room(folder: &Path) -> io::Result<bool> {
    std::fs::create_dir_all(folder)?;
    let spectra = OVER_TIME.iter().map(|it| format!("{}.hgrm", it.name()));
    let names = RESULTS.iter().map(ToString::to_string).chain(spectra);
    let mut found = false;
    for name in names {
        match std::fs::remove_file(folder.join(name)) {
            Ok(()) => found = true,
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(why),
        }
    }
    Ok(found)
}

/// Writes `intervals.csv`, `latency.hlog`, a `.hgrm` for each latency, and `env.json`.
///
/// # Errors
/// The folder cannot be written to.
pub(crate) fn keep(run: &Resolved, judged: &Judged) -> io::Result<()> {
    let write = |name: &str, bytes: &[u8]| std::fs::write(run.out.join(name), bytes);
    write("intervals.csv", judged.intervals.csv().as_bytes())?;
    let log = spectrum::hlog(&judged.intervals).map_err(io::Error::other)?;
    write("latency.hlog", &log)?;
    for metric in OVER_TIME {
        let text = spectrum::hgrm(judged.latencies.of(metric));
        write(&format!("{}.hgrm", metric.name()), text.as_bytes())?;
    }
    write("env.json", format!("{:#}\n", environment(run)).as_bytes())
}

/// Where the run took place, as far as that bears on its figures.
fn environment(run: &Resolved) -> Value {
    let line = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(key).map(str::to_owned));
        found.map(|rest| rest.trim_start_matches([':', ' ', '\t']).trim().to_owned())
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // What the local gateway was told; its own choice where nobody said.
    let setup = match &run.gateway {
        Gateway::Target { .. } => None,
        Gateway::Local(setup) => Some(setup),
    };
    json!({
        "loadgen": env!("CARGO_PKG_VERSION"),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        "ended_unix_s": since.map_or(0, |since| since.as_secs()),
        "kernel": line("/proc/sys/kernel/osrelease", ""),
        "architecture": std::env::consts::ARCH,
        "processor": line("/proc/cpuinfo", "model name"),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": line("/proc/meminfo", "MemTotal"),
        "generator_threads": run.threads,
        "gateway": match &run.gateway {
            Gateway::Target { url, .. } => url.clone(),
            Gateway::Local(_) => "local".to_owned(),
        },
        "gateway_shards": setup.and_then(|setup| setup.shards),
        "gateway_durability": setup.and_then(|setup| setup.durability.as_deref()),
        "tls": run.gateway.has_tls(),
        "sessions": run.sizing.sessions,
    })
}
