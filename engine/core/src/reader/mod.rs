//! Threads that read the store for the shards.
//!
//! A shard never waits for a disk: it queues a job and finds the answer, framed and ready for the
//! socket, in its mailbox.

mod access;
mod answer;
mod ephemeral;
mod feed;
mod lists;
mod reactions;
mod unread;
mod value;

use std::sync::Arc;

use crossbeam::channel::Receiver;
use trunkline_storage::{Page, Reader};

use crate::exchange::{Answer, AnswerKind, Job, Mail, Mailbox, Query, ReplyConn, ReplyTo};
use crate::ids::Ids;
use feed::Feed;

/// What a reading thread works with.
struct Room {
    ids: Ids,
    page: Page,
    feed: Feed,
    /// Bytes of a message.
    most: usize,
}

/// Answers jobs until the last sender of `jobs` is gone, with messages of `most` bytes at most.
pub fn run(store: &Reader, jobs: &Receiver<Job>, mailboxes: &[Arc<Mailbox>], most: usize) {
    let mut room = Room {
        ids: Ids(store.key()),
        page: Page::default(),
        feed: Feed::default(),
        most,
    };
    while let Ok(job) = jobs.recv() {
        match &job.reply_to {
            ReplyTo::Conn(to) => {
                let mailbox = &mailboxes[usize::from(to.shard)];
                if mailbox.is_closed() {
                    continue;
                }
                let answer = if job.wanted.is_so() {
                    answer::answer(store, &job, to, &mut room)
                } else {
                    dropped(&job, to)
                };
                mailbox.put_waiting(Mail::Answer(answer));
            }
            ReplyTo::Call(call) if job.wanted.is_so() => {
                call.answer(value::value(store, &job, &mut room));
            }
            // Nobody waits any more.
            ReplyTo::Call(_) => {}
        }
    }
}

/// The answer to a question whose connection is closed: the shard takes it off its counts.
fn dropped(job: &Job, to: &ReplyConn) -> Answer {
    Answer {
        conn: to.conn,
        frames: Vec::new(),
        error: None,
        kind: AnswerKind::Dropped {
            counted: !matches!(job.query, Query::CatchUp { .. }),
        },
    }
}
