//! Exports of what the log has of a user.
//!
//! An export reads the files of the store from the beginning to the end, as `trunkline store dump` does. It
//! works for a part of the time only, so that clients keep the processors and the disk.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::json;
use trunkline_core::event::{BLOCKS, Body, CONTACTS};
use trunkline_core::ids::Ids;
use trunkline_http::admin::{Exported, Person};
use trunkline_http::{MediaMetrics, MediaOwner, MediaPlace, list_media};
use trunkline_storage::{Position, Reader, Record, TimelineId};

use super::read_log;
use crate::causes;
use crate::http::Serving;
use crate::record_line::Line;

/// The time for which an export works before it rests.
const WORK: Duration = Duration::from_millis(2);

/// The rest, as a multiple of the work.
const REST: u32 = 3;

/// The bytes of lines that are passed on together.
const PIECE: usize = 64 << 10;

/// The number of lines of media that wait for the client.
const LINES: usize = 64;

/// The time between two looks whether the client is there.
const LOOK: Duration = Duration::from_millis(50);

/// The store whose records are exported, and the place of media.
pub(crate) struct Exports {
    folder: PathBuf,
    store: Reader,
    media: MediaPlace,
    media_owner: MediaOwner,
    s3_file: Option<PathBuf>,
    media_metrics: Arc<MediaMetrics>,
}

/// Decides which records are about a user.
struct Search<'a> {
    person: &'a Person,
    user: TimelineId,
    contacts: TimelineId,
    blocked: TimelineId,
}

impl Exports {
    pub(crate) fn new(serving: &Serving<'_>) -> Self {
        let config = serving.config;
        Self {
            folder: config.data.clone(),
            store: serving.store.clone(),
            media: config.media.clone(),
            media_owner: serving.media_owner(),
            s3_file: config.media_s3_file.clone(),
            media_metrics: Arc::clone(&serving.metrics.http.media),
        }
    }

    /// Passes a line for each file that a user has uploaded to `each`, until `each` wants no more.
    ///
    /// # Errors
    /// The place of media cannot be reached, or another gateway uses it.
    fn media(
        &self,
        person: &Person,
        each: &mut dyn FnMut(Vec<u8>) -> ControlFlow<()>,
    ) -> Result<(), String> {
        let files = (&self.media, self.s3_file.as_deref(), &self.media_owner);
        let user = (&*person.namespace, &*person.user);
        let (goes_on, (found, lines)) = (AtomicBool::new(true), mpsc::sync_channel(LINES));
        // A thread of its own: a look at files runs a loop of events, which may not wait for the client.
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                // Dropped with the thread: then there are no more lines.
                let found = found;
                list_media(
                    files,
                    &self.media_metrics,
                    user,
                    &|| goes_on.load(Ordering::Relaxed),
                    &mut |value| {
                        let line = format!("{}\n", json!({"kind": "media", "value": value}));
                        let _ = found.send(line.into_bytes());
                    },
                )
            });
            loop {
                let flow = match lines.recv_timeout(LOOK) {
                    Ok(line) => each(line),
                    Err(RecvTimeoutError::Timeout) => each(Vec::new()),
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                if flow.is_break() {
                    goes_on.store(false, Ordering::Relaxed);
                    // A full channel must not hold the thread.
                    while lines.recv().is_ok() {}
                    break;
                }
            }
            let looked = looking.join();
            looked.unwrap_or_else(|_| Err("the look at the media panicked".to_owned()))
        })
    }

    /// Passes the lines of all records about a user, and then of the user's media, to `each`, until `each`
    /// wants no more. Pieces may be empty: they ask whether to go on.
    ///
    /// # Errors
    /// The files cannot be read. The text says why.
    pub(crate) fn run(
        &self,
        person: &Person,
        each: &mut dyn FnMut(Vec<u8>) -> ControlFlow<()>,
    ) -> Result<Exported, String> {
        let ids = Ids(self.store.key());
        let user = ids.user(&person.namespace, &person.user);
        let search = Search {
            person,
            user,
            contacts: ids.contacts(user),
            blocked: ids.blocked(user),
        };
        let failed = |error: trunkline_storage::OpenError| causes::said_once(&error.into());
        let mut dump = read_log(&self.folder, &self.store)?;
        let (mut piece, mut records, mut began) = (Vec::new(), 0, Instant::now());
        let mut flow = ControlFlow::Continue(());
        let read = dump.records(Position::ZERO, &mut |record| {
            if began.elapsed() >= WORK {
                std::thread::sleep(began.elapsed() * REST);
                // A part of a store may have nothing of the user: somebody has to ask for the rest all the
                // same.
                flow = each(std::mem::take(&mut piece));
                began = Instant::now();
                if flow.is_break() {
                    return flow;
                }
            }
            if search.is_about(record) {
                records += 1;
                // Texts and numbers, into memory: this does not fail.
                let _ = serde_json::to_writer(&mut piece, &Line::of(record));
                piece.push(b'\n');
            }
            if piece.len() >= PIECE {
                let worked = began.elapsed();
                flow = each(std::mem::take(&mut piece));
                // The time for which the client did not read is no work.
                let now = Instant::now();
                began = now.checked_sub(worked).unwrap_or(now);
            }
            flow
        });
        read.map_err(failed)?;
        if flow.is_continue() {
            flow = each(piece);
        }
        if flow.is_continue() {
            // The records are whole all the same.
            if let Err(why) = self.media(person, each) {
                let line = format!("{}\n", json!({"kind": "media", "error": why}));
                let _ = each(line.into_bytes());
            }
        }
        Ok(Exported {
            records,
            damaged: dump.faults().len(),
        })
    }
}

impl Search<'_> {
    /// Returns whether a record is of the user, goes to the user, or names the user.
    fn is_about(&self, record: &Record<'_>) -> bool {
        // Contacts and blocks are their owner's alone, although they name others.
        if [CONTACTS, BLOCKS].contains(&record.kind) {
            return [self.contacts, self.blocked].contains(&record.timeline);
        }
        let mut fanout = record.fanout;
        if fanout.any(|id| id == self.user) {
            return true;
        }
        let Some(body) = Body::read(record.body) else {
            return false;
        };
        let user = &*self.person.user;
        body.namespace == self.person.namespace
            && (body.user == user
                || body.members.contains(&user)
                || body.marks.is_some() && body.parts().any(|part| part.user == user))
    }
}
