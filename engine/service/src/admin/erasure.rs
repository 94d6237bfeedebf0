//! Erasures of users: a thread that leads one after another from part to part.
//!
//! The store says which erasures are under way and how many parts of each are complete, so a new process
//! goes on with the part at which the last one was. A part that begins again changes nothing that is done.
//! The thread works for a part of the time only, so that clients keep the processors and the disk.
//! [`among`] has what is different in a cluster.

mod among;

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use trunkline_core::call::{CallError, Eraser, Service, Step};
use trunkline_core::erasure::{self, Running, Search};
use trunkline_core::ids::Ids;
use trunkline_gateway::auth::revoked::{Revocation, Revocations};
use trunkline_http::admin::AdminMetrics;
use trunkline_http::{MediaMetrics, MediaOwner, MediaPlace, erase_media};
use trunkline_storage::{IdBuildHasher, Position, ReadError, Reader, TimelineId};

use super::read_log;
use crate::causes;
use crate::nodes::ClusterErasures;

/// The number of parts of an erasure.
pub(crate) const PARTS: u8 = 5;
/// The number of parts before the one that erases old values.
const VALUES: u8 = 2;

/// The time for which an erasure works before it rests, and the rest as a multiple of the work.
const WORK: Duration = Duration::from_millis(2);
const REST: u32 = 3;
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_millis(200);

/// The most steps that go to the sequencer together.
const STEPS: usize = 32;
/// The most records that the store erases together.
const RECORDS: usize = 4_096;
/// The keys from which on the store erases old values under them. A record has at most 32,767 more, and the
/// store takes 65,536.
const KEYS: usize = 32_768;
/// The pause between two records that the store waits for.
const RECORD_PAUSE: Duration = Duration::from_millis(500);
/// The most devices whose positions an erasure forgets.
const DEVICES: usize = 1_000;

/// The time between two looks at what the store does.
const LOOK: Duration = Duration::from_millis(50);
/// The pause before another attempt after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// What erasures need of the gateway.
pub(crate) struct ErasureParts {
    /// The folder of the store.
    pub(crate) folder: PathBuf,
    /// The place of media, and the file of its credentials.
    pub(crate) media: MediaPlace,
    pub(crate) media_owner: MediaOwner,
    pub(crate) s3_file: Option<PathBuf>,
    pub(crate) store: Reader,
    pub(crate) service: Service,
    /// The revoked tokens; `None` in development mode.
    pub(crate) revoked: Option<Arc<Revocations>>,
    /// The cluster; `None` if the gateway works alone.
    pub(crate) cluster: Option<ClusterErasures>,
    pub(crate) metrics: Arc<AdminMetrics>,
    pub(crate) media_metrics: Arc<MediaMetrics>,
}

/// Wakes the thread, and tells it to stop.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
    stopping: AtomicBool,
}

impl Bell {
    /// Tells the thread that there is an erasure to do.
    pub(crate) fn ring(&self) {
        *self.rung.lock() = true;
        self.changed.notify_all();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits until the bell rings, at most for `time`. Returns whether the thread goes on.
    fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut rung = self.rung.lock();
        while !*rung && !self.is_stopping() {
            if self.changed.wait_until(&mut rung, until).timed_out() {
                break;
            }
        }
        *rung = false;
        !self.is_stopping()
    }
}

/// The thread of the erasures.
pub(crate) struct Erasures {
    bell: Arc<Bell>,
    thread: JoinHandle<()>,
}

/// Why an erasure did not go on.
enum Halt {
    /// The gateway stops.
    Stopping,
    /// Something failed. The text says what.
    Failed(String),
}

impl From<ReadError> for Halt {
    fn from(error: ReadError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<CallError> for Halt {
    fn from(error: CallError) -> Self {
        Self::Failed(error.message.to_string())
    }
}

impl Erasures {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no room for a thread.
    pub(crate) fn start(parts: ErasureParts, bell: Arc<Bell>) -> std::io::Result<Self> {
        let work = Work {
            parts,
            bell: Arc::clone(&bell),
        };
        let thread =
            std::thread::Builder::new()
                .name("erasures".into())
                .spawn(move || match work.parts.cluster.clone() {
                    Some(cluster) => work.run_in_cluster(&cluster),
                    None => work.run(),
                })?;
        Ok(Self { bell, thread })
    }

    /// Tells the thread to end. The next process goes on where it was.
    pub(crate) fn end(self) -> Ending {
        self.bell.stopping.store(true, Ordering::SeqCst);
        self.bell.ring();
        Ending(self.thread)
    }
}

/// The thread of the erasures, which ends after its present step.
pub(crate) struct Ending(JoinHandle<()>);

impl Ending {
    /// Waits for the end of the thread.
    pub(crate) fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread of the erasures panicked");
        }
    }
}

struct Work {
    parts: ErasureParts,
    bell: Arc<Bell>,
}

impl Work {
    fn run(self) {
        let metrics = &self.parts.metrics;
        // An erasure that fails does not hold up those that came after it.
        let mut failures = 0;
        loop {
            let running = erasure::running(&self.parts.store);
            let waiting = running.as_ref().map_or(0, Vec::len);
            metrics.erasing.set(waiting as u64);
            let done = match running {
                Ok(running) => match running.get(failures % running.len().max(1)) {
                    Some(next) => self.erase(next),
                    None if self.bell.wait(Duration::from_secs(60)) => continue,
                    None => return,
                },
                Err(error) => Err(error.into()),
            };
            match done {
                Ok(()) => metrics.erased.one(),
                Err(Halt::Stopping) => return,
                Err(Halt::Failed(error)) => {
                    metrics.erasures_failed.one();
                    failures += 1;
                    tracing::error!(
                        error,
                        "an erasure does not go on: trying again after the others"
                    );
                    if !self.bell.wait(RETRY) {
                        return;
                    }
                }
            }
        }
    }

    /// Leads one erasure to its end.
    fn erase(&self, running: &Running) -> Result<(), Halt> {
        let Running {
            namespace, user, ..
        } = running;
        let service = &self.parts.service;
        let eraser = service.eraser(namespace, user)?;
        for part in running.complete..PARTS {
            match part {
                0 => self.messages(running, &eraser)?,
                1 => self.leave(running, &eraser)?,
                // What the parts before have set replaces the values.
                VALUES => self.values(running, &eraser, self.parts.store.head())?,
                3 => self.files(running)?,
                _ => self.media(running)?,
            }
            eraser.carry_out(&[Step::Phase(part + 1)])?;
        }
        self.end(running, &eraser)
    }

    /// Ends an erasure whose parts are all complete.
    fn end(&self, running: &Running, eraser: &Eraser<'_>) -> Result<(), Halt> {
        let Running {
            namespace, user, ..
        } = running;
        // Others may have taken the user into groups, and out of them, since the user left all.
        self.windows(running, eraser)?;
        eraser.carry_out(&[Step::End])?;
        tracing::info!(namespace, user, "a user is erased");
        Ok(())
    }

    fn go_on(&self) -> Result<(), Halt> {
        match self.bell.is_stopping() {
            true => Err(Halt::Stopping),
            false => Ok(()),
        }
    }

    /// Rests after work that began at `began`.
    fn rest(&self, began: &mut Instant) -> Result<(), Halt> {
        self.go_on()?;
        std::thread::sleep((began.elapsed() * REST).min(LONGEST_REST));
        *began = Instant::now();
        Ok(())
    }

    /// Takes the content of the user's messages and reactions away.
    fn messages(&self, running: &Running, eraser: &Eraser<'_>) -> Result<(), Halt> {
        let ids = Ids(self.parts.store.key());
        let Running {
            namespace,
            user,
            began,
            ..
        } = running;
        if let Some(revoked) = &self.parts.revoked {
            // A crash can have come before the request did it.
            let revocation = Revocation::User {
                user: ids.user(namespace, user),
                before_ms: *began,
                until_ms: None,
            };
            let done = revoked.revoke(revocation);
            done.map_err(|error| Halt::Failed(error.to_string()))?;
        }
        let search = Search::new(&ids, namespace, user);
        let (mut steps, mut devices) = (Vec::new(), BTreeSet::new());
        let mut began = Instant::now();
        self.each_record(&mut |record| {
            if let Some(device) = search.device(record)
                && devices.len() < DEVICES
                && !devices.contains(device)
            {
                devices.insert(device.to_owned());
                steps.push(Step::Device(device.to_owned()));
            }
            steps.extend(search.step(record));
            if steps.len() >= STEPS {
                eraser.carry_out(&steps)?;
                steps.clear();
                self.rest(&mut began)?;
            } else if began.elapsed() >= WORK {
                self.rest(&mut began)?;
            }
            Ok(())
        })?;
        eraser.carry_out(&steps)?;
        Ok(())
    }

    /// Lets the user leave all conversations, and forgets the contacts and the blocks.
    fn leave(&self, running: &Running, eraser: &Eraser<'_>) -> Result<(), Halt> {
        let person = (&*running.namespace, &*running.user);
        let mut began = Instant::now();
        erasure::conversations::<Halt>(&self.parts.store, person, &mut |names| {
            let leave = |conversation| Step::Leave { conversation };
            let steps: Vec<Step> = names.into_iter().map(leave).collect();
            eraser.carry_out(&steps)?;
            self.rest(&mut began)
        })?;
        self.windows(running, eraser)?;
        eraser.carry_out(&[Step::Contacts])?;
        // A new user of the name blocks nobody.
        for names in erasure::blocked(&self.parts.store, person)?.chunks(STEPS) {
            let steps: Vec<Step> = names.iter().cloned().map(Step::Unblock).collect();
            eraser.carry_out(&steps)?;
            self.rest(&mut began)?;
        }
        Ok(())
    }

    /// Forgets through which windows the user saw large groups. A window that others close meanwhile may stay.
    fn windows(&self, running: &Running, eraser: &Eraser<'_>) -> Result<(), Halt> {
        let person = (&*running.namespace, &*running.user);
        let stretches = erasure::ended_windows(&self.parts.store, person)?;
        for stretch in (0..stretches).rev() {
            let mut began = Instant::now();
            eraser.carry_out(&[Step::Windows(stretch)])?;
            self.rest(&mut began)?;
        }
        Ok(())
    }

    /// Lets old values under the keys that the user's records have set leave the files, up to a position.
    fn values(&self, running: &Running, eraser: &Eraser<'_>, until: Position) -> Result<(), Halt> {
        let ids = Ids(self.parts.store.key());
        let search = Search::new(&ids, &running.namespace, &running.user);
        let mut keys: HashSet<TimelineId, IdBuildHasher> = HashSet::default();
        let mut began = Instant::now();
        self.each_record(&mut |record| {
            if search.sets_values(record) {
                keys.extend(record.state_keys());
            }
            if keys.len() >= KEYS {
                self.erase_values(keys.drain().collect(), (until, false), eraser)?;
                began = Instant::now();
            } else if began.elapsed() >= WORK {
                self.rest(&mut began)?;
            }
            Ok(())
        })?;
        self.erase_values(keys.drain().collect(), (until, true), eraser)
    }

    /// Lets the store erase old values under these keys, and waits until it has. The last ones leave its runs
    /// too.
    fn erase_values(
        &self,
        keys: Vec<TimelineId>,
        (until, are_last): (Position, bool),
        eraser: &Eraser<'_>,
    ) -> Result<(), Halt> {
        let store = &self.parts.store;
        let before = store.old_values_erased();
        let number = loop {
            match store.erase_old_values(keys.clone(), until, are_last) {
                Some(number) => break number,
                // That of a thread before, which an error has ended.
                None => self.look()?,
            }
        };
        let mut told = Instant::now();
        loop {
            let now = store.old_values_erased();
            if now.calls >= number {
                if now.damaged > before.damaged {
                    warn_of_damage(now.damaged - before.damaged);
                }
                return Ok(());
            }
            if now.waits_for_record && told.elapsed() >= RECORD_PAUSE {
                // It changes nothing.
                eraser.carry_out(&[Step::Phase(VALUES)])?;
                told = Instant::now();
            }
            self.look()?;
        }
    }

    /// Overwrites what no redaction reaches.
    fn files(&self, running: &Running) -> Result<(), Halt> {
        let ids = Ids(self.parts.store.key());
        let search = Search::new(&ids, &running.namespace, &running.user);
        let mut found = Vec::new();
        let mut began = Instant::now();
        self.each_record(&mut |record| {
            if search.is_leftover(record) {
                found.push(record.position);
            }
            if found.len() >= RECORDS {
                self.overwrite(&found)?;
                found.clear();
                began = Instant::now();
            } else if began.elapsed() >= WORK {
                self.rest(&mut began)?;
            }
            Ok(())
        })?;
        self.overwrite(&found)?;
        let removed = self.parts.store.remove_torn_copies();
        removed.map_err(|error| Halt::Failed(error.to_string()))
    }

    /// Lets the store erase records, and waits until it has.
    fn overwrite(&self, found: &[Position]) -> Result<(), Halt> {
        if found.is_empty() {
            return Ok(());
        }
        let store = &self.parts.store;
        let before = store.not_erased();
        let number = loop {
            match store.erase(found) {
                Some(number) => break number,
                None => self.look()?,
            }
        };
        while store.erased() < number {
            self.look()?;
        }
        if store.not_erased() > before {
            warn_of_damage(store.not_erased() - before);
        }
        Ok(())
    }

    /// Removes the media that the user has uploaded. A thread of its own does it: the place of media may
    /// hang, and then the end of the gateway does not wait for it.
    fn media(&self, running: &Running) -> Result<(), Halt> {
        let parts = &self.parts;
        let (place, s3_file) = (parts.media.clone(), parts.s3_file.clone());
        let owner = parts.media_owner.clone();
        let (namespace, user) = (running.namespace.clone(), running.user.clone());
        let metrics = Arc::clone(&parts.media_metrics);
        let bell = Arc::clone(&self.bell);
        let (done, erased) = mpsc::channel();
        let thread = std::thread::Builder::new().name("erasing-media".into());
        let started = thread.spawn(move || {
            let place = (&place, s3_file.as_deref(), &owner);
            let goes_on = || !bell.is_stopping();
            let _ = done.send(erase_media(place, &metrics, (&namespace, &user), &goes_on));
        });
        started.map_err(|error| Halt::Failed(format!("cannot start a thread: {error}")))?;
        loop {
            let erased = erased.recv_timeout(LOOK);
            self.go_on()?;
            match erased {
                Ok(erased) => return erased.map_err(Halt::Failed),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Halt::Failed("the removal of media panicked".to_owned()));
                }
            }
        }
    }

    fn look(&self) -> Result<(), Halt> {
        self.go_on()?;
        std::thread::sleep(LOOK);
        Ok(())
    }

    /// Gives each record of the log to `each`, until `each` fails.
    fn each_record(
        &self,
        each: &mut dyn FnMut(&trunkline_storage::Record<'_>) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let failed =
            |error: trunkline_storage::OpenError| Halt::Failed(causes::said_once(&error.into()));
        let log = read_log(&self.parts.folder, &self.parts.store);
        let mut dump = log.map_err(Halt::Failed)?;
        let mut done = Ok(());
        let read = dump.records(Position::ZERO, &mut |record| {
            done = each(record);
            match done {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        done?;
        read.map_err(failed)?;
        if !dump.faults().is_empty() {
            warn_of_damage(dump.faults().len() as u64);
        }
        Ok(())
    }
}

fn warn_of_damage(damaged: u64) {
    tracing::warn!(
        damaged,
        "an erasure left out what is damaged: run `trunkline store repair`, and erase the user again"
    );
}
