//! The simulated hours.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use trunkline_benches::figures::{grouped, short};
use trunkline_benches::metering::{BACKGROUND, StoreReading, Threads};
use trunkline_benches::{machine, ours};
use trunkline_contender::{BODY, Work};
use trunkline_storage::{Draft, Opened, Options, Store, TimelineId};

use crate::{Args, hours};

/// The arbitrary time at which the simulation begins, in milliseconds.
const START: u64 = 1_700_000_000_000;
/// The domain of keys: conversations have 1, users 2.
const KEYS: u8 = 3;

/// The number of openings whose time is measured.
const OPENINGS: u32 = 3;

/// The store and the progress of the simulation.
pub(crate) struct Ingest {
    dir: PathBuf,
    options: Options,
    /// The open store; `None` while it is opened again.
    store: Option<Opened>,
    work: Work,
    rate: u64,
    group: u64,
    messages: u64,
    hours: u64,
    /// The bytes that the device had written at the end of the last hour.
    written: Option<u64>,
    /// The counters of the store at the end of the last hour.
    before: StoreReading,
    /// The CPU time at the end of the last hour.
    cpu: Threads,
}

/// The state of the store after a simulated hour.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Hour {
    pub(crate) hour: u64,
    pub(crate) messages: u64,
    /// The number of messages per real second in this hour.
    pub(crate) rate: f64,
    pub(crate) files: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) index_bytes: u64,
    /// The bytes written in this hour per byte of message bodies, as the store counts them, without
    /// the zeros in new segments.
    pub(crate) counted: f64,
    /// The bytes written in this hour per byte of message bodies, as the device counts them, with
    /// other work on it.
    pub(crate) written: Option<f64>,
    /// The bytes written to the log in this hour, in segments.
    pub(crate) segments: f64,
    /// The bytes of work that the store has put off, at the end of this hour.
    pub(crate) debt: u64,
    /// The share of the CPU time of this hour that the store's threads took, from 0 to 1.
    pub(crate) background: f64,
    /// The milliseconds that opening the store took; `None` if it was not opened again.
    pub(crate) opening: Option<f64>,
}

impl Ingest {
    pub(crate) fn open(args: &Args, dir: &Path) -> anyhow::Result<Self> {
        let options = Options {
            runs: true,
            segment_bytes: args.segment << 20,
            max_record_bytes: Options::default()
                .max_record_bytes
                .min((args.segment << 18) as usize),
            message_life: hours(args.message_life),
            sync_life: hours(args.sync_life),
            key_life: hours(args.key_life),
            ..Options::default()
        };
        Ok(Ingest {
            dir: dir.to_path_buf(),
            store: Some(Store::open(dir, options.clone(), &mut |_| {})?),
            options,
            // The load is not used: messages go to random conversations.
            work: Work::new(args.timelines, 0),
            rate: args.rate,
            group: args.group,
            messages: 0,
            hours: 0,
            written: machine::written(dir)?,
            before: StoreReading::default(),
            cpu: Threads::of("self")?,
        })
    }

    /// Stores the messages of the next hour, waits for the work that the store has put off, and
    /// measures both. Opens the store again at its end if
    /// `reopen` is set.
    pub(crate) fn hour(&mut self, reopen: bool) -> anyhow::Result<Hour> {
        let (mut left, began) = (self.rate * 3600, Instant::now());
        while left > 0 {
            let group = left.min(self.group);
            self.group(group)?;
            left -= group;
        }
        let store = self.store.as_ref().context("no store")?;
        ours::pay(store)?;
        let took = began.elapsed().as_secs_f64();
        self.hours += 1;
        let stats = store.reader.stats();
        let (written, now) = (machine::written(&self.dir)?, ours::reading(store));
        let cpu = Threads::of("self")?;
        let bodies = (self.rate * 3600 * BODY as u64) as f64;
        let machine::FilesBelow {
            count: files,
            bytes: disk_bytes,
        } = machine::files(&self.dir)?;
        let mut hour = Hour {
            hour: self.hours,
            messages: self.messages,
            rate: (self.rate * 3600) as f64 / took,
            files,
            disk_bytes,
            memory_bytes: machine::resident("self")?,
            index_bytes: stats.index_bytes as u64,
            counted: (now.written - self.before.written) as f64 / bodies,
            written: written
                .zip(self.written)
                .map(|(now, before)| (now - before) as f64 / bodies),
            segments: (now.log - self.before.log) as f64 / self.options.segment_bytes as f64,
            debt: now.debt.bytes(),
            background: cpu.since(&self.cpu).share(BACKGROUND),
            opening: None,
        };
        (self.written, self.before, self.cpu) = (written, now, cpu);
        if reopen {
            hour.opening = Some(self.reopen()?);
        }
        Ok(hour)
    }

    fn now(&self) -> u64 {
        START + self.messages * 1000 / self.rate
    }

    fn group(&mut self, messages: u64) -> anyhow::Result<()> {
        let now = self.now();
        let Opened { writer, reader, .. } = self.store.as_mut().context("no store")?;
        let key = reader.key();
        for _ in 0..messages {
            let message = self.work.draw();
            let readers = message.readers.map(|reader| TimelineId(reader.list));
            let timeline = TimelineId(message.timeline);
            let draft = Draft {
                key: Some(key.id(KEYS, &[&self.messages.to_le_bytes()])),
                ..ours::draft(now, timeline, message.seq, &readers, &message.body)
            };
            writer.append_next(&draft)?;
            self.messages += 1;
        }
        writer.commit()?;
        writer.tick(now);
        match reader.run_failure() {
            Some(reason) => Err(anyhow::anyhow!(reason).context("merging failed")),
            None => Ok(()),
        }
    }

    /// Opens the store again several times. Returns the milliseconds of the fastest opening,
    /// because other work of the machine delays the others.
    fn reopen(&mut self) -> anyhow::Result<f64> {
        let mut fastest = f64::INFINITY;
        for _ in 0..OPENINGS {
            // The folder stays locked until the last reader is dropped.
            self.store = None;
            let began = Instant::now();
            self.store = Some(Store::open(&self.dir, self.options.clone(), &mut |_| {})?);
            fastest = fastest.min(began.elapsed().as_secs_f64() * 1e3);
        }
        self.before = StoreReading::default();
        self.cpu = Threads::of("self")?;
        Ok(fastest)
    }
}

impl Hour {
    /// Returns the heading of the lines.
    pub(crate) fn head() -> String {
        format!(
            "{:>5} {:>13} {:>9} {:>6} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "hour",
            "messages",
            "msg/s",
            "files",
            "disk MiB",
            "RSS MiB",
            "index",
            "counted",
            "device",
            "open ms"
        )
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5} {:>13} {:>9} {:>6} {:>9} {:>8} {:>8.1} {:>8.2} {:>8} {:>8}",
            self.hour,
            grouped(self.messages),
            short(self.rate),
            grouped(self.files),
            grouped(self.disk_bytes >> 20),
            grouped(self.memory_bytes >> 20),
            self.index_bytes as f64 / f64::from(1 << 20),
            self.counted,
            self.written.map(short).unwrap_or_default(),
            self.opening.map(short).unwrap_or_default()
        )
    }
}
