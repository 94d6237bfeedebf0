//! Jobs from a position that the store does not have yet.
//!
//! In a cluster, a client may come from a node that has more of the log than this one. The position is good, and the log
//! brings the records soon. So a reader sets such a job aside for a while, and does others meanwhile.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use trunkline_storage::Position;

use super::reply::events_of;
use crate::exchange::Job;

/// The maximum number of jobs that a reader sets aside. Further ones are answered at once.
const MOST: usize = 4_096;

/// The time between two looks at the jobs that were set aside.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// The jobs that one reader has set aside.
pub(super) struct Ahead {
    /// The time for which a job waits; zero where no position is ahead of the store.
    patience: Duration,
    waiting: VecDeque<Aside>,
    ready: VecDeque<Box<Job>>,
    looked: Instant,
}

/// A job that waits for a position.
struct Aside {
    job: Box<Job>,
    since: Position,
    until: Instant,
}

impl Ahead {
    pub(super) fn new(patience: Duration, now: Instant) -> Self {
        Self {
            patience,
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            looked: now,
        }
    }

    /// Returns whether no job is set aside.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty()
    }

    /// Sets a job aside if its position is behind the head of the store. Returns the job if not, or if there is no room.
    pub(super) fn keep(
        &mut self,
        job: Box<Job>,
        head: impl FnOnce() -> Position,
        now: impl FnOnce() -> Instant,
    ) -> Option<Box<Job>> {
        if self.patience.is_zero() || self.waiting.len() >= MOST || job.has_begun() {
            return Some(job);
        }
        match events_of(&job.query) {
            Some((_, since)) if since > head() => {
                let until = now() + self.patience;
                self.waiting.push_back(Aside { job, since, until });
                None
            }
            _ => Some(job),
        }
    }

    /// Returns a job to do now: the store has its position, the job has waited for long enough, or nobody waits for its answer.
    pub(super) fn next(
        &mut self,
        head: impl FnOnce() -> Position,
        now: Instant,
    ) -> Option<Box<Job>> {
        if !self.waiting.is_empty() && now.saturating_duration_since(self.looked) >= LOOK {
            self.looked = now;
            let head = head();
            for aside in std::mem::take(&mut self.waiting) {
                let is_due = aside.since <= head || aside.until <= now;
                match is_due || !aside.job.wanted.is_so() {
                    true => self.ready.push_back(aside.job),
                    false => self.waiting.push_back(aside),
                }
            }
        }
        self.ready.pop_front()
    }

    /// Returns a job whatever its position: the readers end.
    pub(super) fn last(&mut self) -> Option<Box<Job>> {
        let aside = self.waiting.pop_front().map(|aside| aside.job);
        aside.or_else(|| self.ready.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;
    use crate::exchange::{Call, Query, ReplyTo, Wanted};
    use crate::ids::NamespaceId;
    use crate::turns::Flow;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn job(since: u64, wanted: &Wanted) -> Box<Job> {
        let flow = Flow {
            namespace: NamespaceId::default(),
            user: TimelineId(1),
        };
        let query = Query::Sync {
            user: flow.user,
            since: Some(Position(since)),
            limit: 1,
        };
        let reply_to = ReplyTo::Call(Call::new().0);
        Box::new(Job::new(flow, reply_to, Position(8), wanted.clone(), query))
    }

    fn since(job: &Job) -> u64 {
        events_of(&job.query).map_or(0, |(_, since)| since.0)
    }

    #[test]
    fn a_job_waits_for_its_position_and_not_for_ever() {
        let (wanted, gone) = (Wanted::default(), Wanted::default());
        let start = Instant::now();
        let mut ahead = Ahead::new(PATIENCE, start);
        let head = |position| move || Position(position);
        assert!(ahead.keep(job(8, &wanted), head(8), || start).is_some());
        for (since, wanted) in [(9, &wanted), (20, &wanted), (21, &gone)] {
            assert!(ahead.keep(job(since, wanted), head(8), || start).is_none());
        }
        let next = |ahead: &mut Ahead, position, after| {
            let job = ahead.next(head(position), start + after);
            job.map(|job| since(&job))
        };
        assert_eq!(next(&mut ahead, 8, LOOK), None);
        assert_eq!(next(&mut ahead, 9, LOOK), None, "too soon to look again");
        assert_eq!(next(&mut ahead, 9, LOOK * 2), Some(9));
        assert_eq!(next(&mut ahead, 19, LOOK * 3), None);
        gone.end();
        assert_eq!(next(&mut ahead, 19, LOOK * 4), Some(21));
        assert_eq!(next(&mut ahead, 19, PATIENCE - LOOK), None);
        assert_eq!(next(&mut ahead, 19, PATIENCE), Some(20));
        assert!(ahead.is_empty());
    }

    #[test]
    fn at_the_end_no_job_waits_and_where_nothing_is_ahead_none_ever_does() {
        let wanted = Wanted::default();
        let start = Instant::now();
        let mut ahead = Ahead::new(PATIENCE, start);
        assert!(
            ahead
                .keep(job(9, &wanted), || Position(8), || start)
                .is_none()
        );
        assert_eq!(ahead.last().map(|job| since(&job)), Some(9));
        assert!(ahead.last().is_none() && ahead.is_empty());
        let mut alone = Ahead::new(Duration::ZERO, start);
        assert!(
            alone
                .keep(job(9, &wanted), || Position(8), || start)
                .is_some()
        );
    }

    #[test]
    fn a_reader_sets_aside_no_more_jobs_than_there_is_room_for() {
        let wanted = Wanted::default();
        let start = Instant::now();
        let mut ahead = Ahead::new(PATIENCE, start);
        let mut keep = || {
            ahead
                .keep(job(9, &wanted), || Position(8), || start)
                .is_none()
        };
        assert!((0..MOST).all(|_| keep()));
        assert!(!keep());
    }
}
