//! The erasures of users that are under way, and those of their steps that concern no message.
//!
//! The program around the core leads an erasure from step to step ([`crate::erasure`]). Each step is one
//! decision and one record, like any command, and changes nothing if it comes again. So an erasure goes on
//! after a crash. Commands of a user who is being erased are refused.

use trunkline_proto::ErrorCode;
use trunkline_storage::{Draft, TimelineId};

use super::Sequencer;
use super::asked::Asked;
use super::batch::{Changes, OpenBatch};
use super::contacts;
use super::inboxes;
use super::membership::GroupCommand;
use super::recent::Recent;
use super::refused::{CORRUPT, NOT_A_MEMBER, Refused, Stop};
use crate::event::{Body, ERASURE};
use crate::exchange::{Action, Change, Done, EraseStep, Members};
use crate::ids::UserId;
use crate::state::{self, Erased, Erasing, Erasings, FirstSeen, Hidden, Marks};
use crate::told::Decision;

/// The most erasures under way.
const MOST: usize = 64;

const TOO_MANY: Refused = Refused::new(
    ErrorCode::TooManyRequests,
    "64 users are being erased: wait until some of them are done",
);

pub(super) const BEING_ERASED: Refused = Refused::new(
    ErrorCode::PermissionDenied,
    "this user is being erased: a new user of this name may begin when that is done",
);

/// The erasures under way, as the batch under construction leaves them.
#[derive(Default)]
pub(super) struct Erasures {
    list: Vec<Erasing>,
    users: Vec<UserId>,
}

impl Erasures {
    /// Returns the erasures of the store.
    pub(super) fn load(batch: &OpenBatch) -> Self {
        let stored = batch.decoded::<Erasings>(batch.ids().erasures());
        // A failure is in the log. The program that leads erasures reads the same value.
        let Erasings(list) = stored.ok().flatten().unwrap_or_default();
        let ids = batch.ids();
        let users = list.iter().map(|one| ids.user(&one.namespace, &one.user));
        Self {
            users: users.collect(),
            list,
        }
    }

    /// Returns whether a command is refused, because its user is being erased.
    #[inline]
    pub(super) fn forbid(&self, command: Asked<'_>) -> bool {
        !self.users.is_empty()
            && self.users.contains(&command.user)
            && !matches!(command.action, Action::Erase(_))
    }

    /// Decides a step that concerns no message and no membership.
    ///
    /// # Errors
    /// There are too many erasures, the store could not be read, or it took no record.
    pub(super) fn step(
        &mut self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        command: Asked<'_>,
        step: EraseStep,
    ) -> Result<Decision, Refused> {
        let mut changes = Changes::new();
        let mut list = None;
        match step {
            EraseStep::Begin => list = self.begun(batch, command)?,
            EraseStep::Phase { complete } => list = self.advanced(command, complete),
            EraseStep::End => list = self.ended(batch, command, &mut changes)?,
            EraseStep::Conversation => {
                return hide_conversation(batch, recent, command);
            }
            EraseStep::Membership => {
                let key = batch.ids().member(command.conversation, command.user);
                if !batch.member(key)?.is_in() {
                    remove(batch, key, &mut changes)?;
                }
                let settings = batch.ids().settings(command.user, command.conversation);
                remove(batch, settings, &mut changes)?;
            }
            EraseStep::Hidden { seq } => {
                let stretch = Hidden::stretch(seq);
                let ids = batch.ids();
                let key = ids.hidden(command.user, command.conversation, stretch);
                remove(batch, key, &mut changes)?;
            }
            EraseStep::Device => {
                let body = Body::read(command.body).ok_or(CORRUPT)?;
                let key = batch.ids().device(command.user, body.device);
                remove(batch, key, &mut changes)?;
            }
            EraseStep::Windows { stretch } => {
                inboxes::forget_ended(batch, command.user, stretch, &mut changes)?;
            }
            EraseStep::Contacts => {
                let key = batch.ids().contacts(command.user);
                contacts::remove_all(batch, key, &mut changes)?;
                remove(batch, command.user, &mut changes)?;
            }
            EraseStep::Message { .. }
            | EraseStep::Reaction { .. }
            | EraseStep::Leave
            | EraseStep::Unblock => {
                return Err(CORRUPT);
            }
        }
        if let Some(list) = &list {
            let value = match list.is_empty() {
                true => Vec::new(),
                false => state::encode(&Erasings(list.clone())),
            };
            changes.push((batch.ids().erasures(), value));
        }
        if !changes.is_empty() {
            record(batch, command, &mut changes)?;
        }
        if let Some(list) = list {
            let ids = batch.ids();
            let users = list.iter().map(|one| ids.user(&one.namespace, &one.user));
            self.users = users.collect();
            self.list = list;
        }
        Ok(Decision::unchanged(Done::Erase))
    }

    /// Returns the list with the erasure of the caller; `None` if it is in the list already.
    fn begun(
        &self,
        batch: &OpenBatch,
        command: Asked<'_>,
    ) -> Result<Option<Vec<Erasing>>, Refused> {
        if self.users.contains(&command.user) {
            return Ok(None);
        }
        if self.list.len() >= MOST {
            return Err(TOO_MANY);
        }
        let mut list = self.list.clone();
        list.push(Erasing {
            namespace: command.namespace()?.to_owned(),
            user: command.user_name()?.to_owned(),
            began: batch.moment().wire,
            phase: 0,
        });
        Ok(Some(list))
    }

    /// Returns the list in which that many steps of the caller's erasure are complete.
    fn advanced(&self, command: Asked<'_>, complete: u8) -> Option<Vec<Erasing>> {
        let at = self.users.iter().position(|user| *user == command.user)?;
        let mut list = self.list.clone();
        list[at].phase = complete;
        Some(list)
    }

    /// Returns the list without the erasure of the caller, and adds what a new user of the name begins
    /// with to `changes`.
    fn ended(
        &self,
        batch: &OpenBatch,
        command: Asked<'_>,
        changes: &mut Changes,
    ) -> Result<Option<Vec<Erasing>>, Refused> {
        let Some(at) = self.users.iter().position(|user| *user == command.user) else {
            return Ok(None);
        };
        let mut list = self.list.clone();
        list.remove(at);
        let position = batch.last_position().0;
        inboxes::begin_anew(batch, command.user, position, changes)?;
        remove(batch, command.user, changes)?;
        let erased = Erased {
            at: batch.moment().wire,
            position,
        };
        changes.push((batch.ids().erased(command.user), state::encode(&erased)));
        Ok(Some(list))
    }
}

impl Sequencer {
    /// Decides a step of an erasure. Stores the waiting receipts of the conversation before, because the
    /// step changes marks.
    pub(super) fn erase(
        &mut self,
        command: Asked<'_>,
        step: EraseStep,
    ) -> Result<Decision, Refused> {
        match step {
            EraseStep::Message { seq } => loop {
                let (batch, recent) = (&mut self.batch, &mut self.recent);
                match self.messages.erase(batch, recent, command, seq) {
                    Ok(decision) => return Ok(decision),
                    Err(Stop::Refused(refused)) => return Err(refused),
                    Err(Stop::CommitFirst) => self.commit_first(),
                }
            },
            EraseStep::Reaction { seq } => {
                let (batch, recent) = (&mut self.batch, &mut self.recent);
                self.messages.erase_reaction(batch, recent, command, seq)
            }
            EraseStep::Leave => {
                let body = Body::read(command.body).ok_or(CORRUPT)?;
                let left = self.change_group(GroupCommand {
                    command,
                    body: &body,
                    change: Change::Leave,
                });
                match left {
                    Err(refused) if refused == NOT_A_MEMBER => Ok(Decision::unchanged(Done::Erase)),
                    left => left,
                }
            }
            EraseStep::Unblock => {
                self.change_block(command, true)?;
                Ok(Decision::unchanged(Done::Erase))
            }
            step => {
                if step == EraseStep::Conversation
                    && let Some(held) = self.receipts.take(command.conversation)
                {
                    self.store_receipts(&held);
                }
                if step == EraseStep::End {
                    self.departures.forget(command.user);
                }
                let (batch, recent) = (&mut self.batch, &mut self.recent);
                self.erasures.step(batch, recent, command, step)
            }
        }
    }
}

/// Adds the removal of a value to `changes`, if there is one.
fn remove(batch: &OpenBatch, key: TimelineId, changes: &mut Changes) -> Result<(), Refused> {
    if batch.value(key)?.is_some() {
        changes.push((key, Vec::new()));
    }
    Ok(())
}

/// Appends the record of a step.
fn record(batch: &mut OpenBatch, command: Asked<'_>, changes: &mut Changes) -> Result<(), Refused> {
    let draft = Draft {
        kind: ERASURE,
        timeline: command.user,
        body: command.body,
        ..Draft::default()
    };
    batch.append(&draft, changes).map(drop)
}

/// Lets a new user of the caller's name see nothing of a 1:1 conversation so far. The marks of the caller
/// no longer say that anything was received: they have no time.
fn hide_conversation(
    batch: &mut OpenBatch,
    recent: &mut Recent,
    command: Asked<'_>,
) -> Result<Decision, Refused> {
    let unchanged = Decision::unchanged(Done::Erase);
    let Members::Direct { side, .. } = command.members else {
        return Err(CORRUPT);
    };
    let conversation = recent.conversation(command.conversation)?;
    let last = conversation.last_seq();
    let mut direct = conversation.direct();
    let marks = Marks {
        delivered: last,
        read: last,
        ..Marks::default()
    };
    direct.marks[side as usize] = marks;
    let key = batch.ids().sight(command.user, command.conversation);
    let seen = FirstSeen { first: last + 1 };
    if last == 0 || batch.decoded(key)? == Some(seen) {
        return Ok(unchanged);
    }
    let mut changes = vec![
        (command.conversation, state::encode(&direct)),
        (key, state::encode(&seen)),
    ];
    let settings = batch.ids().settings(command.user, command.conversation);
    remove(batch, settings, &mut changes)?;
    record(batch, command, &mut changes)?;
    recent
        .conversation(command.conversation)?
        .set_marks(side, marks);
    Ok(unchanged)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{AB, Fixture};
    use super::*;

    fn step(
        fixture: &mut Fixture,
        erasures: &mut Erasures,
        user: &str,
        step: EraseStep,
    ) -> Result<(), Refused> {
        let request = fixture.request(user, AB, Action::Erase(step), Body::default());
        let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
        let decided = erasures.step(batch, recent, request.asked(), step);
        decided.map(drop)
    }

    fn is_forbidden(fixture: &Fixture, erasures: &Erasures, user: &str) -> bool {
        let action = Action::Recall { seq: 1 };
        let request = fixture.request(user, AB, action, Body::default());
        erasures.forbid(request.asked())
    }

    #[test]
    fn commands_of_a_user_are_refused_until_the_end_also_after_a_restart() {
        let mut fixture = Fixture::new();
        let mut erasures = Erasures::default();
        step(&mut fixture, &mut erasures, "bob", EraseStep::Begin).unwrap();
        let phase = EraseStep::Phase { complete: 2 };
        step(&mut fixture, &mut erasures, "bob", phase).unwrap();
        fixture.commit();
        let mut erasures = Erasures::load(&fixture.batch);
        assert_eq!(erasures.list[0].phase, 2);
        assert!(is_forbidden(&fixture, &erasures, "bob"));
        assert!(!is_forbidden(&fixture, &erasures, "alice"));
        step(&mut fixture, &mut erasures, "bob", EraseStep::End).unwrap();
        assert!(!is_forbidden(&fixture, &erasures, "bob"));
        fixture.commit();
        assert!(Erasures::load(&fixture.batch).list.is_empty());
    }

    #[test]
    fn as_many_users_are_erased_as_may_be() {
        let mut fixture = Fixture::new();
        let mut erasures = Erasures::default();
        for number in 0..MOST {
            let user = format!("user-{number}");
            step(&mut fixture, &mut erasures, &user, EraseStep::Begin).unwrap();
        }
        let begin = EraseStep::Begin;
        let again = step(&mut fixture, &mut erasures, "user-7", begin);
        assert_eq!(again, Ok(()), "it has begun");
        let one_more = step(&mut fixture, &mut erasures, "bob", begin);
        assert_eq!(one_more, Err(TOO_MANY));
        step(&mut fixture, &mut erasures, "user-7", EraseStep::End).unwrap();
        step(&mut fixture, &mut erasures, "bob", begin).unwrap();
        assert_eq!(erasures.list.len(), MOST);
    }

    #[test]
    fn a_conversation_is_hidden_once_and_its_marks_say_nothing() {
        let mut fixture = Fixture::new();
        let mut erasures = Erasures::default();
        fixture.send("alice", AB).unwrap();
        let hide = EraseStep::Conversation;
        step(&mut fixture, &mut erasures, "bob", hide).unwrap();
        let before = fixture.batch.last_position();
        step(&mut fixture, &mut erasures, "bob", hide).unwrap();
        assert_eq!(fixture.batch.last_position(), before, "nothing changed");
        let id = fixture.ids().direct("", "alice", "bob");
        let key = fixture.ids().sight(fixture.user("bob"), id);
        let seen = fixture.batch.decoded::<FirstSeen>(key);
        assert_eq!(seen, Ok(Some(FirstSeen { first: 2 })));
        let direct: state::Direct = fixture.batch.decoded(id).unwrap().unwrap();
        let marks = direct.marks[1];
        assert_eq!((marks.read, marks.acknowledged().read), (1, 0));
    }
}
