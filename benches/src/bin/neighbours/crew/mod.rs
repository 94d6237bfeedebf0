//! All connections of all attackers, on one thread.

mod quota;
mod seat;
mod tally;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::bail;
use mio::{Events, Poll, Token};
use nix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::attack::{Attack, Entry, Listed, Manner, Next, Turn};
use crate::crew::quota::Quota;
use crate::crew::seat::{Place, Seat};
use crate::pen::Pen;
use crate::protobuf;
use crate::stage::{Stage, hello};

pub(crate) use tally::Tally;

/// The most time until all connections are open.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most steps of a connection before the next connection has its turn.
const STEPS: usize = 64;

/// A connection writes no more while this many bytes wait.
const OUT: usize = 256 << 10;

/// The longest time without a look at all connections.
const LOOK: Duration = Duration::from_millis(5);

/// The niceness of attackers (nice(2)) where they cannot be idle.
const NICE: i32 = 19;

/// The attackers of one attack, with their connections.
pub(crate) struct Crew {
    poll: Poll,
    attackers: Vec<Attacker>,
    tally: Tally,
    manner: Manner,
    /// The most commands of a connection in flight at a gateway.
    window: usize,
    /// What limits the attack besides the server; `None` at a gateway.
    quota: Option<Quota>,
    /// The seat that the quota ends next.
    ends_next: usize,
}

struct Attacker {
    me: String,
    attack: Box<dyn Attack>,
    seats: Vec<Seat>,
}

impl Crew {
    /// Prepares an attack by one attacker for each stage. Nothing is connected yet. `window` replaces
    /// the attack's own number of commands in flight.
    ///
    /// # Errors
    /// The gateway refuses something that the attack needs.
    pub(crate) fn new(
        listed: &Listed,
        stages: &[Stage<'_>],
        window: Option<usize>,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut attackers = Vec::new();
        let mut tokens = 0..;
        let mut manner = (listed.make)().manner();
        manner.window = window.unwrap_or(manner.window);
        for stage in stages {
            let mut attack = (listed.make)();
            attack.prepare(stage)?;
            let seats = (0..manner.connections_each(stages.len())).map(|at| {
                let user = attack.user(&stage.me, at);
                let place = Place {
                    server: stage.server,
                    source: stage.source,
                    manner,
                    token: Token(tokens.next().unwrap_or_default()),
                };
                Seat::new(place, &greeting(stage, manner, &user, at))
            });
            attackers.push(Attacker {
                me: stage.me.clone(),
                seats: seats.collect(),
                attack,
            });
        }
        Ok(Self {
            poll,
            attackers,
            tally: Tally::default(),
            manner,
            window: manner.window,
            quota: None,
            ends_next: 0,
        })
    }

    /// Opens all sessions. Connections that are less than a session are opened by the attack.
    ///
    /// # Errors
    /// The gateway does not take all sessions within a minute.
    pub(crate) fn open(&mut self) -> anyhow::Result<()> {
        if self.manner.entry != Entry::Session {
            return Ok(());
        }
        let mut turns = Turns::new()?;
        let start = Instant::now();
        while !self.seats().all(|seat| seat.is_in()) {
            if start.elapsed() > PATIENCE {
                let inside = self.seats().filter(|seat| seat.is_in()).count();
                bail!("{inside} sessions of the attacker are open after {PATIENCE:?}");
            }
            self.reopen()?;
            self.wait(&mut turns, LOOK)?;
        }
        Ok(())
    }

    /// Ends all connections.
    pub(crate) fn leave(&mut self) {
        for seat in self.attackers.iter_mut().flat_map(|one| &mut one.seats) {
            seat.leave();
        }
    }

    /// Ends all connections. The next attack goes to a server that answers nothing, with as many steps
    /// and new connections each second as `tally` has over `time`.
    pub(crate) fn move_to(&mut self, server: SocketAddr, tally: &Tally, time: Duration) {
        for seat in self.attackers.iter_mut().flat_map(|one| &mut one.seats) {
            seat.move_to(server);
        }
        self.manner.window = usize::MAX;
        self.quota = Some(Quota::new(tally, time));
    }

    /// Ends all connections. The next attack goes to a gateway again, which answers.
    pub(crate) fn return_to(&mut self, server: SocketAddr) {
        for seat in self.attackers.iter_mut().flat_map(|one| &mut one.seats) {
            seat.move_to(server);
        }
        self.manner.window = self.window;
        self.quota = None;
        self.ends_next = 0;
    }

    /// Attacks until it is told that the time is over. Dropping the crew closes its connections.
    ///
    /// # Errors
    /// The kernel has no socket left.
    pub(crate) fn attack(&mut self, over: &AtomicBool) -> anyhow::Result<Tally> {
        stand_back()?;
        let mut turns = Turns::new()?;
        self.tally = Tally::default();
        let began = Instant::now();
        let cpu = thread_seconds()?;
        while !over.load(SeqCst) {
            self.reopen()?;
            let stepped = self.step_all(over, began);
            self.end_some(began);
            let wait = if stepped { Duration::ZERO } else { LOOK };
            self.wait(&mut turns, wait)?;
        }
        self.tally.cpu = thread_seconds()? - cpu;
        Ok(self.tally.clone())
    }

    fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.attackers.iter().flat_map(|attacker| &attacker.seats)
    }

    fn reopen(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let seats = self.attackers.iter_mut().flat_map(|one| &mut one.seats);
        for seat in seats.filter(|seat| seat.is_due(now)) {
            seat.open(self.poll.registry(), &mut self.tally)?;
        }
        Ok(())
    }

    /// Lets every connection have its steps. Returns whether there were any.
    fn step_all(&mut self, over: &AtomicBool, began: Instant) -> bool {
        let mut stepped = false;
        let most = self
            .quota
            .as_ref()
            .map(|quota| quota.steps(began.elapsed()));
        let now = Instant::now();
        for Attacker { me, attack, seats } in &mut self.attackers {
            for (at, seat) in seats.iter_mut().enumerate() {
                let mut left = STEPS;
                while left > 0
                    && most.is_none_or(|most| self.tally.steps < most)
                    && seat.is_in()
                    && !seat.rests
                    && seat.in_flight < self.manner.window
                    && seat.out.len() < OUT
                    && now >= seat.next_step
                {
                    left -= 1;
                    stepped = true;
                    step(attack.as_mut(), me, at, seat);
                    self.tally.steps += 1;
                    seat.next_step = now + self.manner.pace;
                    if !self.manner.pace.is_zero() {
                        break;
                    }
                }
                if left < STEPS {
                    seat.flush(&mut self.tally);
                }
                if over.load(SeqCst) {
                    return stepped;
                }
            }
        }
        stepped
    }

    /// Ends connections, as many as the quota has, which open again.
    fn end_some(&mut self, began: Instant) {
        let Some(quota) = &self.quota else { return };
        let due = quota.opened(began.elapsed());
        let mut seats: Vec<_> = (self.attackers.iter_mut())
            .flat_map(|one| &mut one.seats)
            .collect();
        let opened = self.tally.opened;
        for _ in 0..due.saturating_sub(opened).min(seats.len() as u64) {
            let at = self.ends_next % seats.len();
            self.ends_next += 1;
            if seats[at].is_in() {
                seats[at].leave();
            }
        }
    }

    fn wait(&mut self, turns: &mut Turns, time: Duration) -> anyhow::Result<()> {
        let mut time = time;
        let seats = self.attackers.iter_mut().flat_map(|one| &mut one.seats);
        for seat in seats.filter(|seat| seat.has_more) {
            seat.ready(&mut turns.buffer, &mut self.tally);
            time = Duration::ZERO;
        }
        match self.poll.poll(&mut turns.events, Some(time)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(error.into());
            }
            _ => {}
        }
        let each = self.attackers.first().map_or(1, |one| one.seats.len());
        for event in &turns.events {
            let Token(number) = event.token();
            let seats = self.attackers.get_mut(number / each);
            if let Some(seat) = seats.and_then(|one| one.seats.get_mut(number % each)) {
                seat.ready(&mut turns.buffer, &mut self.tally);
            }
        }
        Ok(())
    }
}

/// What a loop over events needs.
struct Turns {
    events: Events,
    buffer: Vec<u8>,
}

impl Turns {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            events: Events::with_capacity(1_024),
            buffer: vec![0; 256 << 10],
        })
    }
}

/// Returns the seconds of a processor that this thread has taken.
fn thread_seconds() -> anyhow::Result<f64> {
    let taken = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(Duration::from(taken).as_secs_f64())
}

/// Gives this thread the lowest priority of the kernel (`SCHED_IDLE`): a real attacker has a
/// machine of its own, and what honest users wait for here is the gateway. A thread that is only nice
/// keeps its processor for milliseconds while a gateway waits for it.
fn stand_back() -> anyhow::Result<()> {
    let thread = rustix::thread::gettid();
    let mut idle = Command::new("chrt");
    idle.args(["--idle", "--pid", "0", &thread.as_raw_nonzero().to_string()]);
    let is_idle = idle.stderr(Stdio::null()).status();
    if !is_idle.is_ok_and(|status| status.success()) {
        eprintln!("attackers are only nice: chrt of util-linux is missing, or may not do it");
        rustix::process::setpriority_process(Some(thread), NICE)?;
    }
    Ok(())
}

fn step(attack: &mut dyn Attack, me: &str, at: usize, seat: &mut Seat) {
    let turn = Turn {
        me,
        at,
        step: seat.steps,
        since_open: seat.since_open,
    };
    let mut pen = Pen::new(&mut seat.out, &mut seat.in_flight);
    let next = attack.step(&turn, &mut pen);
    seat.steps += 1;
    seat.since_open += 1;
    match next {
        Next::Go => {}
        Next::Rest => seat.rests = true,
        Next::Leave => seat.leave(),
    }
}

/// Returns the payload of `connect` of a connection.
fn greeting(stage: &Stage<'_>, manner: Manner, user: &str, at: usize) -> Vec<u8> {
    let device = format!("d{at}");
    let mut fields = hello(stage.signer, user, &device);
    if manner.protobuf {
        return protobuf::connect(&fields);
    }
    if manner.resumes {
        fields["resume"] = json!(true);
    }
    json!({"id": 1, "connect": fields}).to_string().into_bytes()
}
