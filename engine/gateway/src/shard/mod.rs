//! A shard: one thread, one event loop, the connections it accepted.
//!
//! A shard owns everything that it touches. A turn of the loop takes the mail, reads the sockets that have
//! input, hands the commands of the turn to the sequencer in one batch, and sends the output of the turn
//! with one write per connection.

mod accept;
mod admission;
mod asking;
mod back;
mod backlog;
mod charge;
mod chunks;
mod connection;
mod core;
mod departing;
pub mod descriptors;
mod drain;
mod ephemeral;
mod greeting;
mod handoff;
mod incoming;
mod input;
mod lane;
mod lanes;
pub mod listener;
mod mail;
mod memory;
mod opening;
mod orders;
mod outbox;
mod parts;
mod pool;
mod price;
mod proxied;
mod purse;
mod questions;
mod rate;
mod reads;
mod relief;
mod resuming;
mod returns;
mod share;
mod source;
mod times;
mod tls;
mod tokens;
mod trace;
mod turn;
mod unanswered;
mod waiting;
mod waker;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use trunkline_core::cost::Cost;
use trunkline_core::exchange::Mail;
use trunkline_core::ids::NamespaceId;

use self::accept::ACCEPT_PAUSE;
use self::backlog::CONTINUED;
use self::connection::Conn;
use self::core::Core;
use self::reads::{Asker, Readiness};
use self::share::{Part, Share};
use self::turn::Stint;
use crate::metrics::Limit;
use crate::timer::Tick;

pub use self::back::RPCS;
pub use self::parts::{Parts, Shared};
pub(crate) use self::rate::Exceeded;
pub(crate) use self::source::Source;
pub use self::waker::ShardWaker;

/// The token of the waker. Connections have their slot as token.
const WAKE: Token = Token(usize::MAX);

/// The token of the listener.
const LISTENER: Token = Token(usize::MAX - 1);

/// The number of events that a turn takes from the kernel at most. Reading a connection and writing the
/// answer takes some 15 µs: a crowd that sends at the same time is served over several turns, and the
/// pushes for others go out between them.
const EVENTS: usize = 64;

/// The number of letters that a turn handles at most.
const MAIL: usize = 64;

/// The size of the read buffer of a shard, in bytes.
const READ: usize = 64 << 10;

/// The number of bytes that a shard reads from a connection at a time. Others have their turn before
/// it reads more of them.
const PIECE: usize = 16 << 10;

/// The bytes of output up to which a connection is flushed at the end of the turn, whatever the
/// others have.
const LITTLE: usize = 16 << 10;

/// The bytes of output that a connection with more than [`LITTLE`] is flushed at a time to make room.
const MUCH: usize = 64 << 10;

/// The bytes of output that a connection with more than [`LITTLE`] is flushed at a time when its turn
/// comes. The kernel may take long for them: memory that the host of a virtual machine has taken back
/// takes 10 µs a page.
const PORTION: usize = 16 << 10;

/// The cost of the flushes in turn at the end of a turn: of much output, and of events for a crowd.
const FLUSHED: Cost = Cost::micros(200);

/// The cost of a flush besides its bytes.
const FLUSH: Cost = Cost::micros(3);

/// The bytes that the connections with much output get in a turn, after which their flushes rest for
/// some time while others live within their budgets: the sockets' receivers need the same processors.
const BULK: usize = 128 << 10;

/// The number of connections that a turn drops at most. Dropping one takes some 10 µs.
const DROPPED: usize = 32;

/// The number of connections that the table has room for from the beginning. A growing table would have
/// to be moved. Memory that was never written to takes no room.
const CONNS: usize = 32 << 10;

/// The number of connections beyond which a table is replaced once it is empty.
const KEPT: usize = 4_096;

/// The time that a shard sleeps before it tries the full queue of the sequencer again.
const STALL: Duration = Duration::from_millis(1);

/// An event loop with its connections.
pub struct Shard {
    poll: Poll,
    listener: Option<TcpListener>,
    /// The tick at which the shard accepts connections. `None`: no connection waits.
    accept_at: Option<Tick>,
    generation: u32,
    conns: Slab<Conn>,
    /// The largest number of connections since the table was made.
    peak: usize,
    /// The timers that are due and wait for a turn with time for them.
    fired: VecDeque<(u32, Tick)>,
    core: Core,
}

impl Shard {
    /// Makes a shard that listens. Call this in the thread and with the descriptor table in which the
    /// shard runs.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn open(poll: Poll, parts: Parts) -> io::Result<Self> {
        let mut listener = listener::bind(parts.listen)?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener: Some(listener),
            accept_at: None,
            generation: 0,
            conns: Slab::with_capacity(parts.room.min(CONNS)),
            peak: 0,
            fired: VecDeque::new(),
            core: Core::new(parts),
        })
    }

    /// Runs the loop until the gateway stops and the connections are gone.
    ///
    /// # Errors
    /// The event loop fails in the kernel.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; READ];
        let mut fired = Vec::new();
        loop {
            let now = Instant::now();
            self.core.turn.begin(now);
            let more_mail = self.take_mail(now);
            // What the mail and the input before it brought does not wait for the rest of the turn.
            self.flush_little();
            self.core.admission.begin_turn();
            self.do_what_can_wait(now, &mut fired, &mut buffer);
            self.core.handoff.submit();
            self.drain_step(now);
            self.tell_ephemeral();
            self.ask_readers();
            self.flush_little();
            self.relieve();
            self.show_connections();
            // The positions of the sessions that were dropped.
            self.core.handoff.submit();
            if self.core.departing.is_closing() && self.conns.is_empty() {
                self.core.parts.mailbox.close();
                return Ok(());
            }
            let timeout = self.timeout(now, more_mail);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                polled => polled?,
            }
            self.core.parts.mailbox.woke();
            self.core.parts.metrics.polls.one();
            self.core.turn.begin(Instant::now());
            for event in &events {
                match event.token() {
                    WAKE => self.core.parts.metrics.wakes.one(),
                    // The next turn accepts, and begins at once: a turn accepts only once.
                    LISTENER => self.accept_at = Some(self.core.turn.now()),
                    Token(slot) => self.ready(slot, event, &mut buffer),
                }
            }
            self.core.handoff.submit();
        }
    }

    /// Handles the mail of a turn that began at `began`. Returns whether there may be more.
    fn take_mail(&mut self, began: Instant) -> bool {
        let stint = Stint::since(began);
        // Most turns have one letter, a short one: they need no look at the clock.
        let mut was_dear = false;
        for number in 0..MAIL {
            if (was_dear || number > 1) && stint.is_over() {
                break;
            }
            let letter = self.core.parts.mailbox.take();
            was_dear = matches!(
                letter,
                Some(Mail::Answer(_) | Mail::Back(_) | Mail::Order(_))
            );
            match letter {
                None => return false,
                Some(Mail::Committed(committed)) => {
                    self.core.committed(&mut self.conns, &committed);
                    self.core.parts.mailbox.give_back(committed.items);
                }
                Some(Mail::Answer(answer)) => self.core.answered(&mut self.conns, answer),
                Some(Mail::Back(mail)) => self.core.back_came(&mut self.conns, *mail),
                Some(Mail::Order(order)) => self.core.ordered(&mut self.conns, *order),
                Some(Mail::Drain { connections }) => self.begin_drain(connections),
            }
        }
        true
    }

    /// Returns how long the shard may sleep. `None`: until an event comes.
    fn timeout(&self, now: Instant, more_mail: bool) -> Option<Duration> {
        let stalled = !self.core.handoff.is_empty();
        let unread = self.core.turn.has_unread() || self.core.admission.has_waiting();
        let unread = unread && !stalled;
        let flush = self.core.turn.has_leftovers();
        let accept = self.accept_at.is_some_and(|at| at <= self.core.turn.now());
        if more_mail
            || unread
            || flush
            || accept
            || !self.fired.is_empty()
            || self.core.reads.is_ready()
            || !self.core.parts.mailbox.may_sleep()
            || self.core.ephemeral.has_work()
        {
            return Some(Duration::ZERO);
        }
        let timer = self.core.turn.next_timer(now);
        let lane = self.core.turn.lanes.opens_in(now).filter(|_| !stalled);
        let flushes = self.core.turn.flushes_in(now);
        let soon = if stalled {
            Some(STALL)
        } else if self.core.departing.has_begun() {
            Some(drain::STEP)
        } else if self.accept_at.is_some() {
            Some(ACCEPT_PAUSE)
        } else {
            None
        };
        soon.into_iter()
            .chain(timer)
            .chain(lane)
            .chain(flushes)
            .min()
    }

    fn ready(&mut self, slot: usize, event: &mio::event::Event, buffer: &mut [u8]) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        let slot = slot as u32;
        if event.is_writable() && conn.out.unblock() {
            if conn.out.len() > LITTLE {
                conn.out.flush_in_turn(slot, &mut self.core.turn);
            } else {
                self.core.flush(slot, conn);
            }
        }
        // The end may come in the same event as the last bytes, and no later event reports it.
        if event.is_read_closed() {
            conn.incoming.end();
        }
        if event.is_readable() || event.is_error() {
            self.core.readable(slot, conn, buffer);
        }
    }

    /// Does work that can wait, of all kinds in turn, until the share of the turn is over.
    fn do_what_can_wait(&mut self, now: Instant, fired: &mut Vec<(u32, Tick)>, buffer: &mut [u8]) {
        self.note_fired(now, fired);
        if !self.has_what_can_wait() {
            return;
        }
        let mut share = Share::default();
        for part in Part::of_turn(self.core.turn.number()) {
            match part {
                Part::Accepts => self.accept_again(&mut share),
                Part::Input => self.read_again(&mut share, buffer),
                Part::Newcomers => self.read_newcomers(&mut share, buffer),
                Part::Lane => self.read_slowly(now, &mut share, buffer),
                Part::Timers => self.fire(&mut share, buffer),
                Part::Flushes => self.flush_much(&mut share),
                Part::Drops => self.drop_doomed(&mut share),
            }
        }
    }

    /// Whether there is any work that can wait.
    fn has_what_can_wait(&self) -> bool {
        let turn = &self.core.turn;
        turn.has_unread()
            || turn.has_behind()
            || self.accept_at.is_some()
            || self.core.admission.has_waiting()
            || !self.fired.is_empty()
    }

    /// Goes on with the connections that have more input than a slice, one after another.
    fn read_again(&mut self, share: &mut Share, buffer: &mut [u8]) {
        let mut left = CONTINUED;
        while left > Cost::NONE
            && !share.is_over()
            && !self.core.handoff.is_full()
            && let Some(slot) = self.core.turn.next_to_read()
        {
            share.begin();
            if let Some(conn) = self.conns.get_mut(slot as usize) {
                conn.incoming.taken_up();
                self.core.read_in_turn(slot, conn, buffer);
                left = left.minus(self.core.slice.used());
                share.note_piece();
            }
        }
    }

    /// Reads connections without a session, up to the number of a turn.
    fn read_newcomers(&mut self, share: &mut Share, buffer: &mut [u8]) {
        while !share.is_over()
            && !self.core.handoff.is_full()
            && let Some(slot) = self.core.admission.next_waiting()
        {
            share.begin();
            if let Some(conn) = self.conns.get_mut(slot as usize) {
                conn.incoming.taken_up();
                self.core.read_in_turn(slot, conn, buffer);
                self.core.flush_piece(slot, conn);
                share.note_piece();
            }
        }
        for _ in 0..self.core.admission.newly_deferred() {
            self.core.parts.metrics.limited(Limit::Newcomers);
        }
    }

    /// Reads connections of the slow lanes that are open.
    fn read_slowly(&mut self, now: Instant, share: &mut Share, buffer: &mut [u8]) {
        while !share.is_over()
            && !self.core.handoff.is_full()
            && let Some(slot) = self.core.turn.lanes.next(now)
        {
            share.begin();
            if let Some(conn) = self.conns.get_mut(slot as usize) {
                conn.incoming.taken_up();
                self.core.read_slowly(slot, conn, buffer);
                share.note_piece();
            }
        }
        self.core.turn.lanes.end_turn(now);
    }

    /// Gives the readers the questions that are ready.
    fn ask_readers(&mut self) {
        let Core {
            parts,
            reads,
            memory,
            seen,
            turn,
            departing,
            ..
        } = &mut self.core;
        let readiness = |conn: &Conn| {
            let behind = conn.out.len() > parts.limits.answer_bytes;
            let owes = conn.purse.owes(turn.now()) && !departing.has_begun();
            // As with pushes: while memory is scarce, clients that do not read wait for the others.
            let crowded = memory.is_scarce() && conn.held() > 0;
            if behind || crowded {
                parts.metrics.limited(Limit::Answers);
            }
            match (behind || owes, crowded) {
                (true, _) => Readiness::Behind,
                (false, true) => Readiness::Crowded,
                (false, false) => Readiness::Ready,
            }
        };
        let asker = |slot, conn: &Conn, id| Asker {
            namespace: conn.session().map_or_else(NamespaceId::default, |session| {
                parts.ids.namespace(session.names.namespace())
            }),
            reply_to: conn.reply_to(parts.index, slot, id),
            until: match conn.session() {
                Some(session) => session.until(*seen),
                None => *seen,
            },
        };
        reads.ask_ready(&mut self.conns, readiness, asker);
    }

    /// Flushes the connections with a little new output.
    fn flush_little(&mut self) {
        if !self.core.turn.has_to_flush() {
            return;
        }
        // A flush may append to the output of a connection: that goes out with the next ones.
        let due = self.core.turn.take_to_flush();
        for &slot in &due {
            let conn = self.conns.get_mut(slot as usize);
            if let Some(conn) = conn.filter(|conn| conn.out.is_due()) {
                conn.out.taken_up();
                if conn.out.is_blocked() {
                    conn.account(slot, &mut self.core.memory);
                } else if conn.out.len() > LITTLE {
                    conn.out.flush_in_turn(slot, &mut self.core.turn);
                    conn.account(slot, &mut self.core.memory);
                } else {
                    self.core.flush(slot, conn);
                }
            }
        }
        self.core.turn.flushed(due);
    }

    /// Flushes some of the connections with much output.
    fn flush_much(&mut self, share: &mut Share) {
        if share.is_over() || !self.core.turn.may_flush_in_turn(self.core.turn.began()) {
            return;
        }
        share.begin();
        let (mut left, mut bulk, began) = (FLUSHED, 0, Instant::now());
        while left > Cost::NONE
            && !share.is_over()
            && let Some(slot) = self.core.turn.next_to_flush()
        {
            let conn = self.conns.get_mut(slot as usize);
            let Some(conn) = conn.filter(|conn| conn.out.is_in_turn()) else {
                continue;
            };
            if conn.out.is_blocked() {
                conn.out.taken_up();
                conn.account(slot, &mut self.core.memory);
            } else {
                let bytes = self.core.flush_some(slot, conn, PORTION);
                bulk += bytes;
                left = left.minus(FLUSH + Cost::of_sent(bytes));
                share.note_piece();
            }
        }
        // The time counts too: no price fits all memory.
        if (bulk > BULK || share.is_over()) && self.core.serves_light() {
            self.core.turn.rest_from_flushes(began, Instant::now());
        }
    }

    /// Drops connections that have ended.
    fn drop_doomed(&mut self, share: &mut Share) {
        // At the stop, nobody is left to wait for this turn.
        let stopping = self.core.departing.has_begun();
        if !self.core.turn.has_to_drop() || share.is_over() && !stopping {
            return;
        }
        share.begin();
        // Their last words, if these are of this turn.
        self.flush_little();
        let doomed = self.core.turn.take_to_drop();
        let most = if stopping { usize::MAX } else { DROPPED };
        let mut now = 0;
        for &slot in doomed.iter().take(most) {
            if now > 0 && !stopping && share.note_piece() {
                break;
            }
            now += 1;
            if let Some(mut conn) = self.conns.try_remove(slot as usize) {
                // Closing the descriptor takes it out of the epoll set; mio wants to be told.
                let _ = self.poll.registry().deregister(conn.stream_mut());
                let core = &mut self.core;
                trace::gone(core.parts.index, &conn);
                core.settle_closed(slot, &mut conn);
                core.end_session(slot, &conn);
                let charges = &core.parts.shared.charges;
                charges.leave(&mut core.allowances, slot, core.turn.now());
                core.backs.remove(slot);
                core.reads.forget(slot, &mut conn.unanswered);
                core.reads
                    .end(slot, conn.session().map(|session| session.id));
                core.admission.leave(conn.source(), conn.is_opening());
                conn.release(slot, &mut core.memory);
            }
        }
        // A slot that stands here twice is empty now: nobody else can have it before the next turn.
        for &slot in &doomed[now..] {
            if self.conns.contains(slot as usize) {
                self.core.turn.drop_later(slot);
            }
        }
        self.core.turn.dropped(doomed);
        if self.conns.is_empty() && self.peak > KEPT {
            // The memory of the large table goes back to the system. A new table of the same size would
            // lie above the memory that the sessions have freed, and keep it from going back.
            self.conns = Slab::new();
            self.peak = 0;
        }
    }

    /// Shows how many connections there are, and what they hold.
    fn show_connections(&self) {
        let metrics = &self.core.parts.metrics;
        metrics.connections.set(self.conns.len() as u64);
        metrics.opening.set(self.core.admission.opening() as u64);
        let memory = &self.core.memory;
        metrics.held_bytes.set(memory.held() as u64);
        metrics.held_pushes.set(memory.shared().pushes() as u64);
    }

    /// Takes the timers that are due into the queue of those that have fired.
    fn note_fired(&mut self, now: Instant, fired: &mut Vec<(u32, Tick)>) {
        self.core.turn.fire(now, fired);
        self.core.forget_idle();
        self.core.rest();
        self.fired.extend(fired.drain(..));
    }

    /// Handles timers that have fired, as many as a turn has time for.
    fn fire(&mut self, share: &mut Share, buffer: &mut [u8]) {
        while !share.is_over()
            && let Some((slot, due)) = self.fired.pop_front()
        {
            if let Some(conn) = self.conns.get_mut(slot as usize)
                && conn.times.is_due(due)
            {
                share.begin();
                self.core.timer(slot, conn, buffer);
                share.note_piece();
            }
        }
        if self.fired.is_empty() && self.fired.capacity() > KEPT {
            self.fired = VecDeque::new();
        }
    }
}
