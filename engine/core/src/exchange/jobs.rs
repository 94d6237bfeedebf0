//! The queue of jobs for the readers. Users take turns in it.
//!
//! - The jobs of one user keep their order. A job that is not finished after a slice goes back to
//!   the front of its user's jobs, and its user to the back of the round.
//! - One user keeps at most all but one of the readers busy.
//! - The room of a user shrinks as the queue fills: a user may queue as many jobs as are free.
//! - Jobs of connections that end leave the queue at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use trunkline_storage::IdBuildHasher;

use super::slices::SLICE;
use super::{Job, Wanted};
use crate::cost::Cost;
use crate::ids::UserId;
use crate::turns::{Entry, FairQueue, Flow, Form, Weights};

/// The cost of a user's turn. An ordinary page costs less.
const TURN: Cost = Cost::micros(200);

/// The expected cost of a job that has not begun.
const EXPECTED: Cost = Cost::micros(50);

/// The sizes of a queue of jobs.
#[derive(Debug, Clone)]
pub struct JobsForm {
    /// The maximum number of waiting jobs.
    pub jobs: usize,
    /// The number of readers.
    pub readers: usize,
    /// The shares of namespaces.
    pub weights: Arc<Weights>,
}

/// Returns both ends of a new queue of jobs: one for shards and callers, one for the readers.
pub fn jobs(form: &JobsForm) -> (ToReaders, Jobs) {
    let shared = Arc::new(Shared {
        line: Mutex::new(Line::new(form)),
        came: Condvar::new(),
    });
    let jobs = Jobs(Arc::new(Taking(Arc::clone(&shared))));
    (ToReaders(Arc::new(Sending(shared))), jobs)
}

/// The end of the queue at which jobs enter. The readers end after all copies are dropped and all
/// jobs are done.
#[derive(Debug, Clone)]
pub struct ToReaders(Arc<Sending>);

/// The end of the queue at which readers take jobs. Each reader has a copy.
#[derive(Debug, Clone)]
pub struct Jobs(Arc<Taking>);

/// What a reader does next.
#[derive(Debug)]
pub enum Take {
    /// Do this job, and then call [`Jobs::done`] or [`Jobs::put_back`].
    Job(Box<Job>),
    /// Nothing came for some time: give memory back.
    Idle,
    /// All senders of jobs are gone, so the reader ends.
    End,
}

/// A job that the queue does not take.
#[derive(Debug)]
pub struct JobRefused {
    /// The job.
    pub job: Box<Job>,
    /// Whether all readers have ended. Otherwise the job's user holds its share of the queue, and
    /// other users may still have room.
    pub has_ended: bool,
}

/// Ends the queue when the last copy of [`ToReaders`] is dropped.
#[derive(Debug)]
struct Sending(Arc<Shared>);

/// Ends the queue when the last copy of [`Jobs`] is dropped. The waiting jobs are dropped with it.
#[derive(Debug)]
struct Taking(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    line: Mutex<Line>,
    came: Condvar,
}

/// The waiting jobs, and who has jobs at the readers.
///
/// A user stands in `round` once, exactly while `listed`: it has waiting jobs, and one more of its
/// jobs may begin.
#[derive(Debug)]
struct Line {
    round: FairQueue<()>,
    users: HashMap<UserId, Own, IdBuildHasher>,
    /// The number of waiting jobs of all users.
    waiting: usize,
    most: usize,
    /// The number of jobs of one user that readers may work on at the same time.
    at_once: usize,
    /// Whether somebody may still queue a job.
    has_senders: bool,
    /// Whether a reader may take a job.
    has_readers: bool,
}

/// The jobs of one user.
#[derive(Debug)]
struct Own {
    flow: Flow,
    jobs: VecDeque<Box<Job>>,
    /// The number of jobs that readers work on.
    begun: usize,
    listed: bool,
}

impl ToReaders {
    /// Queues a job.
    ///
    /// # Errors
    /// The user has no room, or the readers have ended.
    pub fn try_send(&self, job: Job) -> Result<(), JobRefused> {
        let shared = &*self.0.0;
        let job = Box::new(job);
        let mut line = shared.line.lock();
        let has_ended = !line.has_readers;
        if has_ended || !line.has_room(job.flow.user) {
            return Err(JobRefused { job, has_ended });
        }
        line.enter(job);
        drop(line);
        shared.came.notify_one();
        Ok(())
    }

    /// Removes the waiting jobs of a user with this flag. Returns how many of them read the events
    /// that a session missed.
    pub fn forget(&self, user: UserId, wanted: &Wanted) -> usize {
        self.0.0.line.lock().forget(user, wanted)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.line.lock().has_senders = false;
        self.0.came.notify_all();
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let mut line = self.0.line.lock();
        line.has_readers = false;
        // Dropping a job tells its caller that no answer comes.
        line.users.clear();
        line.waiting = 0;
    }
}

impl Jobs {
    /// Waits for the next job, at most `idle`.
    pub fn take(&self, idle: Duration) -> Take {
        let shared = &*self.0.0;
        let mut line = shared.line.lock();
        loop {
            if let Some(job) = line.next() {
                return Take::Job(job);
            }
            if !line.has_senders && line.waiting == 0 {
                return Take::End;
            }
            if shared.came.wait_for(&mut line, idle).timed_out() {
                return Take::Idle;
            }
        }
    }

    /// Notes that a job is done, which took `cost` in its last slice.
    pub fn done(&self, user: UserId, cost: Cost) {
        let shared = &*self.0.0;
        shared.line.lock().ended(user, cost);
        shared.came.notify_one();
    }

    /// Puts a job back that is not finished after a slice of `cost`.
    pub fn put_back(&self, job: Box<Job>, cost: Cost) {
        let shared = &*self.0.0;
        let mut line = shared.line.lock();
        let user = job.flow.user;
        line.own(job.flow).jobs.push_front(job);
        line.waiting += 1;
        line.ended(user, cost);
        drop(line);
        shared.came.notify_one();
    }

    /// Returns the number of waiting jobs.
    pub fn waiting(&self) -> usize {
        self.0.0.line.lock().waiting
    }
}

impl Line {
    fn new(form: &JobsForm) -> Self {
        Self {
            // A user stands in it once, so the jobs bound it.
            round: FairQueue::new(Form {
                quantum: TURN,
                entries: usize::MAX,
                bytes: usize::MAX,
                weights: Arc::clone(&form.weights),
            }),
            users: HashMap::default(),
            waiting: 0,
            most: form.jobs,
            at_once: form.readers.saturating_sub(1).max(1),
            has_senders: true,
            has_readers: true,
        }
    }

    fn has_room(&self, user: UserId) -> bool {
        let free = self.most.saturating_sub(self.waiting);
        let own = self.users.get(&user).map_or(0, |own| own.jobs.len());
        own < free
    }

    fn own(&mut self, flow: Flow) -> &mut Own {
        self.users.entry(flow.user).or_insert_with(|| Own {
            flow,
            jobs: VecDeque::new(),
            begun: 0,
            listed: false,
        })
    }

    fn enter(&mut self, job: Box<Job>) {
        let user = job.flow.user;
        self.own(job.flow).jobs.push_back(job);
        self.waiting += 1;
        self.list(user);
    }

    /// Lets a user take turns if one more of its jobs may begin. Forgets a user without jobs.
    fn list(&mut self, user: UserId) {
        let Some(own) = self.users.get_mut(&user) else {
            return;
        };
        let Some(next) = own.jobs.front() else {
            if own.begun == 0 && !own.listed {
                self.users.remove(&user);
            }
            return;
        };
        if own.begun < self.at_once && !own.listed {
            own.listed = true;
            let cost = if next.has_begun() { SLICE } else { EXPECTED };
            self.round.push(Entry {
                flow: own.flow,
                cost,
                bytes: 0,
                item: (),
            });
        }
    }

    fn next(&mut self) -> Option<Box<Job>> {
        loop {
            let user = self.round.pop()?.flow.user;
            let Some(own) = self.users.get_mut(&user) else {
                continue;
            };
            own.listed = false;
            let job = own.jobs.pop_front();
            if job.is_some() {
                own.begun += 1;
                self.waiting -= 1;
            }
            self.list(user);
            if job.is_some() {
                return job;
            }
        }
    }

    /// Notes that a reader no longer works on a job of the user.
    fn ended(&mut self, user: UserId, cost: Cost) {
        self.round.charge(user, cost);
        if let Some(own) = self.users.get_mut(&user) {
            own.begun -= 1;
            self.list(user);
        }
    }

    fn forget(&mut self, user: UserId, wanted: &Wanted) -> usize {
        let Some(own) = self.users.get_mut(&user) else {
            return 0;
        };
        let (before, mut recovering) = (own.jobs.len(), 0);
        own.jobs.retain(|job| {
            let is_it = job.wanted.is_same(wanted);
            recovering += usize::from(is_it && job.query.recovers());
            !is_it
        });
        self.waiting -= before - own.jobs.len();
        self.list(user);
        recovering
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::{Position, TimelineId};

    use super::*;
    use crate::exchange::slices::{LongLookUp, Meter};
    use crate::exchange::{Call, Part, Query, ReplyTo};
    use crate::ids::NamespaceId;

    const NOW: Duration = Duration::ZERO;

    fn job(user: u128, wanted: &Wanted) -> Job {
        let flow = Flow {
            namespace: NamespaceId::default(),
            user: TimelineId(user),
        };
        let query = Query::Contacts {
            user: flow.user,
            watch: false,
            part: Part::WHOLE,
        };
        let reply_to = ReplyTo::Call(Call::new().0);
        Job::new(flow, reply_to, Position::ZERO, wanted.clone(), query)
    }

    fn queue(jobs_: usize, readers: usize) -> (ToReaders, Jobs) {
        jobs(&JobsForm {
            jobs: jobs_,
            readers,
            weights: Arc::default(),
        })
    }

    /// Queues `count` jobs of a user, and returns how many found room.
    fn send(to: &ToReaders, user: u128, count: usize) -> usize {
        let wanted = Wanted::default();
        let sent = (0..count).map(|_| to.try_send(job(user, &wanted)));
        sent.filter(Result::is_ok).count()
    }

    /// Takes a job that has to be there.
    fn take(jobs: &Jobs) -> Box<Job> {
        match jobs.take(NOW) {
            Take::Job(job) => job,
            other => panic!("{other:?}"),
        }
    }

    fn user_of(job: &Job) -> u128 {
        job.flow.user.0
    }

    /// Does `count` jobs, each of `cost`, and returns their users.
    fn work(jobs: &Jobs, count: usize, cost: Cost) -> Vec<u128> {
        let one = |_| {
            let job = take(jobs);
            jobs.done(job.flow.user, cost);
            user_of(&job)
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn a_stranger_waits_for_one_job_of_a_user_with_many() {
        let (to, jobs) = queue(100, 2);
        assert_eq!(send(&to, 1, 40), 40);
        work(&jobs, 20, Cost::micros(300));
        assert_eq!(send(&to, 2, 1), 1);
        let users = work(&jobs, 2, Cost::micros(300));
        assert!(users.contains(&2), "{users:?}");
    }

    #[test]
    fn users_share_by_cost_not_by_the_number_of_jobs() {
        let (to, jobs) = queue(10_000, 2);
        send(&to, 1, 1_000);
        send(&to, 2, 1_000);
        let mut spent = [0; 2];
        for _ in 0..600 {
            let job = take(&jobs);
            let micros = if user_of(&job) == 1 { 400 } else { 100 };
            spent[user_of(&job) as usize - 1] += micros;
            jobs.done(job.flow.user, Cost::micros(micros));
        }
        let [one, two] = spent.map(|spent| spent as f64);
        assert!((0.7..1.4).contains(&(one / two)), "{spent:?}");
    }

    #[test]
    fn one_user_leaves_a_reader_to_the_others() {
        for (readers, at_once) in [(1, 1), (2, 1), (4, 3)] {
            let (to, jobs) = queue(100, readers);
            send(&to, 1, 9);
            let taken: Vec<_> = (0..at_once).map(|_| take(&jobs)).collect();
            assert!(matches!(jobs.take(NOW), Take::Idle), "{readers}");
            send(&to, 2, 1);
            assert_eq!(user_of(&take(&jobs)), 2);
            jobs.done(taken[0].flow.user, Cost::NONE);
            assert_eq!(user_of(&take(&jobs)), 1);
        }
    }

    #[test]
    fn the_room_of_a_user_shrinks_as_the_queue_fills() {
        let (to, jobs) = queue(60, 2);
        assert_eq!(send(&to, 1, 100), 30);
        assert_eq!(send(&to, 2, 100), 15);
        assert_eq!(send(&to, 3, 1), 1);
        assert_eq!(jobs.waiting(), 46);
        work(&jobs, 46, Cost::NONE);
        assert_eq!(send(&to, 1, 100), 30);
    }

    #[test]
    fn a_job_goes_on_behind_other_users_and_before_the_own_jobs() {
        let (to, jobs) = queue(100, 2);
        send(&to, 1, 2);
        let mut first = take(&jobs);
        let meter = Arc::new(Meter::default());
        let rest = async { Err(crate::exchange::UNREADABLE) };
        first.rest = Some(LongLookUp::new(meter, rest));
        send(&to, 2, 1);
        jobs.put_back(first, SLICE);
        assert_eq!(work(&jobs, 1, Cost::NONE), [2]);
        let first = take(&jobs);
        assert!(user_of(&first) == 1 && first.has_begun());
        jobs.done(first.flow.user, Cost::NONE);
        assert!(!take(&jobs).has_begun());
    }

    #[test]
    fn jobs_of_a_connection_that_ends_leave_at_once() {
        let (to, jobs) = queue(100, 2);
        let (one, two) = (Wanted::default(), Wanted::default());
        for wanted in [&one, &two, &one] {
            to.try_send(job(1, wanted)).expect("room");
        }
        let mut recovers = job(1, &one);
        recovers.query = Query::CatchUp {
            user: recovers.flow.user,
            since: Position::ZERO,
            connect: None,
        };
        to.try_send(recovers).expect("room");
        assert_eq!(to.forget(TimelineId(1), &one), 1);
        assert_eq!(jobs.waiting(), 1);
        let left = take(&jobs);
        assert!(left.wanted.is_same(&two));
        jobs.done(left.flow.user, Cost::NONE);
        assert_eq!(to.forget(TimelineId(1), &one), 0);
        assert!(jobs.0.0.line.lock().users.is_empty(), "nothing stays");
        assert!(matches!(jobs.take(NOW), Take::Idle));
    }

    #[test]
    fn the_readers_end_after_the_last_sender_and_the_last_job() {
        let (to, jobs) = queue(100, 1);
        send(&to, 1, 2);
        let copy = to.clone();
        drop(to);
        work(&jobs, 1, Cost::NONE);
        drop(copy);
        work(&jobs, 1, Cost::NONE);
        assert!(matches!(jobs.take(NOW), Take::End));
    }

    #[test]
    fn jobs_that_nobody_does_are_dropped() {
        let (to, jobs) = queue(100, 1);
        let (call, pending) = Call::new();
        let mut waits = job(1, &pending.wanted());
        waits.reply_to = ReplyTo::Call(call);
        to.try_send(waits).expect("room");
        drop(jobs);
        assert_eq!(
            pending.wait(NOW).unwrap_err(),
            crate::exchange::Lost::Dropped
        );
        let refused = to.try_send(job(1, &pending.wanted())).unwrap_err();
        assert!(refused.has_ended);
    }
}
