//! The queries of a shard to the readers, from the command of a client to the answer.

use crossbeam::channel::Sender;
use slab::Slab;
use trunkline_core::exchange::{Job, Query, ReplyTo};
use trunkline_core::store::Position;

use super::asking::{Asking, Question};
use super::connection::Conn;
use super::questions::Questions;
use super::unanswered::Unanswered;

/// The questions of a shard's connections: those that wait, and those that readers work on.
pub(crate) struct Reads {
    readers: Sender<Job>,
    asking: Asking,
    open: Questions,
    /// Sessions that wait for a page of the events that they missed.
    recovering: usize,
}

/// Where the answer to a question goes, and how far it reaches.
pub(super) struct Asker {
    /// The recipient of the answer.
    pub(super) reply_to: ReplyTo,
    /// The last position that the answer may cover. The connection gets later events live.
    pub(super) until: Position,
}

/// Whether a connection can take an answer of a reader now.
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
    pub(super) fn new(readers: Sender<Job>) -> Self {
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

    /// Whether a turn may have a question for the readers.
    pub(super) fn is_ready(&self) -> bool {
        self.asking.is_ready()
    }

    /// Lets a question of a connection wait for a reader. Returns `false`, and does nothing, where
    /// the shard has too many questions.
    pub(super) fn enter(
        &mut self,
        slot: u32,
        unanswered: &mut Unanswered,
        id: u32,
        query: Query,
    ) -> bool {
        let room = self.asking.has_room();
        if room {
            let recovers = query.recovers();
            unanswered.asked(&query);
            self.recovering += usize::from(recovers);
            self.open.asked(slot, !recovers);
            let writes = unanswered.writes();
            self.asking.enter(slot, Question { id, query, writes });
        }
        room
    }

    /// Forgets the questions of a session that is over, where no reader has been given them.
    pub(super) fn forget(&mut self, slot: u32, unanswered: &mut Unanswered) {
        for question in self.asking.forget(slot) {
            self.recovering -= usize::from(question.query.recovers());
            unanswered.dropped(&question.query);
        }
    }

    /// Lets the readers drop the questions of a connection: it waits for no answer any more.
    pub(super) fn end(&mut self, slot: u32) {
        self.open.end(slot);
    }

    /// Counts an answer out that belongs to catching up. Call it also where the connection is gone.
    pub(super) const fn recovered(&mut self) {
        self.recovering -= 1;
    }

    /// Notes an answer to a connection. `counted`: the question counts as a command in flight.
    pub(super) fn answered(&mut self, slot: u32, unanswered: &mut Unanswered, counted: bool) {
        unanswered.answered(counted);
        self.open.answered(slot, counted);
        self.asking.answered(slot);
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
            let Some(slot) = self.asking.next() else {
                continue;
            };
            let Some(conn) = conns.get_mut(slot as usize) else {
                continue;
            };
            if conn.session().is_none() {
                self.forget(slot, &mut conn.unanswered);
            } else if self.asking.has_next(slot) {
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
        let Some(Question { id, query, writes }) = self.asking.take(slot) else {
            return;
        };
        let Asker { reply_to, until } = asker(id);
        let job = Job {
            reply_to,
            until,
            wanted: self.open.flag(slot),
            query,
        };
        if let Err(back) = self.readers.try_send(job) {
            let Job { query, .. } = back.into_inner();
            self.asking.put_back(slot, Question { id, query, writes });
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam::channel::bounded;
    use trunkline_core::exchange::{ConnRef, Part, ReplyConn};
    use trunkline_core::store::TimelineId;
    use trunkline_proto::Encoding;

    use super::*;

    const USER: TimelineId = TimelineId(1);

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
        let (readers, jobs) = bounded(1);
        let mut reads = Reads::new(readers);
        let mut unanswered = Unanswered::default();
        assert!(reads.enter(7, &mut unanswered, 1, page()));
        assert!(reads.enter(8, &mut unanswered, 2, page()));
        assert_eq!(reads.asking.begin_round(), 2);
        for slot in [7, 8] {
            assert_eq!(reads.asking.next(), Some(slot));
            assert!(reads.asking.has_next(slot));
            reads.ask(slot, asker);
        }
        assert_eq!(jobs.len(), 1);
        assert!(!reads.asking.has_next(7), "a reader has its question");
        assert_eq!(reads.asking.begin_round(), 1, "8 waits for the next round");
        assert_eq!(reads.asking.next(), Some(8));
        assert!(reads.asking.has_next(8));
        assert!(jobs.recv().is_ok_and(|job| job.wanted.is_so()));
        reads.ask(8, asker);
        reads.answered(7, &mut unanswered, true);
        assert_eq!((jobs.len(), reads.counted(7), reads.counted(8)), (1, 0, 1));
    }

    #[test]
    fn sessions_that_catch_up_are_counted_until_they_have_their_page_or_end() {
        let (readers, jobs) = bounded(9);
        let mut reads = Reads::new(readers);
        let mut unanswered = Unanswered::default();
        reads.enter(7, &mut unanswered, 1, catch_up());
        reads.enter(8, &mut unanswered, 1, catch_up());
        assert_eq!((reads.recovering(), reads.counted(7)), (2, 0));
        reads.ask(7, asker);
        reads.forget(8, &mut unanswered);
        assert_eq!(reads.recovering(), 1, "no reader had the question of 8");
        reads.forget(7, &mut unanswered);
        reads.end(7);
        assert!(jobs.recv().is_ok_and(|job| !job.wanted.is_so()));
        assert_eq!(reads.recovering(), 1, "the reader answers all the same");
        reads.recovered();
        assert_eq!(reads.recovering(), 0);
    }
}
