//! Webhooks: back ends that are told of missed messages and of presence, until they answer.
//!
//! One thread owns all that waits. It reads the store and the hub, hands requests to the thread of the
//! back ends, and gets the results as events. No shard, no commit and no request waits for it.

mod cluster;
mod form;
mod held;
mod hook;
mod later;
mod metrics;
mod offline;
mod presence;
mod queue;
mod state;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use trunkline_core::hub::Hub;
use trunkline_core::ids::{Ids, UserId};
use trunkline_core::reader::MissedMessages;

use self::cluster::OfCluster;
use self::hook::Hook;
use self::offline::{KeptAt, Offline, OfflineParts};
use self::presence::{Presence, PresenceParts};
use self::state::StateFile;
use super::failed::Failed;
use super::{Back, BackUrl};

pub use self::cluster::HookCluster;
pub use self::held::{FEW_REFUSED, HELD_SENDERS, REFUSED};
pub use self::hook::TOLD_AT_ONCE;
pub use self::later::PER_RECIPIENT;
pub use self::metrics::{Told, WebhookMetrics};
pub use self::state::Unreadable;

/// The number of messages that wait to be told at which the log is not followed any further, the same for
/// recipients whose further messages are left to the log, and the maximum number of users whose presence
/// waits to be told.
pub const WAITING_HOOKS: usize = 10_000;

/// The longest time between two looks at the log and at who came or left.
const LOOK: Duration = Duration::from_millis(100);

/// The time that tries get to end when the gateway stops.
const LAST_TRIES: Duration = Duration::from_secs(1);

/// The maximum number of results that are taken in one turn.
const RESULTS: usize = 256;

/// Which back ends are told of what, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// Told of messages whose recipients have no device connected.
    pub offline: Option<BackUrl>,
    /// Told of users who came or left.
    pub presence: Option<BackUrl>,
    /// The time after which something is not told any more.
    pub give_up: Duration,
    /// The maximum number of members of a group whose messages are told.
    pub largest_group: u64,
}

impl Hooks {
    /// Returns whether no back end is told of anything.
    pub const fn is_empty(&self) -> bool {
        self.offline.is_none() && self.presence.is_none()
    }

    /// Returns the number of descriptors that connections to the back ends take at most.
    pub fn descriptors(&self) -> u64 {
        let count = self.offline.iter().count() + self.presence.iter().count();
        // Those in use, and those that are kept.
        (count * 2 * TOLD_AT_ONCE) as u64
    }

    /// Removes what waited in a data folder, unless a back end is told of missed messages.
    pub fn forget_others(&self, folder: &Path) {
        if self.offline.is_none() {
            StateFile::new(folder).remove();
        }
    }
}

/// The parts of the gateway that webhooks use.
pub struct HooksParts {
    /// Finds and reads missed messages.
    pub missed: MissedMessages,
    /// The ids of users.
    pub ids: Ids,
    /// The presence of users.
    pub hub: Arc<Hub>,
    /// The data folder.
    pub folder: PathBuf,
    /// The cluster; `None` for a gateway that works alone.
    pub cluster: Option<Arc<dyn HookCluster>>,
}

/// What the thread of the webhooks is woken by.
#[derive(Debug)]
enum Event {
    /// A try has ended.
    Done {
        told: Told,
        user: UserId,
        result: Result<(), Failed>,
    },
    /// The gateway stops.
    Stop,
}

/// Stops the thread of the webhooks.
#[derive(Debug)]
pub struct Webhooks(Sender<Event>);

impl Webhooks {
    /// Lets the [`Worker`] end. It writes what waits to the disk.
    pub fn stop(&self) {
        // An error says that it has ended.
        let _ = self.0.send(Event::Stop);
    }
}

/// The work of the thread of the webhooks.
pub struct Worker {
    offline: Option<Offline>,
    presence: Option<Presence>,
    events: Receiver<Event>,
}

/// Makes the thread's work; `None` if no back end is told of anything.
pub(super) fn make(
    back: &Back,
    hooks: &Hooks,
    parts: HooksParts,
) -> Result<Option<(Webhooks, Worker)>, Unreadable> {
    if hooks.is_empty() {
        return Ok(None);
    }
    let (results, events) = channel();
    let hook = |told, url| Hook::new(told, url, back, results.clone());
    let offline = hooks.offline.as_ref().map(|url| {
        Offline::new(OfflineParts {
            hook: hook(Told::Offline, url),
            missed: parts.missed,
            place: match &parts.cluster {
                Some(cluster) => {
                    KeptAt::Cluster(OfCluster::new(Arc::clone(cluster), Instant::now()))
                }
                None => KeptAt::File(StateFile::new(&parts.folder)),
            },
            give_up: hooks.give_up,
            grace: parts.hub.grace(),
            metrics: back.metrics(),
        })
    });
    let is_node = parts.cluster.is_some();
    let presence = hooks.presence.as_ref().map(|url| {
        Presence::new(PresenceParts {
            hook: hook(Told::Presence, url),
            hub: Arc::clone(&parts.hub),
            ids: parts.ids,
            give_up: hooks.give_up,
            is_node,
            metrics: back.metrics(),
        })
    });
    let worker = Worker {
        offline: offline.transpose()?,
        presence,
        events,
    };
    Ok(Some((Webhooks(results), worker)))
}

impl Worker {
    /// Tells back ends until [`Webhooks::stop`] is called.
    pub fn run(mut self) {
        loop {
            let now = Instant::now();
            let offline = self.offline.as_mut().and_then(|one| one.turn(now));
            let presence = self.presence.as_mut().and_then(|one| one.turn(now));
            let next = offline.into_iter().chain(presence).min();
            let wait = next.map_or(LOOK, |next| next.saturating_duration_since(now).min(LOOK));
            let goes_on = match self.events.recv_timeout(wait) {
                Ok(event) => self.take_some(event),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            if !goes_on {
                return self.end();
            }
        }
    }

    /// Takes an event and some that follow it. Returns whether the thread goes on.
    fn take_some(&mut self, first: Event) -> bool {
        let mut next = Some(first);
        for _ in 0..RESULTS {
            match next {
                Some(Event::Stop) => return false,
                Some(event) => self.take(event),
                None => break,
            }
            next = self.events.try_recv().ok();
        }
        match next {
            Some(Event::Stop) => false,
            Some(event) => {
                self.take(event);
                true
            }
            None => true,
        }
    }

    fn take(&mut self, event: Event) {
        let Event::Done { told, user, result } = event else {
            return;
        };
        let now = Instant::now();
        match told {
            Told::Offline => {
                if let Some(offline) = &mut self.offline {
                    offline.take(user, &result, now);
                }
            }
            Told::Presence => {
                if let Some(presence) = &mut self.presence {
                    presence.take(user, &result, now);
                }
            }
        }
    }

    /// Waits for the tries that have begun, for a short time, and writes what waits to the disk.
    fn end(mut self) {
        let until = Instant::now() + LAST_TRIES;
        while self.offline.as_ref().is_some_and(|one| one.told() > 0)
            && let Some(left) = until.checked_duration_since(Instant::now())
            && let Ok(event) = self.events.recv_timeout(left)
        {
            self.take(event);
        }
        if let Some(offline) = &mut self.offline {
            offline.save(Instant::now());
        }
    }
}

/// Returns whether something that is as old as `time` is too old to be told. Both times are steady ones, in
/// milliseconds since 1970 UTC: a clock that leaps makes nothing old.
fn is_over(time: u64, now: u64, give_up: Duration) -> bool {
    Duration::from_millis(now.saturating_sub(time)) >= give_up
}

/// Returns the share of the longest pause after which something is tried again, at random: from 0.5 to 1.
/// So what failed together is not tried together.
fn share() -> f64 {
    let mut random = [0; 1];
    // Without random numbers the pause is the longest.
    let _ = aws_lc_rs::rand::fill(&mut random).inspect_err(|_| random = [u8::MAX]);
    0.5 + f64::from(random[0]) / 510.0
}
