//! A core with its threads on a simulated disk, and a shard without sockets.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel;
use trunkline_core::call::{Client, Parts, Service};
use trunkline_core::clock::{self, Clock};
use trunkline_core::directory::Directory;
use trunkline_core::event;
use trunkline_core::exchange::{
    self, Commands, Committed, Item, Jobs, JobsForm, Mail, Mailbox, Wake, queue,
};
use trunkline_core::frames;
use trunkline_core::hub::{Hub, HubLimits};
use trunkline_core::ids::{DeviceMark, Ids};
use trunkline_core::log::Local;
use trunkline_core::messaging::Messaging;
use trunkline_core::metrics::SequencerMetrics;
use trunkline_core::position::Tokens;
use trunkline_core::reader;
use trunkline_core::request::ContentLimits;
use trunkline_core::sequencer::{Departures, MIN_CONVERSATIONS, Sequencer, SequencerParts};
use trunkline_core::store::Token;
use trunkline_proto::Encoding;
use trunkline_proto::message::ServerMessage;
use trunkline_storage::backend::sim::SimDisk;
use trunkline_storage::{CommitError, Opened, Options, Reader, Store};

pub(crate) const CONTENT: ContentLimits = ContentLimits {
    message_bytes: 4_096,
    text_bytes: 1_024,
    key_bytes: 128,
    page: 100,
};

const HUB: HubLimits = HubLimits {
    presence_grace: Duration::ZERO,
    last_seen_cache: 100,
    last_seen_interval: Duration::from_secs(5),
    last_seen_rate: 100,
    topics: 1,
    topic_history: 1,
    topic_bytes: 1,
    topics_bytes: 1,
};

const RULES: Messaging = Messaging {
    fanout_limit: 200,
    channel_stays: Duration::ZERO,
    receipt_fanout: 16,
    receipt_delay: Duration::ZERO,
    delivered_delay: Duration::ZERO,
    group_members: 100,
    members_add: false,
    recall_window: Duration::from_hours(1),
    edit_window: Duration::from_hours(1),
    most_ttl: Duration::from_hours(1),
    group_cache: 1_000,
    rewrites: false,
    message_bytes: 1 << 20,
};

/// A core with its threads, on a simulated disk.
pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) shard: Shard,
    pub(crate) store: Reader,
    sequencer: JoinHandle<Result<(), CommitError>>,
    reader: JoinHandle<()>,
}

/// A shard without sockets: its sessions are entries of the directory.
pub(crate) struct Shard {
    ids: Ids,
    directory: Arc<Directory>,
    pub(crate) mailbox: Arc<Mailbox>,
    wakes: channel::Receiver<()>,
    tokens: Tokens,
}

/// Wakes a [`Shard`] that waits for mail.
#[derive(Debug)]
struct Waker(channel::Sender<()>);

impl Wake for Waker {
    fn wake(&self) {
        self.0.send(()).expect("the shard is there");
    }
}

/// The number of the only shard, and the device of all its sessions.
const SHARD: usize = 0;
const DEVICE: DeviceMark = DeviceMark([1; 4]);

impl Shard {
    pub(crate) fn opens(&self, user: &str) {
        let id = self.ids.user("org", user);
        self.directory.enter(id, SHARD, DEVICE);
    }

    pub(crate) fn closes(&self, user: &str) {
        let id = self.ids.user("org", user);
        self.directory.leave(id, SHARD, DEVICE);
    }

    /// Waits for the next mail.
    fn mail(&self) -> Mail {
        loop {
            if let Some(mail) = self.mailbox.take() {
                return mail;
            }
            if self.mailbox.may_sleep() {
                let woken = self.wakes.recv_timeout(Duration::from_secs(60));
                woken.expect("mail comes");
                self.mailbox.woke();
            }
        }
    }

    /// Returns the pushes of the next commit: for each session's user the frame in JSON.
    pub(crate) fn pushes(&mut self, users: &[&str]) -> Vec<(String, String)> {
        let Mail::Committed(Committed { batch, items, .. }) = self.mail() else {
            panic!("a commit");
        };
        let mut pushes = Vec::new();
        let mut push = |to, position| {
            let user = users.iter().find(|name| self.ids.user("org", name) == to);
            let (mut pos, mut frame) = (Token::default(), Vec::new());
            let record = batch.record_at(position);
            let push = event::push(&record, 0, &mut self.tokens, &mut pos).expect("an event");
            let message = ServerMessage::Push(push);
            frames::write(&mut frame, Encoding::Json, &message);
            let json = String::from_utf8_lossy(&frame).into_owned();
            pushes.push((user.expect("a known user").to_string(), json));
        };
        for item in items.list {
            match item {
                Item::Deliver { user, position } => push(user, position),
                Item::Spread { users, position } => {
                    items.users[users]
                        .iter()
                        .for_each(|&user| push(user, position));
                }
                item => panic!("{item:?}"),
            }
        }
        pushes.sort();
        pushes
    }
}

/// A core of which no thread runs yet.
pub(crate) struct Still {
    pub(crate) service: Service,
    shard: Shard,
    store: Reader,
    pub(crate) sequencer: Sequencer,
    pub(crate) commands: Commands,
    pub(crate) jobs: Jobs,
}

/// Makes a core whose readers' queue has room for this many jobs.
pub(crate) fn still(jobs: usize) -> Still {
    still_under(jobs, RULES)
}

/// Opens a new store on a simulated disk of its own. Each seed gives another history.
pub(crate) fn open(seed: u64) -> Opened {
    let options = Options {
        segment_bytes: 1 << 20,
        max_record_bytes: 1 << 16,
        reserve_bytes: 0,
        background: false,
        ..Options::default()
    };
    let disk = Arc::new(SimDisk::new(seed));
    Store::open_with(disk, options, &mut |_| ()).expect("a store opens")
}

fn still_under(jobs: usize, rules: Messaging) -> Still {
    let opened = open(1);
    let store = opened.reader;
    let directory = Arc::new(Directory::new(store.head()));
    let (waker, wakes) = channel::unbounded();
    let shard = Shard {
        ids: Ids(store.key()),
        directory: Arc::clone(&directory),
        mailbox: Arc::new(Mailbox::new(Box::new(Waker(waker)))),
        wakes,
        tokens: Tokens::new(store.epochs()),
    };
    let mailboxes = vec![Arc::clone(&shard.mailbox)];
    let hub = Arc::new(Hub::new(
        &HUB,
        100,
        Arc::clone(&directory),
        mailboxes.clone(),
    ));
    let metrics = Arc::<SequencerMetrics>::default();
    let sequencer = Sequencer::new(SequencerParts {
        writer: opened.writer,
        log: Box::new(Local),
        store: store.clone(),
        conversation_cache: MIN_CONVERSATIONS,
        rules,
        directory: Arc::clone(&directory),
        weights: Arc::default(),
        departures: Departures::new(Arc::clone(&hub), &HUB, Arc::clone(&metrics)),
        mailboxes,
        metrics,
    });
    let (to_sequencer, commands) = queue();
    let form = JobsForm {
        jobs,
        readers: 1,
        weights: Arc::default(),
    };
    let (to_readers, jobs) = exchange::jobs(&form);
    let parts = Parts {
        limits: CONTENT,
        directory,
        hub,
        sequencer: to_sequencer,
        readers: to_readers,
    };
    Still {
        service: Service::new(&store, parts),
        shard,
        store,
        sequencer,
        commands,
        jobs,
    }
}

impl World {
    pub(crate) fn start() -> Self {
        Self::of(still(16))
    }

    /// Starts a core whose groups may have this many members.
    pub(crate) fn with_members(most: usize) -> Self {
        Self::of(still_under(
            16,
            Messaging {
                group_members: most,
                ..RULES
            },
        ))
    }

    fn of(still: Still) -> Self {
        let Still {
            service,
            shard,
            store,
            sequencer,
            commands,
            jobs,
        } = still;
        let reads = store.clone();
        Self {
            service,
            shard,
            store,
            sequencer: std::thread::spawn(move || sequencer.run(&commands).map(drop)),
            reader: std::thread::spawn(move || {
                let clock = Arc::new(Clock::new(clock::system()));
                reader::run(
                    &reads,
                    &jobs,
                    &[],
                    CONTENT.message_bytes,
                    &clock,
                    None,
                    Duration::ZERO,
                );
            }),
        }
    }

    pub(crate) fn user(&self, name: &str) -> Client<'_> {
        let client = self.service.client("org", name, "api");
        client.expect("a user")
    }

    /// Ends the threads, which end with the last service.
    pub(crate) fn end(self) {
        drop(self.service);
        let synced = self.sequencer.join().expect("the sequencer ends");
        synced.expect("the store is synced");
        self.reader.join().expect("the reader ends");
    }
}
