//! Questions for the presence of users.
//!
//! Only the store may know when a user left long ago. The reply to a question then waits for a
//! reader.

use compact_str::CompactString;
use trunkline_core::exchange::{Failure, Part, PresenceQuery, PresenceUser};
use trunkline_core::hub::UserState;
use trunkline_core::ids::UserId;
use trunkline_core::request::check_presence;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{
    Contact, ContactsReply, Presence, PresenceReply, ReplyBody, UserPresence,
};

use super::super::turn::Turn;
use super::Ephemeral;
use super::presence::{StoreAnswer, Watch, Watcher};
use super::requests::Sender;
use crate::metrics::Limit;

/// A user whom a client names.
#[derive(Debug, Clone)]
struct Named {
    id: UserId,
    name: CompactString,
}

/// Users whose presence a client asks for.
struct Question {
    /// The users to watch from now on, and to show.
    watched: Vec<Named>,
    /// The users to show only.
    shown: Vec<Named>,
    /// Watched users whom the answer does not show, and who may block the one who asks.
    unlisted: Vec<PresenceUser>,
    /// For a list of contacts: whether there are more than these.
    more_contacts: Option<bool>,
}

impl Ephemeral {
    fn named(&self, sender: Sender<'_>, name: &str) -> Named {
        Named {
            id: self.ids.user(sender.namespace(), name),
            name: name.into(),
        }
    }

    /// Handles `presence`. Returns the users that the client asked for.
    ///
    /// # Errors
    /// A name is not valid, or the connection would watch too many users.
    pub(super) fn presence(
        &mut self,
        sender: Sender<'_>,
        request: &Presence<'_>,
        turn: &mut Turn,
    ) -> Result<PresenceQuery, Failure> {
        let Presence {
            watch,
            unwatch,
            query,
        } = request;
        let names = watch.iter().chain(unwatch).chain(query);
        check_presence(names.map(|name| &**name))?;
        for name in unwatch {
            let user = self.ids.user(sender.namespace(), name);
            self.end_watch(sender.slot, user);
        }
        let watched: Vec<_> = watch.iter().map(|name| self.named(sender, name)).collect();
        self.check_watches(sender.slot, &watched)?;
        let question = Question {
            watched,
            shown: query.iter().map(|name| self.named(sender, name)).collect(),
            unlisted: Vec::new(),
            more_contacts: None,
        };
        let command = self.begun.command();
        Ok(self.asked(sender, question, command, turn))
    }

    /// Handles `contacts` once a reader has found their names. Returns the contacts of one part of the
    /// list. `watch`: the connection watches all contacts from now on, those outside of the part too.
    ///
    /// # Errors
    /// The connection would watch too many users.
    pub(super) fn contacts(
        &mut self,
        sender: Sender<'_>,
        names: &[String],
        watch: bool,
        part: &Part,
        turn: &mut Turn,
    ) -> Result<PresenceQuery, Failure> {
        let all: Vec<_> = names.iter().map(|name| self.named(sender, name)).collect();
        if watch {
            self.check_watches(sender.slot, &all)?;
        }
        let after = part.after.as_deref().unwrap_or_default();
        let (mut listed, mut others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|user| user.name.as_str() > after);
        let behind = listed.split_off(part.limit.min(listed.len()));
        let more_contacts = Some(!behind.is_empty());
        others.extend(behind);
        let mut unlisted = Vec::new();
        let command = self.begun.command();
        let (watched, shown) = if watch {
            let others = others.iter();
            let others = others.map(|user| self.watch(sender, user, command, turn));
            unlisted.extend(
                others
                    .filter(|user| user.may_block)
                    .map(|user| PresenceUser {
                        is_unlisted: true,
                        ..user
                    }),
            );
            (listed, Vec::new())
        } else {
            (Vec::new(), listed)
        };
        let question = Question {
            watched,
            shown,
            unlisted,
            more_contacts,
        };
        Ok(self.asked(sender, question, command, turn))
    }

    /// Checks that a connection may watch these users too.
    ///
    /// # Errors
    /// The connection, or all connections of the shard, would listen to too much.
    fn check_watches(&self, slot: u32, users: &[Named]) -> Result<(), Failure> {
        let known = |user: &Named| self.listening.watch(slot, user.id).is_some();
        let fresh = users.iter().filter(|user| !known(user)).count();
        let room = self.listening.has_room(fresh, self.limits.listenings);
        let room = room && self.listening.watches(slot) + fresh <= self.limits.watches;
        if fresh == 0 || room {
            return Ok(());
        }
        self.metrics.limited(Limit::Watches);
        Err((
            ErrorCode::LimitExceeded,
            "this connection has reached its number of watched users: max_watches",
        ))
    }

    /// Lets a connection watch a user. Returns what a reply says of the user. `command` is the number of the
    /// command.
    fn watch(
        &mut self,
        sender: Sender<'_>,
        user: &Named,
        command: u32,
        turn: &mut Turn,
    ) -> PresenceUser {
        let slot = sender.slot;
        let known = self.listening.watch(slot, user.id);
        match known {
            Some(_) => self.begun.named_again(slot, user.id, command),
            None => self.begun.begin(slot, user.id, command),
        }
        let watcher = Watcher {
            slot,
            user: sender.session.id,
            known,
        };
        let Watch {
            state,
            key,
            may_block,
        } = self.watching.watch(watcher, user.id, &user.name, turn);
        self.listening.add_watch(slot, user.id, key);
        PresenceUser {
            id: user.id,
            name: user.name.clone(),
            unknown: state.is_unknown(),
            left: state.left,
            may_block,
            blocks: false,
            is_unlisted: false,
            begun: if known.is_none() { command } else { 0 },
        }
    }

    /// Ends a watch of a connection.
    fn end_watch(&mut self, slot: u32, user: UserId) {
        self.begun.forget(slot, user);
        if let Some(key) = self.listening.remove_watch(slot, user) {
            self.watching.unwatch(user, key);
        }
    }

    /// Ends watches of a connection whose command failed, if it began them. Each user comes with the number of
    /// the command.
    pub(super) fn end_begun(&mut self, slot: u32, users: impl Iterator<Item = (UserId, u32)>) {
        for (user, command) in users {
            if self.begun.settle(slot, user, command) {
                self.end_watch(slot, user);
            }
        }
    }

    /// Watches users, and returns what memory knows of all that were asked for.
    fn asked(
        &mut self,
        sender: Sender<'_>,
        question: Question,
        command: u32,
        turn: &mut Turn,
    ) -> PresenceQuery {
        let by = sender.session.id;
        let watched = question.watched.len();
        let mut users = Vec::with_capacity(watched + question.shown.len());
        for user in &question.watched {
            users.push(self.watch(sender, user, command, turn));
        }
        for Named { id, name } in question.shown {
            let state = self.watching.state(id);
            users.push(PresenceUser {
                id,
                name,
                unknown: state.is_unknown(),
                left: state.left,
                may_block: self.hub.blocks.may_block(id, by),
                blocks: false,
                is_unlisted: false,
                begun: 0,
            });
        }
        users.extend(question.unlisted);
        PresenceQuery {
            users,
            watched,
            contacts: question.more_contacts,
            by,
            failed: None,
        }
    }

    /// Returns the reply to a question for users, with what the store knows of them.
    pub(super) fn answer(&mut self, slot: u32, asked: &PresenceQuery) -> ReplyBody<'static> {
        let now = self.hub.clock.now();
        let mut users = Vec::with_capacity(asked.users.len());
        for (n, user) in asked.users.iter().enumerate() {
            if user.begun != 0 {
                self.begun.settle(slot, user.id, user.begun);
            }
            // Things may have changed since the reader was asked, and the client may know.
            let mut state = self.watching.state(user.id);
            state.left = state.left.max(user.left);
            let mut blocks = user.blocks;
            // The client may have ended the watch meanwhile.
            if (n < asked.watched || user.is_unlisted)
                && let Some(key) = self.listening.watch(slot, user.id)
            {
                let answer = StoreAnswer {
                    blocks,
                    is_shown: !user.is_unlisted,
                };
                blocks = self.watching.note_shown(user.id, key, state, answer);
            }
            if blocks {
                state = UserState::HIDDEN;
            }
            if !user.is_unlisted {
                users.push(state.shown_as(&user.name, now));
            }
        }
        if let Some(more) = asked.contacts {
            let contact = |user: UserPresence<'static>| Contact {
                user: user.user,
                online: user.online,
                last_seen: user.last_seen,
            };
            let contacts = users.into_iter().map(contact).collect();
            ReplyBody::Contacts(ContactsReply { contacts, more })
        } else {
            ReplyBody::Presence(PresenceReply { users, more: false })
        }
    }
}
