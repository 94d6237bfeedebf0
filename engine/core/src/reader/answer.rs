//! Answers to connections: frames in the connection's encoding.

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{ErrorReply, Push, Reply, ReplyBody, ServerMessage};

use super::failure::TOO_LARGE;
use super::{JOB, Worker};
use crate::cost::Cost;
use crate::exchange::slices::LookedUp;
use crate::exchange::{Answer, AnswerKind, Failure, Job, ReplyConn};
use crate::fit::{Cut, ReplyFrame, strip_push, write_fitting};
use crate::frames::write;

/// The frames of one answer, and the error in them.
pub(super) struct Frames {
    to: ReplyConn,
    /// The maximum number of bytes of a message.
    message_bytes: usize,
    /// The bytes behind which no more pushes are appended.
    pub(super) page_bytes: usize,
    bytes: Vec<u8>,
    error: Option<ErrorCode>,
}

impl Worker {
    /// Answers a job of a connection. Returns `None` if the job is not finished after a slice.
    pub(super) fn answer(&mut self, job: &mut Job, to: &ReplyConn) -> Option<Answer> {
        let paged = job.query.is_paged();
        let mut frames = Frames::new(*to, self.message_bytes);
        let answer = match self.look_up(job, Some(to))? {
            Ok(LookedUp::Answer(answer)) => *answer,
            Ok(LookedUp::Reply(body, cut)) => {
                let is_send = matches!(*body, ReplyBody::Send(_));
                frames.page(*body, &cut);
                frames.answer(match is_send {
                    true => AnswerKind::SendReply,
                    false => AnswerKind::Reply { paged },
                })
            }
            Ok(LookedUp::Finding(finding)) => frames.answer(AnswerKind::Found {
                id: to.id,
                finding: Box::new(finding),
                paged,
            }),
            Err(failure) => {
                frames.fail(failure);
                frames.answer(AnswerKind::Reply { paged })
            }
        };
        Some(self.priced(job, answer))
    }

    /// Returns an answer with its cost: of the look-ups, and of sending the frames.
    fn priced(&self, job: &Job, answer: Answer) -> Answer {
        let meter = self.reading.meter();
        meter.add(JOB + Cost::of_sent(answer.frames.len()));
        Answer {
            cost: job.cost + meter.read(),
            ..answer
        }
    }
}

impl Frames {
    pub(super) fn new(to: ReplyConn, message_bytes: usize) -> Self {
        Self {
            to,
            message_bytes,
            page_bytes: message_bytes,
            bytes: Vec::new(),
            error: None,
        }
    }

    /// Appends a reply, if the client asked for one with an id.
    pub(super) fn reply(&mut self, body: ReplyBody<'_>) {
        if self.to.id != 0 {
            self.write(body);
        }
    }

    fn write(&mut self, body: ReplyBody<'_>) {
        let id = self.to.id;
        let reply = ServerMessage::Reply(Reply { id, body });
        write(&mut self.bytes, self.to.encoding, &reply);
    }

    /// Appends a reply, if the client asked for one with an id, and shortens it until it fits into a
    /// message.
    fn page(&mut self, body: ReplyBody<'_>, cut: &Cut) {
        let frame = ReplyFrame {
            encoding: self.to.encoding,
            id: self.to.id,
            limit: self.message_bytes,
        };
        if frame.id != 0 && !write_fitting(&mut self.bytes, frame, body, cut) {
            self.fail(TOO_LARGE);
        }
    }

    /// Appends an error reply.
    pub(super) fn fail(&mut self, failure: Failure) {
        let (code, message) = failure;
        self.note(failure);
        self.write(ReplyBody::Error(ErrorReply::new(code, message)));
    }

    /// Records an error that the connection gets in another way.
    pub(super) fn note(&mut self, (code, _): Failure) {
        self.error = Some(code);
    }

    /// Appends a push. Returns `false`, and appends nothing, if the push `may_wait` for the next
    /// page and all frames with it would be longer than a page.
    ///
    /// A push that alone is longer than a message goes without its content.
    pub(super) fn push(&mut self, push: Push<'_>, may_wait: bool) -> bool {
        let (start, most) = (self.bytes.len(), self.message_bytes);
        let mut message = ServerMessage::Push(push);
        write(&mut self.bytes, self.to.encoding, &message);
        if may_wait && self.bytes.len() > self.page_bytes {
            self.bytes.truncate(start);
            return false;
        }
        if self.bytes.len() - start > most
            && let ServerMessage::Push(push) = &mut message
        {
            self.bytes.truncate(start);
            strip_push(push);
            write(&mut self.bytes, self.to.encoding, &message);
        }
        true
    }

    /// Returns the answer with these frames, without its cost.
    pub(super) fn answer(self, kind: AnswerKind) -> Answer {
        Answer {
            conn: self.to.conn,
            frames: self.bytes,
            error: self.error,
            kind,
            cost: Cost::NONE,
        }
    }
}
