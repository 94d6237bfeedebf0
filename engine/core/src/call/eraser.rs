//! Carries out the steps of the erasure of a user.

use std::time::{Duration, Instant};

use trunkline_proto::message::ReplyBody;
use trunkline_proto::names::Conversation;
use trunkline_storage::TimelineId;

use super::asking::STOPPING;
use super::client::no_answer;
use super::{CallError, Service, failed};
use crate::event::{Body, BodyNames};
use crate::exchange::{
    Action, Answered, Call, CallAnswer, Command, CommandBatch, EraseStep, Lost, Members,
    NOT_A_MEMBER, Pending, ReplyTo,
};
use crate::ids::{Side, UserId};

/// The pause before another attempt when the queue of the sequencer is full.
const RETRY: Duration = Duration::from_millis(20);

/// A step of the erasure of a user. Each changes nothing if it comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Refuses the commands of the user from now on. At most 64 users are erased at a time.
    Begin,
    /// Takes the content of a message away, if the user sent it.
    Message {
        /// The conversation.
        conversation: String,
        /// The sequence of the message.
        seq: u64,
    },
    /// Takes a reaction of the user back.
    Reaction {
        /// The conversation.
        conversation: String,
        /// The sequence of the message.
        seq: u64,
        /// The reaction.
        reaction: String,
    },
    /// Forgets that the user has deleted messages near this one from the own view.
    Hidden {
        /// The conversation.
        conversation: String,
        /// The sequence of the message.
        seq: u64,
    },
    /// Lets the user leave a conversation: a group, which the user is then no member of, or a 1:1
    /// conversation, of which a new user of the name then sees nothing that was before.
    Leave {
        /// The conversation.
        conversation: String,
    },
    /// Forgets the position of a device.
    Device(String),
    /// Forgets a stretch of the windows through which the user saw groups before leaving them. The last stretch goes
    /// first: see [`ended_windows`](crate::erasure::ended_windows).
    Windows(u64),
    /// Forgets the contacts and the last-seen time.
    Contacts,
    /// Ends the block of another user, whose name this is.
    Unblock(String),
    /// Notes how many parts of the erasure are complete.
    Phase(u8),
    /// Lets a new user of the name begin.
    End,
}

/// Carries out steps of the erasure of one user: see [`Service::eraser`].
pub struct Eraser<'s> {
    service: &'s Service,
    id: UserId,
    namespace: &'s str,
    user: &'s str,
}

/// The conversation of a step, and its members.
struct Target {
    id: TimelineId,
    members: Members,
}

impl<'s> Eraser<'s> {
    pub(super) const fn new(
        service: &'s Service,
        id: UserId,
        namespace: &'s str,
        user: &'s str,
    ) -> Self {
        Self {
            service,
            id,
            namespace,
            user,
        }
    }

    /// Carries out steps in their order. It blocks its thread until all of them are durable.
    ///
    /// # Errors
    /// The error of the first step that failed. The others may have been carried out.
    pub fn carry_out(&self, steps: &[Step]) -> Result<(), CallError> {
        let mut batch = self.service.parts.sequencer.spare();
        let mut pending = Vec::new();
        for step in steps {
            for part in parts(step) {
                pending.push(self.push(step, part, &mut batch)?);
            }
        }
        let until = Instant::now() + self.service.timeout;
        while let Err(back) = self.service.parts.sequencer.try_send(batch) {
            if Instant::now() >= until {
                return Err(no_answer());
            }
            batch = back;
            std::thread::sleep(RETRY);
        }
        let mut first = Ok(());
        for pending in pending {
            let left = until.saturating_duration_since(Instant::now());
            let answered = answer(pending.wait(left));
            first = first.and(answered);
        }
        first
    }

    /// Adds a part of a step to a batch. Returns the end at which its answer comes.
    fn push(
        &self,
        step: &Step,
        part: EraseStep,
        batch: &mut CommandBatch,
    ) -> Result<Pending, CallError> {
        let mut body = Body {
            namespace: self.namespace,
            user: self.user,
            ..Body::default()
        };
        let mut target = Target {
            id: self.id,
            members: Members::Group,
        };
        match step {
            Step::Message { conversation, seq } | Step::Hidden { conversation, seq } => {
                body.conversation = conversation;
                body.seq = *seq;
            }
            Step::Reaction {
                conversation,
                seq,
                reaction,
            } => {
                body.conversation = conversation;
                body.seq = *seq;
                body.reaction = Some(reaction.as_str());
                body.removed = true;
            }
            Step::Leave { conversation } => body.conversation = conversation,
            Step::Device(device) => body.device = device,
            Step::Unblock(other) => {
                let ids = &self.service.ids;
                body.members = vec![other.as_str()];
                target = Target {
                    id: ids.blocked(self.id),
                    members: Members::Direct {
                        other: ids.user(self.namespace, other),
                        // The list has no sides.
                        side: Side::Lesser,
                    },
                };
            }
            Step::Begin | Step::Windows(_) | Step::Contacts | Step::Phase(_) | Step::End => {}
        }
        if !body.conversation.is_empty() {
            target = self.target(body.conversation)?;
        }
        let (call, pending) = Call::new();
        let start = batch.bodies.len();
        body.write(&mut batch.bodies);
        batch.push(Command {
            reply_to: ReplyTo::Call(call),
            user: self.id,
            conversation: target.id,
            members: target.members,
            body: start..batch.bodies.len(),
            names: BodyNames::of(&body),
            action: Action::Erase(part),
            read_at: 0,
        });
        Ok(pending)
    }

    fn target(&self, conversation: &str) -> Result<Target, CallError> {
        let ids = &self.service.ids;
        let stranger = || failed(NOT_A_MEMBER);
        Ok(
            match Conversation::parse(conversation).ok_or_else(stranger)? {
                Conversation::Group(name) => Target {
                    id: ids.group(self.namespace, name),
                    members: Members::Group,
                },
                Conversation::Direct(lesser, greater) => {
                    let (side, other) = match (lesser == self.user, greater == self.user) {
                        (true, _) => (Side::Lesser, greater),
                        (_, true) => (Side::Greater, lesser),
                        _ => return Err(stranger()),
                    };
                    let other = ids.user(self.namespace, other);
                    Target {
                        id: ids.direct(self.namespace, lesser, greater),
                        members: Members::Direct { other, side },
                    }
                }
            },
        )
    }
}

/// Returns the decisions of the sequencer that make a step.
fn parts(step: &Step) -> Vec<EraseStep> {
    match step {
        Step::Begin => vec![EraseStep::Begin],
        Step::Message { seq, .. } => vec![EraseStep::Message { seq: *seq }],
        Step::Reaction { seq, .. } => vec![EraseStep::Reaction { seq: *seq }],
        Step::Hidden { seq, .. } => vec![EraseStep::Hidden { seq: *seq }],
        Step::Leave { conversation } if conversation.starts_with("g:") => {
            vec![EraseStep::Leave, EraseStep::Membership]
        }
        Step::Leave { .. } => vec![EraseStep::Conversation],
        Step::Device(_) => vec![EraseStep::Device],
        Step::Windows(stretch) => vec![EraseStep::Windows { stretch: *stretch }],
        Step::Contacts => vec![EraseStep::Contacts],
        Step::Unblock(_) => vec![EraseStep::Unblock],
        Step::Phase(complete) => vec![EraseStep::Phase {
            complete: *complete,
        }],
        Step::End => vec![EraseStep::End],
    }
}

fn answer(answered: Result<Answered, Lost>) -> Result<(), CallError> {
    match answered {
        Ok(Answered { answer, .. }) => match answer {
            CallAnswer::Failed(failure) => Err(failed(failure)),
            CallAnswer::Reply(ReplyBody::Error(error)) => Err(crate::owned::error(error)),
            _ => Ok(()),
        },
        Err(Lost::Late) => Err(no_answer()),
        Err(Lost::Dropped) => Err(failed(STOPPING)),
    }
}
