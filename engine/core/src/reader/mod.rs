//! Threads that read the store for shards and for callers in this process.
//!
//! A shard never waits for a disk. It queues a [`Job`] and later finds the answer in its mailbox, as
//! frames that are ready for the socket. A caller in this process gets the answer as a value.

mod ahead;
mod answer;
mod catch_up;
mod conversations;
mod edited;
mod ephemeral;
mod events;
mod failure;
mod feed;
mod follow;
mod members;
mod mentions;
mod messages;
mod missed;
mod reactions;
mod reading;
mod reply;
mod search;
mod series;
mod sets;
mod texts;
mod threads;
mod unread;
mod value;
mod view;
mod windows;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use trunkline_storage::{Page, Reader};

use crate::clock::Clock;
use crate::cost::Cost;
use crate::exchange::slices::{LookedUp, YIELD};
use crate::exchange::{
    Answer, AnswerKind, CallAnswer, Failure, Job, Jobs, Mail, Mailbox, Query, ReplyConn, ReplyTo,
    Take,
};
use crate::fit::PAGE_BYTES;
use crate::search::Index;
use ahead::Ahead;
use feed::Feed;
use reading::Reading;

pub use follow::Followed;
pub use missed::{Among, Look, Missed, MissedMessages, Place, Shown, Sight, Users};
pub use texts::{TextChange, Texts};

/// The time without jobs after which a reader gives its memory back.
const IDLE: Duration = Duration::from_secs(1);

/// The cost of a job besides its look-ups: queueing it, waking a reader, and passing the answer on.
const JOB: Cost = Cost::micros(3);

/// A reading thread: its store, and the memory that answers are read into.
struct Worker {
    reading: Reading,
    page: Page,
    feed: Feed,
    /// The maximum number of bytes of a message to a client.
    message_bytes: usize,
    /// The index of the words of messages; `None` if the gateway has none.
    index: Option<Arc<dyn Index>>,
    /// One more reference for each page of events that is read in slices.
    sliced: Arc<()>,
}

/// The answer to a job.
enum Answered {
    Conn(Answer),
    Call(CallAnswer),
}

/// Answers jobs until the last sender of jobs is gone. No answer is a message of more than
/// `message_bytes` bytes. Searches are refused without an `index`. A job from a position that the store does not have yet
/// waits for at most `patience`: in a cluster the log may bring the position.
pub fn run(
    store: &Reader,
    jobs: &Jobs,
    mailboxes: &[Arc<Mailbox>],
    message_bytes: usize,
    clock: &Arc<Clock>,
    index: Option<&Arc<dyn Index>>,
    patience: Duration,
) {
    let mut ahead = Ahead::new(patience, Instant::now());
    let mut worker = Worker {
        reading: Reading::new(store, clock),
        page: Page::with_bytes(record_bytes(message_bytes)),
        feed: Feed::default(),
        message_bytes,
        index: index.cloned(),
        sliced: Arc::default(),
    };
    loop {
        let Some(mut job) = worker.next(jobs, &mut ahead) else {
            return;
        };
        let mailbox = |to: &ReplyConn| &mailboxes[usize::from(to.shard)];
        let user = job.flow.user;
        let is_wanted = job.wanted.is_so();
        if is_wanted && let Query::Topic(query) = &job.query {
            let nodes = Arc::clone(&query.nodes);
            jobs.done(user, Cost::NONE);
            nodes.ask(job);
            continue;
        }
        let (answered, cost) = match &job.reply_to {
            // Nobody is there, not even to be told.
            ReplyTo::Conn(to) if mailbox(to).is_closed() => (None, Cost::NONE),
            ReplyTo::Call(_) if !is_wanted => (None, Cost::NONE),
            // A node asks its own readers.
            ReplyTo::Remote(_) => (None, Cost::NONE),
            &ReplyTo::Conn(to) if !is_wanted => {
                (Some(Answered::Conn(dropped(&job, &to))), Cost::NONE)
            }
            _ => {
                let answered = worker.work(&mut job);
                let cost = worker.reading.meter().take();
                if answered.is_none() {
                    job.cost += cost;
                    jobs.put_back(job, cost);
                    thread::yield_now();
                    continue;
                }
                (answered, cost)
            }
        };
        let job_cost = job.cost;
        jobs.done(user, cost);
        match (answered, &job.reply_to) {
            (Some(Answered::Conn(answer)), ReplyTo::Conn(to)) => {
                mailbox(to).put_waiting(Mail::Answer(answer));
            }
            (Some(Answered::Call(answer)), ReplyTo::Call(call)) => {
                call.answer(answer, job_cost + cost);
            }
            _ => {}
        }
        // The kernel may let a shard that has become ready wait for a reader that goes on working.
        if cost >= YIELD {
            thread::yield_now();
        }
    }
}

/// Returns the bytes of records that a page reads for a message of this size. In a message they
/// take a little more, so a page of long messages fits at the first attempt.
fn record_bytes(message_bytes: usize) -> usize {
    let most = message_bytes.min(PAGE_BYTES);
    most - most / 8
}

impl Worker {
    /// Waits for the next job that can be done. Returns `None` once there are no more jobs, and none will come.
    fn next(&mut self, jobs: &Jobs, ahead: &mut Ahead) -> Option<Box<Job>> {
        loop {
            let store = self.reading.store();
            if !ahead.is_empty()
                && let Some(job) = ahead.next(|| store.head(), Instant::now())
            {
                return Some(job);
            }
            match jobs.take(if ahead.is_empty() { IDLE } else { ahead::LOOK }) {
                Take::Job(job) => {
                    if let Some(job) = ahead.keep(job, || store.head(), Instant::now) {
                        return Some(job);
                    }
                }
                Take::Idle if ahead.is_empty() => self.release(),
                Take::Idle => {}
                Take::End => return ahead.last(),
            }
        }
    }

    /// Does a job, or the next slice of it. Returns `None` if the job is not finished.
    fn work(&mut self, job: &mut Job) -> Option<Answered> {
        let answered = match &job.reply_to {
            &ReplyTo::Conn(to) => self.answer(job, &to).map(Answered::Conn),
            ReplyTo::Call(_) | ReplyTo::Remote(_) => self.value(job).map(Answered::Call),
        };
        self.feed.trim();
        answered
    }

    /// Looks up what a job asks for, or does the next slice of it. Returns `None` if the job is not
    /// finished.
    fn look_up(
        &mut self,
        job: &mut Job,
        to: Option<&ReplyConn>,
    ) -> Option<Result<LookedUp<'_>, Failure>> {
        let begun = job.rest.take().or_else(|| self.long_feed(job, to));
        let begun = begun.or_else(|| self.long_look_up(job));
        let Some(mut look_up) = begun else {
            if let Some(answer) = self.caught_up(job, to) {
                return Some(Ok(LookedUp::Answer(Box::new(answer))));
            }
            return Some(self.short_look_up(job));
        };
        let reply = look_up.go_on();
        self.reading.meter().add(look_up.take_cost());
        let Some(reply) = reply else {
            job.rest = Some(look_up);
            return None;
        };
        Some(reply)
    }

    /// Gives back the memory that the last answers were read into.
    fn release(&mut self) {
        self.page = Page::with_bytes(record_bytes(self.message_bytes));
        self.feed = Feed::default();
        self.reading.store().release();
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
            counted: !job.query.recovers(),
        },
        cost: Cost::NONE,
    }
}
