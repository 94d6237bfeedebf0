//! A shard: one thread, one event loop, the connections it accepted.
//!
//! It owns everything it touches. A turn of the loop takes the mail, reads the sockets that have
//! something, hands the commands of the turn to the sequencer in one batch, and sends what the
//! turn has to say with one write per connection.

mod connection;
mod core;
pub(crate) mod descriptors;
mod input;
pub(crate) mod listener;
mod mail;
pub(crate) mod mailbox;
mod outbox;
mod timer;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use trunkline_proto::CloseCode;
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_proto::handshake::Rejection;

use self::connection::{Conn, Phase};
use self::core::Core;
use self::mailbox::{Mail, Mailbox};
use self::timer::{Tick, Wheel, ticks};
use crate::config::Limits;
use crate::directory::Directory;
use crate::ids::Ids;
use crate::metrics::ShardMetrics;
use crate::reader::Job;
use crate::sequencer::command::CommandBatch;

/// The token of the waker; connections have their slot as token.
pub(crate) const WAKE: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);

/// Events taken from the kernel per turn.
const EVENTS: usize = 1_024;

/// Mail handled per turn.
const MAIL: usize = 64;

/// Connections accepted per turn.
const ACCEPTS: usize = 64;

/// Bytes read from one connection per turn.
const READ: usize = 64 << 10;

/// How long accepting pauses when there is no descriptor for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a stalled shard sleeps before it tries the sequencer's queue again.
const STALL: Duration = Duration::from_millis(1);

/// How long commands in flight may take to be answered once the gateway is to stop, and then
/// how long clients may take to close.
const DRAIN: Duration = Duration::from_secs(5);

/// What a shard is made of, besides its event loop.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) listen: SocketAddr,
    /// Most connections of this shard.
    pub(crate) room: usize,
    /// Connections of all shards, and their limit.
    pub(crate) total: Arc<AtomicUsize>,
    pub(crate) max_total: usize,
    pub(crate) limits: Arc<Limits>,
    pub(crate) ids: Ids,
    pub(crate) directory: Arc<Directory>,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) sequencer: Sender<Box<CommandBatch>>,
    pub(crate) readers: Sender<Job>,
}

pub(crate) struct Shard {
    poll: Poll,
    mailbox: Arc<Mailbox>,
    listener: Option<TcpListener>,
    /// Set while there may be connections to accept that were not.
    accept_at: Option<Tick>,
    room: usize,
    total: Arc<AtomicUsize>,
    max_total: usize,
    generation: u32,
    conns: Slab<Conn>,
    core: Core,
    draining: Drain,
}

/// The steps of stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    /// Nothing new is read; until commands in flight are answered.
    Finishing(Tick),
    /// Clients were told; until they are gone.
    Closing(Tick),
}

impl Shard {
    /// Listens, in the thread and the descriptor table that the shard is to run in.
    ///
    /// # Errors
    /// The address cannot be had.
    pub(crate) fn open(poll: Poll, parts: Parts) -> io::Result<Self> {
        let mut listener = listener::bind(parts.listen)?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let now = Instant::now();
        let seen = parts.directory.head();
        let core = Core {
            index: parts.index,
            limits: parts.limits,
            ids: parts.ids,
            directory: parts.directory,
            metrics: parts.metrics,
            sequencer: parts.sequencer,
            readers: parts.readers,
            users: HashMap::default(),
            batch: Box::new(CommandBatch {
                shard: parts.index,
                commands: Vec::new(),
                bodies: Vec::new(),
            }),
            in_flight: 0,
            frames: Default::default(),
            pool: Default::default(),
            dirty: Vec::new(),
            unread: Vec::new(),
            doomed: Vec::new(),
            wheel: Wheel::new(now),
            now: 0,
            sessions: 0,
            seen,
        };
        Ok(Self {
            poll,
            mailbox: parts.mailbox,
            listener: Some(listener),
            accept_at: None,
            room: parts.room,
            total: parts.total,
            max_total: parts.max_total,
            generation: 0,
            conns: Slab::new(),
            core,
            draining: Drain::No,
        })
    }

    /// Runs the loop until the gateway stops and the connections are gone.
    ///
    /// # Errors
    /// The kernel fails the event loop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; READ];
        let mut fired = Vec::new();
        loop {
            let now = self.core.tick();
            let more_mail = self.take_mail();
            self.accept_again();
            self.read_again(&mut buffer);
            self.core.submit();
            self.fire(now, &mut fired);
            self.drain_step();
            self.flush();
            self.drop_doomed();
            if matches!(self.draining, Drain::Closing(_)) && self.conns.is_empty() {
                self.mailbox.close();
                return Ok(());
            }
            let timeout = self.timeout(now, more_mail);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                polled => polled?,
            }
            self.mailbox.woke();
            self.core.tick();
            for event in &events {
                match event.token() {
                    WAKE => {}
                    LISTENER => self.accept(),
                    Token(slot) => self.ready(slot, event, &mut buffer),
                }
            }
            self.core.submit();
        }
    }

    /// Handles mail; whether there may be more.
    fn take_mail(&mut self) -> bool {
        for _ in 0..MAIL {
            match self.mailbox.take() {
                None => return false,
                Some(Mail::Committed(committed)) => {
                    self.core.committed(&mut self.conns, &committed);
                }
                Some(Mail::Answer(answer)) => self.core.answered(&mut self.conns, answer),
                Some(Mail::Drain) => {
                    self.listener = None;
                    self.draining = Drain::Finishing(self.core.now + ticks(DRAIN));
                }
            }
        }
        true
    }

    fn timeout(&self, now: Instant, more_mail: bool) -> Option<Duration> {
        let stalled = !self.core.batch.commands.is_empty();
        let finishing = matches!(self.draining, Drain::Finishing(_));
        let unread = !self.core.unread.is_empty() && !stalled && !finishing;
        let flush = !self.core.dirty.is_empty() || !self.core.doomed.is_empty();
        let accept = self.accept_at.is_some_and(|at| at <= self.core.now);
        if more_mail || unread || flush || accept || !self.mailbox.may_sleep() {
            return Some(Duration::ZERO);
        }
        let timer = self.core.wheel.next(now);
        let soon = if stalled {
            Some(STALL)
        } else if self.draining != Drain::No {
            Some(Duration::from_millis(10))
        } else if self.accept_at.is_some() {
            Some(ACCEPT_PAUSE)
        } else {
            None
        };
        soon.into_iter().chain(timer).min()
    }

    fn ready(&mut self, slot: usize, event: &mio::event::Event, buffer: &mut [u8]) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        let slot = slot as u32;
        if event.is_writable() && conn.out.blocked {
            conn.out.blocked = false;
            self.core.flush(slot, conn);
        }
        // The peer's end may come in the same edge as its last bytes, and no other tells of it.
        conn.ended |= event.is_read_closed();
        if event.is_readable() || event.is_error() {
            match self.draining {
                Drain::Finishing(_) => self.core.read_later(slot, conn),
                _ => self.core.read(slot, conn, buffer),
            }
        }
    }

    /// Reads connections that had more than one turn takes.
    fn read_again(&mut self, buffer: &mut [u8]) {
        if self.core.is_stalled() || matches!(self.draining, Drain::Finishing(_)) {
            return;
        }
        for slot in std::mem::take(&mut self.core.unread) {
            if let Some(conn) = self.conns.get_mut(slot as usize) {
                conn.unread = false;
                self.core.read(slot, conn, buffer);
            }
        }
    }

    fn flush(&mut self) {
        // A flush may give a connection something more to say: that goes out next turn.
        for slot in std::mem::take(&mut self.core.dirty) {
            if let Some(conn) = self.conns.get_mut(slot as usize) {
                conn.dirty = false;
                if !conn.out.blocked {
                    self.core.flush(slot, conn);
                }
            }
        }
    }

    fn drop_doomed(&mut self) {
        for slot in std::mem::take(&mut self.core.doomed) {
            if let Some(mut conn) = self.conns.try_remove(slot as usize) {
                // Closing the descriptor takes it out of the epoll set; mio wants to be told.
                let _ = self.poll.registry().deregister(&mut conn.stream);
                self.core.end_session(slot, &conn);
                self.total.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.core.metrics.connections.set(self.conns.len() as u64);
    }

    fn accept_again(&mut self) {
        if self.accept_at.is_some_and(|at| at <= self.core.now) {
            self.accept_at = None;
            self.accept();
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else {
                return;
            };
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, shard = self.core.index, "cannot accept: pausing");
                    self.accept_at = Some(self.core.now + ticks(ACCEPT_PAUSE));
                    return;
                }
            }
        }
        // The edge is spent and there may be more.
        self.accept_at = Some(self.core.now);
    }

    fn admit(&mut self, mut stream: mio::net::TcpStream) {
        let total = self.total.fetch_add(1, Ordering::Relaxed);
        if total >= self.max_total || self.conns.len() >= self.room {
            self.total.fetch_sub(1, Ordering::Relaxed);
            self.core.metrics.refused.one();
            let mut answer = Vec::new();
            Rejection::UNAVAILABLE.response(&mut answer);
            // One try: a fresh socket's buffer takes it.
            let _ = io::Write::write(&mut stream, &answer);
            return;
        }
        self.core.metrics.accepted.one();
        // Small frames must not wait for each other (tcp(7)).
        let _ = stream.set_nodelay(true);
        let entry = self.conns.vacant_entry();
        let slot = entry.key();
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self
            .poll
            .registry()
            .register(&mut stream, Token(slot), both)
        {
            tracing::warn!(%error, shard = self.core.index, "cannot watch a connection");
            self.total.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        let conn = entry.insert(Conn::new(stream, self.generation));
        conn.heard = self.core.now;
        conn.deadline = self.core.now + ticks(self.core.limits.handshake_timeout);
        self.core.schedule(slot as u32, conn, conn.deadline);
    }

    fn fire(&mut self, now: Instant, fired: &mut Vec<(u32, Tick)>) {
        self.core.wheel.advance(now, fired);
        for (slot, due) in fired.drain(..) {
            if let Some(conn) = self.conns.get_mut(slot as usize)
                && conn.due == due
            {
                self.core.timer(slot, conn);
            }
        }
    }

    fn drain_step(&mut self) {
        match self.draining {
            Drain::Finishing(until) if self.core.in_flight == 0 || self.core.now >= until => {
                self.draining = Drain::Closing(self.core.now + ticks(DRAIN));
                for (slot, conn) in &mut self.conns {
                    self.core.shut_down(slot as u32, conn);
                }
            }
            Drain::Closing(until) if self.core.now >= until => {
                self.core
                    .doomed
                    .extend(self.conns.iter().map(|(slot, _)| slot as u32));
            }
            _ => {}
        }
    }
}

impl Core {
    /// A connection's timer fired: ends what took too long, pings what was silent.
    fn timer(&mut self, slot: u32, conn: &mut Conn) {
        let overdue = conn.deadline != 0 && conn.deadline <= self.now;
        match &conn.phase {
            Phase::Handshake(_) | Phase::Closing => {
                if overdue {
                    return self.doomed.push(slot);
                }
            }
            Phase::Upgraded => {
                if overdue {
                    return self.close(slot, conn, CloseCode::NO_CONNECT, "no connect in time");
                }
            }
            Phase::Echo | Phase::Open(_) => return self.watch(slot, conn, overdue),
        }
        self.schedule(slot, conn, conn.deadline);
    }

    /// The timer of an open session.
    fn watch(&mut self, slot: u32, conn: &mut Conn, overdue: bool) {
        if conn.out.blocked && overdue {
            // It does not read: no Close frame would reach it.
            self.metrics.close(CloseCode::SLOW_READER.0);
            return self.doomed.push(slot);
        }
        // What it said may be waiting to be read.
        let heard = !conn.paused && !conn.unread;
        if conn.pinged
            && heard
            && self.now
                >= conn.heard + ticks(self.limits.ping_interval) + ticks(self.limits.pong_timeout)
        {
            return self.close(slot, conn, CloseCode::NO_PONG, "no pong in time");
        }
        let ping_at = conn.heard + ticks(self.limits.ping_interval);
        let mut next = ping_at;
        if self.now >= ping_at {
            if !conn.pinged && conn.out.len() == 0 {
                write_frame(self.frames_of(slot, conn), Opcode::Ping, b"", None);
                conn.pinged = true;
            }
            next = ping_at + ticks(self.limits.pong_timeout);
            if next <= self.now {
                next = self.now + ticks(self.limits.ping_interval);
            }
        }
        if conn.out.blocked {
            next = next.min(conn.deadline);
        }
        self.schedule(slot, conn, next);
    }

    /// Tells a client that the gateway stops.
    fn shut_down(&mut self, slot: u32, conn: &mut Conn) {
        match conn.phase {
            Phase::Handshake(_) => self.doomed.push(slot),
            Phase::Upgraded | Phase::Echo | Phase::Open(_) => {
                self.close(slot, conn, CloseCode::SHUTDOWN, "shutdown");
            }
            Phase::Closing => {}
        }
    }
}
