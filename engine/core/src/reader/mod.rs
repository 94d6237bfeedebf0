//! Threads that read the store for shards and for callers in this process.
//!
//! A shard never waits for a disk. It queues a [`Job`] and later finds the answer in its mailbox, as
//! frames that are ready for the socket. A caller in this process gets the answer as a value.

mod answer;
mod catch_up;
mod conversations;
mod ephemeral;
mod events;
mod failure;
mod feed;
mod members;
mod messages;
mod reactions;
mod reading;
mod reply;
mod sets;
mod unread;
mod value;
mod view;

use std::sync::Arc;

use crossbeam::channel::Receiver;
use trunkline_storage::{Page, Reader};

use crate::cost::Cost;
use crate::exchange::{Answer, AnswerKind, Job, Mail, Mailbox, Query, ReplyConn, ReplyTo};
use feed::Feed;
use reading::Reading;

/// A reading thread: its store, and the memory that answers are read into.
struct Worker {
    reading: Reading,
    page: Page,
    feed: Feed,
    /// The maximum number of bytes of a message to a client.
    message_bytes: usize,
}

/// Answers jobs until the last sender of `jobs` is gone. No answer is a message of more than
/// `message_bytes` bytes.
pub fn run(store: &Reader, jobs: &Receiver<Job>, mailboxes: &[Arc<Mailbox>], message_bytes: usize) {
    let mut worker = Worker {
        reading: Reading::new(store),
        page: Page::default(),
        feed: Feed::default(),
        message_bytes,
    };
    while let Ok(job) = jobs.recv() {
        match &job.reply_to {
            ReplyTo::Conn(to) => {
                let mailbox = &mailboxes[usize::from(to.shard)];
                if mailbox.is_closed() {
                    continue;
                }
                let answer = match job.wanted.is_so() {
                    true => worker.answer(&job, to),
                    false => dropped(&job, to),
                };
                mailbox.put_waiting(Mail::Answer(answer));
            }
            ReplyTo::Call(call) if job.wanted.is_so() => call.answer(worker.value(&job)),
            // The caller has stopped waiting.
            ReplyTo::Call(_) => {}
        }
    }
}

/// Returns the answer to a job whose connection is closed. It tells the shard that the job no longer
/// counts.
fn dropped(job: &Job, to: &ReplyConn) -> Answer {
    Answer {
        conn: to.conn,
        frames: Vec::new(),
        error: None,
        kind: AnswerKind::Dropped {
            counted: !matches!(job.query, Query::CatchUp { .. }),
        },
        cost: Cost::NONE,
    }
}
