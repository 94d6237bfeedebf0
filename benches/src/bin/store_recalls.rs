//! Measures how soon the text of recalled messages is gone from the files, and what that costs others.
//!
//! `cargo run --release -p trunkline-benches --bin store-recalls`
//!
//! The program stores messages, and waits until the store has sorted and merged them. Then it appends
//! other messages at a fixed rate, alone for a while, and then beside recalls at the same rate, until each
//! message is recalled. It measures the commits of both times. After the last recall it waits until the
//! store has overwritten every text, reads all files of the store, and fails if one of them has the text
//! of a recalled message.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::Parser;
use trunkline_benches::figures::{columns, grouped, percentile, short};
use trunkline_benches::machine;
use trunkline_benches::ours::{self, draft};
use trunkline_storage::{Draft, Opened, Options, Redaction, Store, TimelineId};

/// Measures how soon recalled text is gone from the files.
#[derive(Debug, Parser)]
#[command(name = "store-recalls")]
struct Args {
    /// Messages to store and to recall
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Conversations of the messages
    #[arg(long, default_value_t = 100_000)]
    timelines: u64,
    /// Messages appended per second while the commits are measured, and as many recalls
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Seconds of appends alone, before the recalls
    #[arg(long, default_value_t = 20)]
    alone: u64,
    /// Seconds to wait after the last recall for its text to be gone
    #[arg(long, default_value_t = 120)]
    wait: u64,
    /// Folder on the disk to measure [default: a folder below the build]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The messages of a commit, and its recalls.
const GROUP: u64 = 64;
/// The bytes of a message's text.
const TEXT: usize = 120;
/// What the text of each message that will be recalled begins with, and no other text has.
const MARK: &[u8] = b"text that will be recalled ";
/// The time in the records: all are as old as the store's clock says.
const TIME: u64 = 1_700_000_000_000;
/// The time from the last recall within which the text must be gone.
const TARGET: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("store-recalls: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.messages < GROUP || args.timelines == 0 || args.rate < GROUP {
        bail!("--messages and --rate must be at least {GROUP}, and --timelines at least 1");
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let dir = tempfile::tempdir_in(args.dir.as_ref().unwrap_or(&beside))?;
    let seconds = args.alone + args.messages / args.rate;
    machine::require(
        dir.path(),
        (args.messages * 3 + seconds * args.rate) * 500 + (1 << 30),
    )?;

    let mut run = Run::open(args, dir.path())?;
    eprintln!("store-recalls: storing {} messages", grouped(args.messages));
    run.fill()?;
    let marked = texts_in(dir.path())?;
    ensure!(
        marked >= args.messages,
        "only {marked} texts are in the files"
    );
    let mut alone = Vec::new();
    run.pace(args.alone * args.rate / GROUP, false, &mut alone)?;
    let mut beside = Vec::new();
    run.pace(args.messages / GROUP, true, &mut beside)?;
    let gone = run.wait()?;
    let left = texts_in(dir.path())?;

    let row = |name: &str, millis: &mut Vec<f64>| {
        let parts = [0.5, 0.99, 0.999, 1.0].map(|part| short(percentile(millis, part)));
        let mut row = vec![name.to_owned()];
        row.extend(parts);
        row
    };
    let rows = [
        row("appends alone", &mut alone),
        row("beside recalls", &mut beside),
    ];
    println!(
        "{}",
        columns(&["commits, ms", "p50", "p99", "p99.9", "max"], &rows, 1)
    );
    let recalled = args.messages / GROUP * GROUP;
    let verdict = if gone <= TARGET { "met" } else { "missed" };
    println!(
        "{} recalls at {}/s: text gone {:.2} s after the last (target {} s: {verdict}); {} texts of {} left in the files",
        grouped(recalled),
        grouped(args.rate),
        gone.as_secs_f64(),
        TARGET.as_secs(),
        left,
        grouped(marked),
    );
    // The last messages may not fill a group.
    ensure!(
        left <= args.messages - recalled,
        "recalled text is still in the files"
    );
    Ok(ExitCode::SUCCESS)
}

/// The time between two calls of the store's clock, as in the gateway.
const TICK: Duration = Duration::from_secs(1);

/// A store and the messages in it.
struct Run<'a> {
    args: &'a Args,
    store: Opened,
    /// The last sequence of each timeline.
    seqs: Vec<u64>,
    /// The number of messages recalled so far.
    recalled: u64,
    /// When the store is told the time next.
    tick: Instant,
}

impl<'a> Run<'a> {
    fn open(args: &'a Args, dir: &Path) -> anyhow::Result<Self> {
        let options = Options {
            runs: true,
            ..Options::default()
        };
        Ok(Run {
            args,
            store: Store::open(dir, options, &mut |_| {})?,
            seqs: vec![0; usize::try_from(args.timelines)?],
            recalled: 0,
            tick: Instant::now(),
        })
    }

    /// Returns the id of a timeline: distributed evenly, as ids of the gateway are.
    fn id(&self, number: u64) -> TimelineId {
        self.store.writer.key().id(1, &[&number.to_le_bytes()])
    }

    /// Stores the messages that will be recalled, and waits until the background has done its work.
    fn fill(&mut self) -> anyhow::Result<()> {
        for number in 0..self.args.messages {
            let mut text = [b'.'; TEXT];
            text[..MARK.len()].copy_from_slice(MARK);
            text[MARK.len()..][..8].copy_from_slice(&number.to_be_bytes());
            self.append(number % self.args.timelines, &text)?;
            if number % GROUP == GROUP - 1 {
                self.store.writer.commit()?;
            }
        }
        self.store.writer.commit()?;
        ours::settle(&self.store)
    }

    fn append(&mut self, timeline: u64, text: &[u8]) -> anyhow::Result<()> {
        let seq = &mut self.seqs[timeline as usize];
        *seq += 1;
        let seq = *seq;
        let readers = [self.id(timeline ^ 1 << 40), self.id(timeline ^ 1 << 41)];
        let event = draft(TIME, self.id(timeline), seq, &readers, text);
        self.store.writer.append_next(&event)?;
        Ok(())
    }

    /// Recalls the message that was stored next after the last recalled one.
    fn recall(&mut self) -> anyhow::Result<()> {
        let (number, timelines) = (self.recalled, self.args.timelines);
        self.recalled += 1;
        let timeline = number % timelines;
        let readers = [self.id(timeline ^ 1 << 40), self.id(timeline ^ 1 << 41)];
        let redacts = Some(Redaction {
            seq: number / timelines + 1,
            body: b"{}",
        });
        self.store.writer.append_next(&Draft {
            redacts,
            ..draft(TIME, self.id(timeline), 0, &readers, b"")
        })?;
        Ok(())
    }

    /// Commits groups of messages at the rate, with as many recalls if `recalls` is set. Appends the
    /// milliseconds from when each group was due to the end of its commit.
    fn pace(&mut self, groups: u64, recalls: bool, millis: &mut Vec<f64>) -> anyhow::Result<()> {
        let every = Duration::from_secs_f64(GROUP as f64 / self.args.rate as f64);
        let begun = Instant::now();
        for group in 0..groups {
            let due = begun + every * u32::try_from(group)?;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            for n in 0..GROUP {
                let timeline = (group * GROUP + n) * 7919 % self.args.timelines;
                self.append(timeline, &[b'o'; TEXT])?;
                if recalls {
                    self.recall()?;
                }
            }
            self.store.writer.commit()?;
            self.tell_time();
            millis.push(due.elapsed().as_secs_f64() * 1e3);
        }
        Ok(())
    }

    /// Waits until all recalled text is overwritten. Returns how long that took.
    fn wait(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        loop {
            let left = self.store.reader.stats().pending_redactions;
            if left == 0 {
                return Ok(begun.elapsed());
            }
            let seconds = self.args.wait;
            ensure!(
                begun.elapsed() < Duration::from_secs(seconds),
                "after {seconds} s {left} texts are not overwritten"
            );
            self.tell_time();
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Tells the store the time, once a second: then it looks for text to overwrite.
    fn tell_time(&mut self) {
        if Instant::now() >= self.tick {
            self.tick = Instant::now() + TICK;
            self.store.writer.tick(TIME);
        }
    }
}

/// Returns how often the mark of recalled texts is in the files of a folder.
fn texts_in(dir: &Path) -> anyhow::Result<u64> {
    let mut found = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            found += texts_in_file(&path)?;
        }
    }
    Ok(found)
}

fn texts_in_file(path: &Path) -> anyhow::Result<u64> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; 1 << 20];
    let (mut kept, mut found) = (0, 0);
    loop {
        let read = file.read(&mut bytes[kept..])?;
        if read == 0 {
            return Ok(found);
        }
        let len = kept + read;
        let at = memchr::memmem::find_iter(&bytes[..len], MARK);
        found += at.count() as u64;
        // A mark may continue in what is read next.
        let tail = len.min(MARK.len() - 1);
        bytes.copy_within(len - tail..len, 0);
        kept = tail;
    }
}
