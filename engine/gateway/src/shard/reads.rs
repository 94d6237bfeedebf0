//! The queries of a shard to the readers, from the command of a client to the answer.

use slab::Slab;
use trunkline_core::exchange::{Job, Query, ReplyTo, ToReaders};
use trunkline_core::ids::{NamespaceId, UserId};
use trunkline_core::store::Position;
use trunkline_core::turns::Flow;

use super::asking::{Asking, Question};
use super::connection::Conn;
use super::questions::Questions;
use super::unanswered::Unanswered;

/// The questions of a shard's connections that are not answered. Some wait, and readers work on the
/// others.
pub(crate) struct Reads {
    readers: ToReaders,
    asking: Asking,
    open: Questions,
    /// Sessions that wait for a page of the events that they missed.
    recovering: usize,
}

/// Where the answer to a question goes, and how far it reaches.
pub(super) struct Asker {
    /// The namespace of the user who asks.
    pub(super) namespace: NamespaceId,
    /// The recipient of the answer.
    pub(super) reply_to: ReplyTo,
    /// The last position that the answer may cover. The connection gets later events live.
    pub(super) until: Position,
}

/// The state of a connection: whether it can take an answer of a reader now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// The connection can take an answer.
    Ready,
    /// Too much output waits for this connection. Its question waits until the output is gone.
    Behind,
    /// The shard is short of memory, and this connection holds some. Its question waits for the
    /// next turn.
    Crowded,
}

impl Reads {
    /// Makes the state of a shard that has asked nothing.
    pub(super) fn new(readers: ToReaders) -> Self {
        Self {
            readers,
            asking: Asking::default(),
            open: Questions::default(),
            recovering: 0,
        }
    }

    /// Returns how many sessions wait for a page of the events that they missed.
    pub(super) const fn recovering(&self) -> usize {
        self.recovering
    }

    /// Returns whether a turn may have a question for the readers.
    pub(super) fn is_ready(&self) -> bool {
        self.asking.is_ready()
    }

    /// Lets a question of a user's connection wait for a reader. Returns `false`, and does nothing,
    /// if the user has as many questions as one may have.
    pub(super) fn enter(
        &mut self,
        (slot, user): (u32, UserId),
        unanswered: &mut Unanswered,
        id: u32,
        query: Query,
    ) -> bool {
        let room = self.asking.has_room(user);
        if room {
            let recovers = query.recovers();
            unanswered.asked(&query);
            self.recovering += usize::from(recovers);
            self.open.asked(slot, !recovers);
            let writes = match query.follows_writes() {
                true => unanswered.writes(),
                false => 0,
            };
            self.asking
                .enter(slot, user, Question { id, query, writes });
        }
        room
    }

    /// Forgets the questions of a session that is over, except the question that a reader has.
    pub(super) fn forget(&mut self, slot: u32, unanswered: &mut Unanswered) {
        for question in self.asking.forget(slot) {
            self.recovering -= usize::from(question.query.recovers());
            unanswered.dropped(&question.query);
        }
    }

    /// Lets the readers drop the questions of a user's connection: it waits for no answer any more.
    pub(super) fn end(&mut self, slot: u32, user: Option<UserId>) {
        let Some(wanted) = self.open.end(slot) else {
            return;
        };
        if let Some(user) = user {
            self.recovering -= self.readers.forget(user, &wanted);
        }
        // An answer that is on its way all the same changes nothing.
        self.asking.answered(slot);
    }

    /// Counts out the answer to a question of catching up. Call it also if the connection is gone.
    pub(super) const fn recovered(&mut self) {
        self.recovering -= 1;
    }

    /// Notes an answer to a connection. `counted`: the question counts as a command in flight.
    pub(super) fn answered(&mut self, slot: u32, unanswered: &mut Unanswered, counted: bool) {
        self.open.answered(slot, counted);
        unanswered.answered(counted, self.asking.answered(slot));
    }

    /// Notes that a write of a connection is decided.
    pub(super) fn written(&mut self, slot: u32) {
        self.asking.written(slot);
    }

    /// Notes that a connection has taken all its output.
    pub(super) fn drained(&mut self, slot: u32) {
        self.asking.drained(slot);
    }

    /// Returns how many open questions of a connection count as commands in flight.
    pub(super) fn counted(&self, slot: u32) -> u32 {
        self.open.counted(slot)
    }

    /// Gives the readers the questions that are ready: one of each connection at a time.
    /// `readiness` says whether a connection can take an answer, `asker` who asks with this id.
    pub(super) fn ask_ready(
        &mut self,
        conns: &mut Slab<Conn>,
        readiness: impl Fn(&Conn) -> Readiness,
        asker: impl Fn(u32, &Conn, u32) -> Asker,
    ) {
        for _ in 0..self.asking.begin_round() {
            if !self.asking.has_room_for_answers() {
                break;
            }
            let Some(slot) = self.asking.next() else {
                continue;
            };
            let Some(conn) = conns.get_mut(slot as usize) else {
                continue;
            };
            if conn.session().is_none() {
                self.forget(slot, &mut conn.unanswered);
            } else if self.asking.has_next(slot) && !self.asking.holds(slot) {
                match readiness(conn) {
                    Readiness::Ready => self.ask(slot, |id| asker(slot, conn, id)),
                    Readiness::Crowded => self.asking.starve(slot),
                    Readiness::Behind => {}
                }
            }
        }
    }

    /// Gives a reader the next question of a connection. Without room for it the question waits for
    /// the next round.
    fn ask(&mut self, slot: u32, asker: impl Fn(u32) -> Asker) {
        let Some((user, question)) = self.asking.take(slot) else {
            return;
        };
        let Question { id, query, writes } = question;
        let Asker {
            namespace,
            reply_to,
            until,
        } = asker(id);
        let flow = Flow { namespace, user };
        let job = Job::new(flow, reply_to, until, self.open.flag(slot), query);
        if let Err(refused) = self.readers.try_send(job) {
            let Job { query, .. } = *refused.job;
            self.asking.put_back(slot, Question { id, query, writes });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use trunkline_core::exchange::{ConnRef, Jobs, JobsForm, Part, ReplyConn, Take, jobs};
    use trunkline_core::store::TimelineId;
    use trunkline_proto::Encoding;

    use super::*;

    const USER: TimelineId = TimelineId(1);

    fn queue(most: usize) -> (ToReaders, Jobs) {
        jobs(&JobsForm {
            jobs: most,
            readers: 2,
            weights: Arc::default(),
        })
    }

    fn take(jobs: &Jobs) -> Box<Job> {
        match jobs.take(Duration::ZERO) {
            Take::Job(job) => job,
            other => panic!("{other:?}"),
        }
    }

    fn page() -> Query {
        Query::Contacts {
            user: USER,
            watch: false,
            part: Part::WHOLE,
        }
    }

    fn catch_up() -> Query {
        Query::CatchUp {
            user: USER,
            since: Position(3),
            connect: None,
        }
    }

    fn asker(id: u32) -> Asker {
        let conn = ConnRef {
            slot: 7,
            generation: 1,
        };
        Asker {
            namespace: NamespaceId::default(),
            reply_to: ReplyTo::Conn(ReplyConn {
                shard: 0,
                encoding: Encoding::Json,
                conn,
                id,
            }),
            until: Position(9),
        }
    }

    #[test]
    fn a_question_waits_while_the_readers_have_no_room() {
        let (readers, jobs) = queue(1);
        let mut reads = Reads::new(readers);
        let mut unanswered = Unanswered::default();
        assert!(reads.enter((7, USER), &mut unanswered, 1, page()));
        assert!(reads.enter((8, USER), &mut unanswered, 2, page()));
        assert_eq!(reads.asking.begin_round(), 2);
        for slot in [7, 8] {
            assert_eq!(reads.asking.next(), Some(slot));
            assert!(reads.asking.has_next(slot));
            reads.ask(slot, asker);
        }
        assert_eq!(jobs.waiting(), 1);
        assert!(!reads.asking.has_next(7), "a reader has its question");
        assert_eq!(reads.asking.begin_round(), 1, "8 waits for the next round");
        assert_eq!(reads.asking.next(), Some(8));
        assert!(reads.asking.has_next(8));
        assert!(take(&jobs).wanted.is_so());
        reads.ask(8, asker);
        reads.answered(7, &mut unanswered, true);
        assert_eq!(
            (jobs.waiting(), reads.counted(7), reads.counted(8)),
            (1, 0, 1)
        );
    }

    #[test]
    fn sessions_that_catch_up_are_counted_until_they_have_their_page_or_end() {
        let (readers, jobs) = queue(9);
        let mut reads = Reads::new(readers);
        let mut unanswered = Unanswered::default();
        reads.enter((7, USER), &mut unanswered, 1, catch_up());
        reads.enter((8, USER), &mut unanswered, 1, catch_up());
        assert_eq!((reads.recovering(), reads.counted(7)), (2, 0));
        reads.ask(7, asker);
        reads.forget(8, &mut unanswered);
        assert_eq!(reads.recovering(), 1, "no reader had the question of 8");
        reads.forget(7, &mut unanswered);
        reads.end(7, Some(USER));
        assert_eq!(
            (jobs.waiting(), reads.recovering()),
            (0, 0),
            "no reader began"
        );
        reads.enter((9, USER), &mut unanswered, 1, catch_up());
        reads.asking.begin_round();
        reads.ask(9, asker);
        let job = take(&jobs);
        reads.forget(9, &mut unanswered);
        reads.end(9, Some(USER));
        assert!(!job.wanted.is_so());
        assert_eq!(reads.recovering(), 1, "the reader answers all the same");
        reads.recovered();
        assert_eq!(reads.recovering(), 0);
    }
}
