//! The process of one contender.

use std::cell::RefCell;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::steady::{Goal, Measured, Meter, Progress, Reading};
use crate::{Command, Contender, Message, READ, Reply, Setup, Work};

/// The line on standard output before the groups whose syncs are counted.
pub const BEGIN: &str = "begin groups";
/// The line on standard output after the groups whose syncs are counted, before the reply.
pub const DONE: &str = "end groups";

/// The number of messages per group of the load. It is not larger than that of measured groups,
/// because some stores read a whole group to return one message.
const LOAD_GROUP: u64 = 1_000;

/// Runs a contender with the setup in the arguments ([`Setup`]) and the tasks on standard input
/// ([`Command`]).
///
/// The first reply has the time that the opening took, including the read of the last stored
/// message.
pub fn serve<C: Contender>(args: impl Iterator<Item = String>) -> ExitCode {
    let mut out = std::io::stdout();
    let mut said = |text: Result<Reply, anyhow::Error>| {
        let (line, ok) = match text {
            Ok(reply) => (reply.to_string(), true),
            Err(error) => (format!("error {error:#}").replace('\n', " "), false),
        };
        // A parent that closed the output also closes the input, which ends this process.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        ok
    };
    let mut seat = match Setup::parse(args).and_then(Seat::<C>::open) {
        Ok((seat, reply)) => {
            said(Ok(reply));
            seat
        }
        Err(error) => {
            said(Err(error));
            return ExitCode::FAILURE;
        }
    };
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if !said(line.parse().and_then(|command| seat.obey(command))) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// A contender and its work.
struct Seat<C> {
    store: C,
    work: Work,
}

impl<C: Contender> Seat<C> {
    fn open(setup: Setup) -> anyhow::Result<(Self, Reply)> {
        std::fs::create_dir_all(&setup.dir)?;
        let mut work = Work::new(setup.timelines, setup.messages);
        let last = work.skip(setup.stored);
        let began = Instant::now();
        let mut store = C::open(&setup.dir, setup.entries).context("cannot open the store")?;
        if let Some(last) = last {
            // A store that postpones its recovery must do it now.
            expect(&mut store, last.timeline, last.seq, last.seq)?;
        }
        let took = began.elapsed().as_secs_f64();
        let reply = Reply::default().with("seconds", took);
        Ok((Seat { store, work }, reply))
    }

    fn obey(&mut self, command: Command) -> anyhow::Result<Reply> {
        match command {
            Command::Load { messages } => self.load(messages),
            Command::Append { group, millis } => self.append(group, Duration::from_millis(millis)),
            Command::Groups { group, count } => {
                println(BEGIN)?;
                for _ in 0..count {
                    let messages = self.draw(group);
                    self.store.append(&messages)?;
                }
                println(DONE)?;
                Ok(Reply::default())
            }
            Command::Check => {
                let all: Vec<_> = self.work.reads().collect();
                for (timeline, last) in all {
                    expect(&mut self.store, timeline, first_of(last), last)?;
                }
                Ok(Reply::default())
            }
            Command::Read { count } => self.read(count),
            Command::Settle => self.store.settle().map(|()| Reply::default()),
            Command::Cost => {
                let reply = Reply::default().with("memory", resident()?);
                Ok(match self.store.reading() {
                    Some(reading) => reply.with("written", reading.written as f64),
                    None => reply,
                })
            }
        }
    }

    fn load(&mut self, messages: u64) -> anyhow::Result<Reply> {
        let (mut spent, mut left) = (Duration::ZERO, messages);
        while left > 0 {
            let now = left.min(LOAD_GROUP);
            let group: Vec<Message> = (0..now).map(|_| self.work.load()).collect();
            let began = Instant::now();
            self.store.append(&group)?;
            spent += began.elapsed();
            left -= now;
        }
        Ok(Reply::default().with("seconds", spent.as_secs_f64()))
    }

    /// Appends until the store is steady. Returns what the series and the meter say of it. The clock
    /// stands still while messages are made.
    fn append(&mut self, group: usize, time: Duration) -> anyhow::Result<Reply> {
        self.append_until(group, Goal::warm(time))?;
        let measured = self.append_until(group, Goal::steady(time))?;
        Ok(reply_of(&measured))
    }

    fn append_until(&mut self, group: usize, goal: Goal) -> anyhow::Result<Measured> {
        let Seat { store, work } = self;
        let store = RefCell::new(store);
        let read = || Reading::of("self", store.borrow().reading());
        let mut meter = Meter::start(goal, &read)?;
        let (mut spent, mut count) = (Duration::ZERO, 0);
        loop {
            let messages: Vec<Message> = (0..group).map(|_| work.draw()).collect();
            let began = Instant::now();
            store.borrow_mut().append(&messages)?;
            spent += began.elapsed();
            count += group as u64;
            if meter.enter(spent, count)? == Progress::Over {
                return meter.finish();
            }
        }
    }

    fn draw(&mut self, group: usize) -> Vec<Message> {
        (0..group).map(|_| self.work.draw()).collect()
    }

    fn read(&mut self, count: u64) -> anyhow::Result<Reply> {
        let mut micros = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let (timeline, last) = self.work.draw_read();
            let mut bytes = 0;
            let began = Instant::now();
            self.store
                .read(timeline, first_of(last)..=last, &mut |_, body| {
                    bytes += body.len();
                })?;
            micros.push(began.elapsed().as_secs_f64() * 1e6);
            ensure!(bytes as u64 == READ * crate::BODY as u64, "a short read");
        }
        micros.sort_by(f64::total_cmp);
        let at = |part: f64| micros[((micros.len() - 1) as f64 * part) as usize];
        Ok(Reply::default().with("p50", at(0.5)).with("p99", at(0.99)))
    }
}

/// Returns the figures of a measurement of appends, without those that the store does not tell.
///
/// `background` is the share of the CPU time of all threads but the first one, which appends.
fn reply_of(measured: &Measured) -> Reply {
    let series = &measured.series;
    let reply = Reply::default()
        .with("rate", series.mean())
        .with("seconds", series.time().as_secs_f64())
        .with("worst", series.worst())
        .with("worst_of_mean", series.worst_of_mean())
        .with("last_of_first", series.last_of_first())
        .with("background", measured.cpu.share_of_others())
        .with("device", measured.device_per_byte(crate::BODY));
    let Some(verdict) = measured.verdict else {
        return reply;
    };
    let parts = [verdict.before, verdict.after].map(|debt| [debt.unsorted, debt.unmerged]);
    let names = [
        "unsorted_before",
        "unmerged_before",
        "unsorted_after",
        "unmerged_after",
    ];
    let reply = reply
        .with("written", measured.written_per_byte(crate::BODY))
        .with("segments", verdict.segments)
        .with("segment", verdict.segment as f64);
    let parts = names.into_iter().zip(parts.into_iter().flatten());
    parts.fold(reply, |reply, (name, bytes)| reply.with(name, bytes as f64))
}

/// Returns the first sequence of a read that ends with `last`.
fn first_of(last: u64) -> u64 {
    (last + 1).saturating_sub(READ).max(1)
}

/// Checks that the messages are there, and equal those that were stored.
fn expect<C: Contender>(
    store: &mut C,
    timeline: u128,
    first: u64,
    last: u64,
) -> anyhow::Result<()> {
    let mut next = first;
    store.read(timeline, first..=last, &mut |seq, body| {
        if seq == next && body == Work::body(timeline, seq) {
            next += 1;
        }
    })?;
    ensure!(
        next == last + 1,
        "{timeline:032x}: {next} is not there as it was stored, of {first} to {last}"
    );
    Ok(())
}

fn println(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    // One call of write(2), so that the trace has the line in one piece.
    out.write_all(format!("{line}\n").as_bytes())?;
    Ok(out.flush()?)
}

/// Returns the memory of this process in bytes (proc(5)).
fn resident() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("no VmRSS")?.parse::<f64>()? * 1024.0)
}
