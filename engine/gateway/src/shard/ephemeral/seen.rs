//! How users are who were asked for: of those who left long ago only the store may know since
//! when, so the reply may have to wait for a reader.

use compact_str::CompactString;
use trunkline_core::exchange::{Asked, AskedUser, Query};
use trunkline_core::fit::{Cut, ReplyFrame, write_fitting};
use trunkline_core::hub::UserState;
use trunkline_core::ids::UserId;
use trunkline_proto::message::{Contact, ContactsReply, PresenceReply, ReplyBody, UserPresence};

use super::super::connection::Conn;
use super::super::core::Core;

impl Core {
    /// Replies how users are, of whom so many, the first, are watched from now on.
    pub(super) fn ask(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        (users, watched, contacts): (Vec<(UserId, CompactString)>, usize, Option<bool>),
    ) {
        let mut ask = |(n, (id, name)): (usize, (UserId, CompactString))| {
            let state = if n < watched {
                self.watch_user(slot, id, &name)
            } else {
                self.state_of(id)
            };
            AskedUser {
                id,
                name,
                unknown: state.is_unknown(),
                left: state.left,
            }
        };
        let asked = Asked {
            users: users.into_iter().enumerate().map(&mut ask).collect(),
            watched,
            contacts,
        };
        if asked.users.iter().any(|user| user.unknown) {
            self.query(slot, conn, id, Query::LastSeen { asked });
        } else {
            self.answer_asked(slot, conn, id, &asked);
        }
    }

    /// Replies how users are, with what the store knows of them.
    pub(super) fn answer_asked(&mut self, slot: u32, conn: &mut Conn, id: u32, asked: &Asked) {
        let now = self.parts.hub.clock.now();
        let users = asked.users.iter().enumerate();
        let users = users.map(|(n, user)| {
            // Since the reader was asked, things may have changed; that may have been told.
            let mut state = self.state_of(user.id);
            state.left = state.left.max(user.left);
            if n < asked.watched {
                self.note_shown(slot, user.id, state);
            }
            state.shown_as(&user.name, now)
        });
        let users: Vec<_> = users.collect();
        let body = if let Some(more) = asked.contacts {
            let contact = |user: UserPresence<'static>| Contact {
                user: user.user,
                online: user.online,
                last_seen: user.last_seen,
            };
            let contacts = users.into_iter().map(contact).collect();
            ReplyBody::Contacts(ContactsReply { contacts, more })
        } else {
            ReplyBody::Presence(PresenceReply { users, more: false })
        };
        self.reply_fitting(slot, conn, id, body, asked.users.len());
    }

    /// Replies with a list of users, of which as many as fit into a message.
    fn reply_fitting(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        body: ReplyBody<'_>,
        users: usize,
    ) {
        /// In JSON, the longest name in it.
        const USER: usize = 200;
        let most = self.parts.limits.content.message_bytes;
        if users * USER < most {
            return self.reply(slot, conn, id, body);
        }
        if id != 0 {
            let frame = ReplyFrame {
                encoding: conn.encoding,
                id,
                limit: most,
            };
            write_fitting(self.frames_of(slot, conn), frame, body, &Cut::Back);
        }
    }

    /// How a user is, as far as memory knows.
    fn state_of(&self, user: UserId) -> UserState {
        let watched = self.ephemeral.watching.users.get(&user);
        self.parts
            .hub
            .state(user, watched.and_then(|watched| watched.left))
    }

    /// A connection is being shown this state of a user, whom it watches unless it has changed its
    /// mind since it asked.
    fn note_shown(&mut self, slot: u32, user: UserId, state: UserState) {
        let listening = self.ephemeral.listening.get(&slot);
        let key = listening
            .and_then(|listening| listening.watches.get(&user))
            .copied();
        let watched = self.ephemeral.watching.users.get_mut(&user);
        if let (Some(key), Some(watched)) = (key, watched) {
            watched.left = state.left;
            if let Some(watcher) = watched.watchers.get_mut(key) {
                watcher.note = state.shown();
            }
        }
    }
}
