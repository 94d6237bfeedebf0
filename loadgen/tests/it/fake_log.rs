//! The events of each user of the fake gateway, and how a session catches up on them.

use std::collections::HashMap;

use trunkline_proto::message::{
    Connect, ConnectLimits, ConnectReply, ErrorReply, Event, Receipt, ReplyBody,
};
use trunkline_proto::{CloseCode, ErrorCode};

use crate::fake_conduct::{Conduct, Lie};
use crate::fake_session::{Session, Stored};
use crate::fake_world::World;

/// One event of a user.
#[derive(Clone, Debug)]
pub(crate) enum Logged {
    Message(Stored),
    Receipt {
        conversation: String,
        user: String,
        marks: (u64, u64),
    },
}

impl Logged {
    fn event(&self) -> Event<'_> {
        match self {
            Self::Message(stored) => Event::Message(stored.message()),
            Self::Receipt {
                conversation,
                user,
                marks,
            } => Event::Receipt(Receipt {
                conversation: (&**conversation).into(),
                user: (&**user).into(),
                delivered: marks.0,
                read: marks.1,
                time: 1,
            }),
        }
    }

    /// Returns whether the event is a message of another user than `user`.
    fn is_news(&self, user: &str) -> bool {
        matches!(self, Self::Message(stored) if stored.from != user)
    }
}

/// The events of all users.
#[derive(Debug, Default)]
pub(crate) struct Log(HashMap<String, Vec<Logged>>);

impl Log {
    /// Adds an event of a user. Returns the position after it.
    pub(crate) fn add(&mut self, user: &str, logged: Logged) -> String {
        self.0.entry(user.to_owned()).or_default().push(logged);
        self.end(user)
    }

    /// Returns the position after a user's last event.
    pub(crate) fn end(&self, user: &str) -> String {
        format!("e{}", self.0.get(user).map_or(0, Vec::len))
    }
}

/// How a reconnecting client is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    Http,
    Close,
}

impl World {
    /// Counts an upgrade. Returns how to turn it away, or `None` if it is accepted.
    pub(crate) fn is_busy(&mut self) -> Option<Busy> {
        self.upgrades += 1;
        match self.upgrades {
            13..=24 if self.conduct == Conduct::Busy => Some(Busy::Http),
            25..=36 if self.conduct == Conduct::Busy => Some(Busy::Close),
            _ => None,
        }
    }

    /// Pushes an event to all sessions of a user except the device `except`, and keeps it for later
    /// sessions.
    pub(crate) fn tell(&mut self, user: &str, logged: Logged, except: Option<&str>) {
        let pos = self.log.add(user, logged.clone());
        for session in self.sessions.iter().filter(|s| s.user == user) {
            if except != Some(&*session.device) {
                session.push(logged.event(), &pos);
            }
        }
    }

    pub(crate) fn connect(&mut self, session: &mut Session, id: u32, connect: &Connect<'_>) {
        if session.overloaded {
            return session.hang_up(CloseCode::OVERLOADED);
        }
        session.user = connect.user.as_deref().unwrap_or_default().to_owned();
        session.device = connect.device.as_deref().unwrap_or_default().to_owned();
        let since = connect.since.as_deref();
        session.is_back = since.is_some();
        match (self.conduct, since) {
            (Conduct::NeverBack, Some(_)) => return session.hang_up(CloseCode::SERVER_ERROR),
            (Conduct::Expires, Some(_)) => {
                let error = ErrorReply::new(ErrorCode::PositionExpired, "the fake forgets");
                return session.reply(id, ReplyBody::Error(error));
            }
            _ => {}
        }
        let since = since.filter(|_| self.conduct != Conduct::DoesNotRecover);
        let end = self.log.end(&session.user);
        let reply = ConnectReply {
            session: "s".into(),
            user: (&*session.user).into(),
            device: (&*session.device).into(),
            pos: since.unwrap_or(&end).into(),
            recovered: since.is_some(),
            time: 1,
            ping_ms: 25_000,
            limits: ConnectLimits {
                message_bytes: 1 << 20,
                text_bytes: 1 << 16,
                key_bytes: 64,
                page: 500,
            },
            expires: None,
            unsubscribed: Vec::new(),
        };
        session.reply(id, ReplyBody::Connect(reply));
        if let Some(since) = since {
            self.catch_up(session, since);
        }
        let stream = session.stream.as_ref().and_then(|s| s.try_clone().ok());
        let mut known = Session::new(session.encoding, stream);
        known.user.clone_from(&session.user);
        known.device.clone_from(&session.device);
        self.sessions
            .retain(|s| s.user != known.user || s.device != known.device);
        self.sessions.push(known);
    }

    /// Pushes what a session missed.
    fn catch_up(&mut self, session: &Session, since: &str) {
        let all = self.log.0.get(&session.user).cloned().unwrap_or_default();
        let from = since.strip_prefix('e').and_then(|n| n.parse().ok());
        let mut from: usize = from.expect("a position of ours");
        let news = |logged: &&Logged| logged.is_news(&session.user);
        if from > 0 && all[..from].last().filter(news).is_some() && self.tells(Lie::RepeatMissed) {
            from -= 1;
        }
        let missed = all[from..].iter().position(|it| news(&it));
        let first = missed.map(|at| from + at);
        let forgets = first.is_some() && self.tells(Lie::ForgetMissed);
        let resequences = first.is_some() && self.tells(Lie::ResequenceMissed);
        for (at, logged) in all.iter().enumerate().skip(from) {
            let pos = format!("e{}", at + 1);
            if first != Some(at) || !(forgets || resequences) {
                session.push_missed(logged.event(), &pos);
            } else if let (true, Logged::Message(stored)) = (resequences, logged) {
                let seq = stored.seq + 1_000;
                let other = Stored {
                    seq,
                    ..stored.clone()
                };
                session.push_missed(Event::Message(other.message()), &pos);
            }
        }
    }
}
