//! The files of a run beside its summary, for other programs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{results, spectrum};
use crate::exit::{Failure, Outcome};
use crate::files;
use crate::foreign;
use crate::settings::{Gateway, RunSettings};
use crate::stats::OVER_TIME;
use crate::verdict::JudgedRun;

/// The files that a run writes into its folder, beside a `.hgrm` for each latency.
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

/// Makes the folder of a run and removes the files of an earlier run from it, and nothing else.
/// Returns whether there were any.
///
/// # Errors
/// The folder cannot be made or written to, or has a file of such a name that no run wrote (exit
/// 104).
pub(crate) fn make_room(folder: &Path) -> Outcome<bool> {
    let fail = |why: io::Error| {
        let folder = folder.display();
        Failure::scenario(format!("--out {folder}: cannot be written to: {why}"))
    };
    std::fs::create_dir_all(folder).map_err(fail)?;
    let there = may_make_room(folder)?;
    for path in &there {
        std::fs::remove_file(path).map_err(fail)?;
    }
    // Whether it can be written to is known before the run, not after it.
    let trial = folder.join(".loadgen");
    std::fs::write(&trial, "")
        .and_then(|()| std::fs::remove_file(&trial))
        .map_err(fail)?;
    Ok(!there.is_empty())
}

/// Returns the files of an earlier run in a folder, which may be removed.
///
/// # Errors
/// A file has such a name and no run wrote it (exit 104).
pub(crate) fn may_make_room(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let spectra = OVER_TIME.iter().map(|it| format!("{}.hgrm", it.name()));
    let names = RESULTS.iter().map(ToString::to_string).chain(spectra);
    let there: Vec<_> = names
        .map(|name| folder.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .collect();
    match results::foreign(folder, &there) {
        None => Ok(there),
        Some(foreign) => Err(Failure::scenario(format!(
            "--out {}: the file {} there was not written by loadgen and would be lost: name a new or empty folder, or move the file",
            folder.display(),
            foreign.file_name().unwrap_or_default().display()
        ))),
    }
}

/// Writes `intervals.csv`, `latency.hlog`, a `.hgrm` for each latency, and `env.json`.
///
/// # Errors
/// A file cannot be written whole (exit 105).
pub(crate) fn keep(run: &RunSettings, judged: &JudgedRun) -> Outcome<()> {
    let put = |name: &str, bytes: &[u8]| {
        let path = run.out.join(name);
        files::put(&path, bytes).map_err(|why| files::unwritten(&path, &why))
    };
    put("intervals.csv", judged.intervals.csv().as_bytes())?;
    let log = spectrum::hlog(&judged.intervals)
        .map_err(|why| Failure::aborted(format!("cannot write latency.hlog: {why}")))?;
    put("latency.hlog", &log)?;
    for metric in OVER_TIME {
        let text = spectrum::hgrm(judged.latencies.of(metric));
        put(&format!("{}.hgrm", metric.name()), text.as_bytes())?;
    }
    put(
        "env.json",
        (foreign::json(&environment(run, judged)) + "\n").as_bytes(),
    )
}

/// Returns the properties of the run's environment that matter for the figures.
fn environment(run: &RunSettings, judged: &JudgedRun) -> Value {
    let line = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(key).map(str::to_owned));
        found.map(|rest| rest.trim_start_matches([':', ' ', '\t']).trim().to_owned())
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // The settings of the local gateway, given or chosen by it.
    let setup = match &run.gateway {
        Gateway::Targets { .. } => None,
        Gateway::Local(setup) => Some(setup),
        Gateway::Cluster(setup) => Some(&setup.gateway),
    };
    json!({
        "loadgen": env!("CARGO_PKG_VERSION"),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        "ended_unix_s": since.map_or(0, |since| since.as_secs()),
        "kernel": line("/proc/sys/kernel/osrelease", ""),
        "architecture": std::env::consts::ARCH,
        "processor": line("/proc/cpuinfo", "model name"),
        "agents": (!judged.agents.is_empty()).then_some(judged.agents.len()),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": line("/proc/meminfo", "MemTotal"),
        "generator_threads": match judged.agents.is_empty() {
            true => run.threads,
            false => judged.agents.iter().map(|it| it.threads).sum(),
        },
        "gateway": run.gateway.name(),
        "gateway_shards": setup.and_then(|setup| setup.shards),
        "gateway_durability": setup.and_then(|setup| setup.durability.as_deref()),
        "tls": run.gateway.has_tls(),
        "sessions": run.sizing.sessions,
    })
}
