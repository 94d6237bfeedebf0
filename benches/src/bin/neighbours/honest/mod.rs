//! The honest users: pairs who send each other messages at the times of a schedule, whether or not
//! earlier ones have arrived.

mod ledger;
mod person;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use trunkline_benches::arrivals::Arrivals;
use trunkline_benches::talk::Talk;
use trunkline_benches::tokens::Signer;

use crate::honest::person::{Heard, Person};
use crate::samples::Samples;
use crate::stage::hello;
use crate::turns::Board;

pub(crate) use ledger::{Harm, Ledger};

/// The token of the timer.
const TIMER: Token = Token(usize::MAX);

/// The most time to wait for answers after the last message.
const SETTLE: Duration = Duration::from_secs(10);

/// The longest time without a look at the board.
const LOOK: Duration = Duration::from_millis(20);

/// The honest users. The two users of a pair have neighbouring indices.
pub(crate) struct Honest {
    poll: Poll,
    people: Vec<Person>,
    ledger: Ledger,
    start: Instant,
    arrivals: Arrivals,
}

impl Honest {
    /// Connects the pairs.
    ///
    /// # Errors
    /// The gateway does not take a session.
    pub(crate) fn connect(
        server: SocketAddr,
        signer: Option<&Signer>,
        pairs: usize,
        rate: f64,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut people = Vec::new();
        for at in 0..2 * pairs {
            let hello = hello(signer, &name(at), "d");
            let talk = Talk::greet(server, Ipv4Addr::LOCALHOST, &hello)?;
            let stream = talk.into_stream();
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(at), both)?;
            people.push(Person::new(stream));
        }
        Ok(Self {
            poll,
            people,
            ledger: Ledger::new()?,
            start: Instant::now(),
            arrivals: Arrivals::new(rate),
        })
    }

    /// Returns the latencies of single messages, which go on being added.
    pub(crate) fn samples(&self) -> Samples {
        self.ledger.samples.clone()
    }

    /// Sends messages until the board says that the measurement is over, then waits for what is on
    /// its way. Returns what became of the messages.
    ///
    /// # Errors
    /// The kernel gives no timer or no events.
    pub(crate) fn run(mut self, board: &Board) -> anyhow::Result<Ledger> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let raw = timer.as_fd().as_raw_fd();
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&raw), TIMER, Interest::READABLE)?;
        let mut events = Events::with_capacity(1_024);
        let mut buffer = vec![0; 64 << 10];
        let mut due = self.nanos();
        let mut ended = None;
        loop {
            if board.is_over() {
                let ended = *ended.get_or_insert_with(Instant::now);
                if self.is_settled() || ended.elapsed() > SETTLE {
                    return self.close();
                }
            } else {
                while due <= self.nanos() {
                    self.send(due, board);
                    due += self.arrivals.gap();
                }
                let wait = Duration::from_nanos(due.saturating_sub(self.nanos()).max(1));
                let wait = Expiration::OneShot(TimeSpec::from_duration(wait));
                timer.set(wait, TimerSetTimeFlags::empty())?;
            }
            self.poll.poll(&mut events, Some(LOOK))?;
            for event in &events {
                if event.token() == TIMER {
                    // Reading resets it; the count does not matter.
                    let _ = timer.wait();
                } else {
                    self.read(event.token().0, &mut buffer)?;
                }
            }
            board.report_waiting(self.ledger.waiting);
        }
    }

    fn nanos(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn send(&mut self, due: u64, board: &Board) {
        let from = self.arrivals.pick(self.people.len());
        let turn = board.turn();
        let sender = &mut self.people[from];
        if sender.stream.is_none() {
            return;
        }
        self.ledger.sent(turn, due);
        if !sender.send(&name(from ^ 1), due, turn) {
            self.ledger.harm.closed += 1;
        }
    }

    fn read(&mut self, at: usize, buffer: &mut [u8]) -> anyhow::Result<()> {
        let now = self.nanos();
        let mut heard = Vec::new();
        self.people[at].read(buffer, &mut heard);
        for heard in heard {
            match heard {
                Heard::Stored(_) => self.people[at].answered += 1,
                Heard::Refused(number) => self.ledger.refused(&mut self.people[at], number),
                Heard::Message(sent) => {
                    self.ledger.arrived(&mut self.people[at ^ 1], sent, now)?;
                }
                Heard::Gap => self.ledger.harm.lost += 1,
                Heard::Ended => self.ledger.harm.closed += 1,
            }
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        let settled = |one: &Person| one.on_the_way.is_empty() && one.answered == one.sent;
        self.people.iter().all(settled)
    }

    fn close(mut self) -> anyhow::Result<Ledger> {
        let now = self.nanos();
        for person in &mut self.people {
            self.ledger.close(person, now)?;
        }
        Ok(self.ledger)
    }
}

/// Returns the name of an honest user.
fn name(at: usize) -> String {
    format!("honest.{at}")
}
