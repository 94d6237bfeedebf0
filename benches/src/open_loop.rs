//! Sends messages at the times of a schedule, whether or not earlier ones are answered: latency
//! under load.
//!
//! Latency counts from the time a message should have been sent, so neither a slow server nor a
//! slow client hides its queue.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use memchr::memmem;
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd};
use trunkline_proto::connection::Event;
use trunkline_proto::frame::{Opcode, write_frame};

use crate::arrivals::Arrivals;
use crate::crowd::{Crowd, MASK};

/// The most time to wait for answers after the last message.
const SETTLE: Duration = Duration::from_secs(5);

/// The token of the timer.
const TIMER: Token = Token(usize::MAX);

/// The number of digits of the time in a message's text.
const DIGITS: usize = 19;

/// The byte after the time in the text of a message whose latency counts.
const COUNTS: u8 = b'+';

/// The messages that a crowd of sessions sends in pairs.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// The beginning of the users' names.
    pub name: &'static str,
    /// The total number of messages per second. They are sent at random times, each from a random
    /// member to the other of its pair.
    pub rate: f64,
    /// The bytes of text per message, at least 20.
    pub bytes: usize,
}

/// Controls a running traffic from another thread.
#[derive(Debug, Default)]
pub struct Control(AtomicU8);

const END: u8 = 2;

impl Control {
    /// Sets whether messages that are sent from now on count.
    pub fn count(&self, counts: bool) {
        self.0.store(u8::from(counts), SeqCst);
    }

    /// Ends sending.
    pub fn end(&self) {
        self.0.store(END, SeqCst);
    }
}

/// A latency, with its message's intended time of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed {
    /// The intended time of sending, in nanoseconds since 1970.
    pub due: u64,
    /// The latency in nanoseconds.
    pub latency: u64,
}

/// The latencies of each message, for one who counts only some of them afterwards.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Each {
    /// The latencies up to the reply.
    pub ack: Vec<Timed>,
    /// The latencies up to the push.
    pub e2e: Vec<Timed>,
    /// The latencies up to the write.
    pub lag: Vec<Timed>,
}

/// The measured latencies, in nanoseconds from the intended time of sending.
#[derive(Debug)]
pub struct Latencies {
    /// The latencies up to the reply that the message is stored.
    pub ack: Histogram<u64>,
    /// The latencies up to the push at the recipient.
    pub e2e: Histogram<u64>,
    /// The latencies up to the write of the message, which are the client's own part of the others.
    pub lag: Histogram<u64>,
    /// The latencies up to the push, of the messages that were to be sent in each second of the count,
    /// in order.
    pub by_second: Vec<Histogram<u64>>,
    /// The second of the run in which counting began.
    counts_from: Option<u64>,
    /// The latencies of each counted message, of the first `keep` ones of each kind.
    pub each: Each,
    keep: usize,
    /// The time at which the run began, in nanoseconds since 1970.
    began: u64,
    /// The number of messages that were sent, counted or not.
    pub sent: u64,
    /// The number of messages that were acknowledged.
    pub acked: u64,
    /// The number of messages that were pushed.
    pub pushed: u64,
}

impl Latencies {
    fn new(keep: usize) -> anyhow::Result<Self> {
        // Holds values up to a minute, with an error of a thousandth.
        let histogram = || Histogram::new_with_max(60_000_000_000, 3);
        let began = SystemTime::now().duration_since(UNIX_EPOCH)?;
        Ok(Self {
            each: Each::default(),
            keep,
            began: began.as_nanos() as u64,
            ack: histogram()?,
            e2e: histogram()?,
            lag: histogram()?,
            by_second: Vec::new(),
            counts_from: None,
            sent: 0,
            acked: 0,
            pushed: 0,
        })
    }

    /// Returns a latency with the time of its message on the clock of the machine.
    fn timed(&self, due: u64, latency: u64) -> Timed {
        let due = self.began + due;
        Timed { due, latency }
    }

    /// Records the time up to the write.
    fn record_write(&mut self, due: u64, now: u64) {
        let latency = now.saturating_sub(due);
        self.lag.saturating_record(latency);
        if self.each.lag.len() < self.keep {
            self.each.lag.push(self.timed(due, latency));
        }
    }

    /// Records the time up to a reply.
    fn record_reply(&mut self, due: u64, now: u64) {
        let latency = now.saturating_sub(due);
        self.ack.saturating_record(latency);
        if self.each.ack.len() < self.keep {
            self.each.ack.push(self.timed(due, latency));
        }
    }

    /// Records the time up to a push.
    fn record_push(&mut self, due: u64, now: u64) -> anyhow::Result<()> {
        let latency = now.saturating_sub(due);
        self.e2e.saturating_record(latency);
        if self.each.e2e.len() < self.keep {
            self.each.e2e.push(self.timed(due, latency));
        }
        let second = due / 1_000_000_000;
        let first = *self.counts_from.get_or_insert(second);
        let at = second.saturating_sub(first) as usize;
        while self.by_second.len() <= at {
            self.by_second
                .push(Histogram::new_with_max(60_000_000_000, 2)?);
        }
        self.by_second[at].saturating_record(latency);
        Ok(())
    }
}

/// Returns a percentile of a histogram in milliseconds.
#[must_use]
pub fn millis(of: &Histogram<u64>, quantile: f64) -> f64 {
    of.value_at_quantile(quantile) as f64 / 1e6
}

struct Loop<'a> {
    crowd: &'a mut Crowd,
    traffic: Traffic,
    start: Instant,
    /// The unacknowledged messages of each member: the intended time, and whether the message
    /// counts.
    waiting: Vec<VecDeque<(u64, bool)>>,
    arrivals: Arrivals,
    text: Vec<u8>,
    seen: Latencies,
}

/// Sends messages among the members of a crowd until `control` ends it, then waits for the messages
/// under way.
///
/// # Errors
/// The server ends a connection, answers with an error, or leaves something unanswered.
pub fn run(crowd: &mut Crowd, traffic: Traffic, control: &Control) -> anyhow::Result<Latencies> {
    run_keeping(crowd, traffic, control, 0)
}

/// Sends messages as [`run`] does, and keeps the latencies of each of the first `keep` counted messages too.
///
/// # Errors
/// The server ends a connection, answers with an error, or leaves something unanswered.
pub fn run_keeping(
    crowd: &mut Crowd,
    traffic: Traffic,
    control: &Control,
    keep: usize,
) -> anyhow::Result<Latencies> {
    let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
    let raw = timer.as_fd().as_raw_fd();
    let registry = crowd.poll.registry();
    registry.register(&mut SourceFd(&raw), TIMER, Interest::READABLE)?;
    let waiting = crowd.members.iter().map(|_| VecDeque::new()).collect();
    let mut running = Loop {
        crowd,
        traffic,
        start: Instant::now(),
        waiting,
        arrivals: Arrivals::new(traffic.rate),
        text: Vec::new(),
        seen: Latencies::new(keep)?,
    };
    let ran = running.run(&timer, control);
    let seen = running.seen;
    crowd.poll.registry().deregister(&mut SourceFd(&raw))?;
    ran.map(|()| seen)
}

impl Loop<'_> {
    fn run(&mut self, timer: &TimerFd, control: &Control) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let mut buffer = vec![0; 64 << 10];
        let mut due = 0;
        let mut ended = None;
        loop {
            let now = self.nanos();
            match control.0.load(SeqCst) {
                END => {
                    let ended = *ended.get_or_insert(now);
                    let seen = &self.seen;
                    if seen.acked == seen.sent && seen.pushed == seen.sent {
                        return Ok(());
                    }
                    if now - ended > SETTLE.as_nanos() as u64 {
                        let (sent, acked, pushed) = (seen.sent, seen.acked, seen.pushed);
                        bail!("{sent} sent, {acked} acknowledged, {pushed} pushed");
                    }
                }
                counts => {
                    while due <= now {
                        self.send(due, counts == 1)?;
                        due += self.arrivals.gap();
                    }
                    let wait = Duration::from_nanos(due.saturating_sub(self.nanos()).max(1));
                    let wait = Expiration::OneShot(TimeSpec::from_duration(wait));
                    timer.set(wait, TimerSetTimeFlags::empty())?;
                }
            }
            let longest = Duration::from_millis(20);
            self.crowd.poll.poll(&mut events, Some(longest))?;
            for event in &events {
                if event.token() == TIMER {
                    // The read resets the timer. The count does not matter.
                    let _ = timer.wait();
                } else {
                    self.read(event.token().0, &mut buffer)?;
                }
            }
        }
    }

    fn nanos(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn send(&mut self, due: u64, counts: bool) -> anyhow::Result<()> {
        let from = self.arrivals.pick(self.waiting.len() & !1);
        let Traffic { name, bytes, .. } = self.traffic;
        let mark = if counts { COUNTS } else { b'-' };
        self.text.clear();
        write!(
            self.text,
            r#"{{"id":1,"send":{{"user":"{name}{}","text":"{due:0DIGITS$}{}"#,
            from ^ 1,
            mark as char
        )?;
        let filled = self.text.len() + bytes.saturating_sub(DIGITS + 1);
        self.text.resize(filled, b'x');
        self.text.extend_from_slice(br#""}}"#);
        let Some(Some(member)) = self.crowd.members.get_mut(from) else {
            bail!("a member is not there");
        };
        write_frame(&mut member.out, Opcode::Text, &self.text, MASK);
        flush(member)?;
        self.waiting[from].push_back((due, counts));
        self.seen.sent += 1;
        if counts {
            let now = self.nanos();
            self.seen.record_write(due, now);
        }
        Ok(())
    }

    fn read(&mut self, at: usize, buffer: &mut [u8]) -> anyhow::Result<()> {
        let now = self.nanos();
        loop {
            let Some(Some(member)) = self.crowd.members.get_mut(at) else {
                return Ok(());
            };
            // The event may be for writing or for reading, so both are tried.
            flush(member)?;
            let read = match member.stream.read(buffer) {
                Ok(0) => bail!("the server ended a connection"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("a connection failed"),
            };
            let mut input = &mut buffer[..read];
            while let Some(event) = member.framing.receive(&mut input, 1 << 20)? {
                match event {
                    Event::Message(_, payload) => {
                        message(&payload, now, &mut self.waiting[at], &mut self.seen)?;
                    }
                    Event::Ping(payload) => {
                        write_frame(&mut member.out, Opcode::Pong, &payload, MASK);
                    }
                    Event::Pong(_) => {}
                    Event::Close(code, reason) => bail!("closed: {code:?} {reason}"),
                }
            }
            if read < buffer.len() {
                return flush(member);
            }
        }
    }
}

/// Takes a reply or a pushed message.
fn message(
    payload: &[u8],
    now: u64,
    waiting: &mut VecDeque<(u64, bool)>,
    seen: &mut Latencies,
) -> anyhow::Result<()> {
    if let Some(at) = memmem::find(payload, br#""text":""#) {
        let text = &payload[at + 8..];
        let due: Option<u64> = text
            .get(..DIGITS)
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let due = due.context("a message that was not sent")?;
        seen.pushed += 1;
        if text.get(DIGITS) == Some(&COUNTS) {
            seen.record_push(due, now)?;
        }
    } else if memmem::find(payload, br#""send""#).is_some() {
        let (due, counts) = waiting.pop_front().context("a reply to nothing")?;
        seen.acked += 1;
        if counts {
            seen.record_reply(due, now);
        }
    } else {
        bail!("the server says {}", String::from_utf8_lossy(payload));
    }
    Ok(())
}

fn flush(member: &mut crate::crowd::Member) -> anyhow::Result<()> {
    if member.out.is_empty() {
        return Ok(());
    }
    match member.stream.write(&member.out) {
        Ok(sent) => drop(member.out.drain(..sent)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => return Err(error).context("a connection failed"),
    }
    Ok(())
}
