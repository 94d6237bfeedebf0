//! Requests and streams that wait for events of their users.
//!
//! To the sequencer, the port of the client API is one more shard: the directory sends it the events of
//! users who wait here, and no others. A thread takes its mail, and wakes the waiting tasks. It looks
//! nothing up: a woken task reads its events from the store. So its mail never waits for HTTP, and users
//! who do not wait here cost nothing.

mod orders;
mod seat;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};

use parking_lot::Mutex;
use smallvec::SmallVec;
use trunkline_core::directory::Directory;
use trunkline_core::exchange::{Committed, Item, Mail, Mailbox, Wake};
use trunkline_core::hub::{EphemeralEvent, Hub, LaneContent};
use trunkline_core::ids::{DeviceMark, UserId};
use trunkline_core::request::Names;
use trunkline_core::store::IdBuildHasher;

pub use self::seat::{Seat, Stay};

/// The number of stripes, each with a lock of its own.
const STRIPES: usize = 64;

/// The waiting tasks of one user.
type Seats = SmallVec<[Arc<Seat>; 1]>;

/// Wakes the thread that takes the mail.
#[derive(Debug)]
struct Unpark(Arc<OnceLock<Thread>>);

impl Wake for Unpark {
    fn wake(&self) {
        // Before the thread is there, its mailbox counts as awake.
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

/// The mailbox of the client API, before its thread runs.
pub struct Post {
    mailbox: Arc<Mailbox>,
    thread: Arc<OnceLock<Thread>>,
}

impl Default for Post {
    fn default() -> Self {
        let thread = Arc::default();
        let waker = Unpark(Arc::clone(&thread));
        Self {
            mailbox: Arc::new(Mailbox::new(Box::new(waker))),
            thread,
        }
    }
}

impl Post {
    /// Returns the mailbox, which comes behind those of the shards.
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }
}

/// The users who wait, and their tasks.
pub struct Waiting {
    directory: Arc<Directory>,
    hub: Arc<Hub>,
    /// The number of the mailbox among those of the shards.
    shard: usize,
    stripes: Box<[Mutex<HashMap<UserId, Seats, IdBuildHasher>>]>,
    is_stopping: AtomicBool,
}

/// The thread that takes the mail.
pub struct Carrier {
    mailbox: Arc<Mailbox>,
    waiting: Arc<Waiting>,
    thread: JoinHandle<()>,
}

/// A task that waits for events of a user. It leaves when this is dropped.
pub struct Waiter {
    waiting: Arc<Waiting>,
    user: UserId,
    /// The device of a session; [`DeviceMark::NONE`] for a request.
    device: DeviceMark,
    /// The names of a session, in a box: requests have none.
    names: Option<Box<Names>>,
    seat: Arc<Seat>,
}

impl Waiting {
    /// Makes the state without waiting users. `shard` is the number of the mailbox among those of the
    /// shards.
    pub fn new(directory: Arc<Directory>, hub: Arc<Hub>, shard: usize) -> Self {
        Self {
            directory,
            hub,
            shard,
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            is_stopping: AtomicBool::new(false),
        }
    }

    fn stripe(&self, user: UserId) -> &Mutex<HashMap<UserId, Seats, IdBuildHasher>> {
        // The maps use the low half of the id.
        &self.stripes[(user.0 >> 64) as usize % STRIPES]
    }

    /// Lets a request wait for events of a user. The user does not count as online for it.
    ///
    /// Look for events after this call: the task is woken for all later ones.
    pub fn wait(self: &Arc<Self>, user: UserId, stay: Stay) -> Waiter {
        self.enter(user, DeviceMark::NONE, Seat::of_request(stay))
    }

    /// Begins a session of a user that gets events as a stream.
    pub fn open(
        self: &Arc<Self>,
        (user, names): (UserId, &Names),
        device: DeviceMark,
        stay: Stay,
    ) -> Waiter {
        let mut waiter = self.enter(user, device, Seat::of_stream(stay));
        self.hub.arrived(user);
        self.hub.note(names);
        waiter.names = Some(Box::new(names.clone()));
        waiter
    }

    fn enter(self: &Arc<Self>, user: UserId, device: DeviceMark, seat: Seat) -> Waiter {
        let seat = Arc::new(seat);
        let mut stripe = self.stripe(user).lock();
        stripe.entry(user).or_default().push(Arc::clone(&seat));
        drop(stripe);
        self.directory.enter(user, self.shard, device);
        Waiter {
            waiting: Arc::clone(self),
            user,
            device,
            names: None,
            seat,
        }
    }

    /// Returns whether the gateway stops: nobody waits any longer.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Wakes everybody: the gateway stops.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        for stripe in &self.stripes {
            for seats in stripe.lock().values() {
                seats.iter().for_each(|seat| seat.wake());
            }
        }
    }

    /// Calls `tell` for each waiting task of a user.
    fn each(&self, user: UserId, tell: impl Fn(&Seat)) {
        if let Some(seats) = self.stripe(user).lock().get(&user) {
            seats.iter().for_each(|seat| tell(seat));
        }
    }

    /// Wakes the tasks of the users whom a batch concerns.
    fn committed(&self, committed: &Committed) {
        for item in &committed.items.list {
            match item {
                Item::Deliver { user, .. } | Item::Part { user, .. } => {
                    self.each(*user, Seat::wake)
                }
                Item::Spread { users, .. } => {
                    for user in &committed.items.users[users.clone()] {
                        self.each(*user, Seat::wake);
                    }
                }
                // Only connections of shards get replies.
                Item::Reply { .. } => {}
            }
        }
    }

    /// Hands out the ephemeral events of the lane, and empties `content` again.
    fn ephemeral(&self, content: &mut LaneContent) {
        self.hub.lanes.take(self.shard, content);
        for event in content.events.drain(..) {
            if let EphemeralEvent::ToUsers { users, frames, .. } = event {
                for user in &*users {
                    self.each(*user, |seat| seat.tell(&frames));
                }
            }
        }
        // Nobody here watches users or subscribes to topics.
        content.lost.clear();
        content.changed.clear();
    }

    /// Takes the mail until the order to stop comes.
    fn carry(&self, mailbox: &Mailbox) {
        let mut content = LaneContent::default();
        loop {
            while let Some(mail) = mailbox.take() {
                match mail {
                    Mail::Committed(committed) => {
                        self.committed(&committed);
                        mailbox.give_back(committed.items);
                    }
                    Mail::Answer(_) | Mail::Back(_) => {}
                    Mail::Order(order) => self.ordered(*order),
                    Mail::Drain { .. } => return mailbox.close(),
                }
            }
            self.ephemeral(&mut content);
            if mailbox.may_sleep() {
                if !self.hub.lanes.is_filled(self.shard) {
                    thread::park();
                }
                mailbox.woke();
            }
        }
    }
}

impl Carrier {
    /// Starts the thread, which calls `calm` first: it lowers its priority.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(post: &Post, waiting: &Arc<Waiting>, calm: fn()) -> std::io::Result<Self> {
        let (mailbox, waits) = (Arc::clone(&post.mailbox), Arc::clone(waiting));
        let own = Arc::clone(&post.thread);
        let body = move || {
            calm();
            let _ = own.set(thread::current());
            waits.carry(&mailbox);
        };
        let thread = thread::Builder::new()
            .name("http-events".into())
            .spawn(body)?;
        Ok(Self {
            mailbox: Arc::clone(&post.mailbox),
            waiting: Arc::clone(waiting),
            thread,
        })
    }

    /// Ends the thread. Everybody who waits is woken.
    pub fn stop(self) {
        self.waiting.stop();
        self.mailbox.put_waiting(Mail::Drain { connections: 0 });
        if self.thread.join().is_err() {
            tracing::error!("the thread of the client API's events panicked");
        }
    }
}

impl Waiter {
    /// Returns the place at which the task waits.
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Returns whether the gateway stops.
    pub fn is_stopping(&self) -> bool {
        self.waiting.is_stopping()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let waiting = &*self.waiting;
        if self.device == DeviceMark::NONE {
            waiting
                .directory
                .leave(self.user, waiting.shard, self.device);
        } else {
            waiting.hub.leave(self.user, waiting.shard, self.device);
        }
        if let Some(names) = &self.names {
            waiting.hub.note(names);
        }
        let mut stripe = waiting.stripe(self.user).lock();
        if let Some(seats) = stripe.get_mut(&self.user) {
            seats.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
            if seats.is_empty() {
                stripe.remove(&self.user);
            }
        }
    }
}
