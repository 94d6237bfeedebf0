//! The state of the fake gateway, its answers, and its lies.

use std::collections::HashMap;
use std::net::Shutdown;

use trunkline_proto::message::{
    Ack, AckReply, Command, CommandBody, ErrorReply, Event, History, HistoryReply, Ping, ReplyBody,
    Send, SendReply, Sync,
};
use trunkline_proto::names::Conversation;
use trunkline_proto::{CloseCode, ErrorCode};

use crate::fake_conduct::{Conduct, Lie, TRIGGER};
use crate::fake_log::{Log, Logged};
use crate::fake_session::{Session, Stored, conversation};

/// The state of the fake gateway.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) conduct: Conduct,
    pub(crate) sends: u64,
    pub(crate) lies: u64,
    pub(crate) sessions: Vec<Session>,
    /// The events of each user, in order.
    pub(crate) log: Log,
    /// The number of upgrades so far.
    pub(crate) upgrades: u64,
    /// Idempotency keys with their stored message; `None` if no message was stored under the key.
    pub(crate) keys: HashMap<String, Option<Stored>>,
    conversations: HashMap<String, Vec<Stored>>,
    /// The members of each group, by the name of the group.
    pub(crate) groups: HashMap<String, Vec<String>>,
    marks: HashMap<(String, String), (u64, u64)>,
    /// The message whose history is falsified.
    pub(crate) marked: Option<(String, u64)>,
    /// The message whose push waits for the next one.
    held: Option<Stored>,
    /// The group message whose push waits for the next one, with the index of the session that gets
    /// it late.
    pub(crate) held_in_group: Option<(Stored, usize)>,
    /// The conversation and the user whose receipts are withheld.
    withheld: Option<(String, String)>,
    happened: bool,
    /// The message of now is for a courier.
    to_courier: bool,
    /// The number of sends without a key and with one that [`Conduct::HangUp`] has counted.
    by_key: [u64; 2],
}

impl World {
    pub(crate) fn new(conduct: Conduct) -> Self {
        Self {
            conduct,
            sends: 0,
            lies: 0,
            sessions: Vec::new(),
            log: Log::default(),
            upgrades: 0,
            keys: HashMap::new(),
            conversations: HashMap::new(),
            groups: HashMap::new(),
            marks: HashMap::new(),
            marked: None,
            held: None,
            held_in_group: None,
            withheld: None,
            happened: false,
            to_courier: false,
            by_key: [0; 2],
        }
    }

    /// Returns the outage that begins with this message, if one does.
    pub(crate) fn outage(&mut self) -> Option<Conduct> {
        let now = self.sends >= TRIGGER && !self.happened;
        let outage = matches!(self.conduct, Conduct::Pause | Conduct::Die);
        self.happened |= now && outage;
        (now && outage).then_some(self.conduct)
    }

    /// Returns whether to tell this lie now. A lie is told once, and not to a courier between agents: it begins
    /// before the users, and is owed nothing in its first second.
    pub(crate) fn tells(&mut self, lie: Lie) -> bool {
        let is_due = self.sends >= TRIGGER && self.lies == 0 && !self.to_courier;
        let now = self.conduct == Conduct::Lie(lie) && is_due;
        self.lies += u64::from(now);
        now
    }

    pub(crate) fn command(&mut self, session: &mut Session, command: &Command<'_>) {
        match &command.body {
            CommandBody::Connect(connect) => self.connect(session, command.id, connect),
            CommandBody::Send(send) => self.send(session, command.id, send),
            CommandBody::Ack(ack) => self.ack(session, command.id, ack),
            CommandBody::History(history) => self.history(session, command.id, history),
            CommandBody::Sync(sync) => self.sync(session, command.id, sync),
            CommandBody::GroupCreate(create) => self.group_create(session, command.id, create),
            CommandBody::GroupAdd(named) => self.group_add(session, command.id, named),
            CommandBody::GroupLeave(leave) => self.group_leave(session, command.id, leave),
            CommandBody::Ping(_) => session.reply(command.id, ReplyBody::Ping(Ping {})),
            other => panic!("the load generator does not use {other:?}"),
        }
    }

    fn send(&mut self, session: &Session, id: u32, send: &Send<'_>) {
        if let Some(group) = &send.group {
            return self.send_in_group(session, (id, group), send);
        }
        self.sends += 1;
        let to = send.user.as_deref().expect("a recipient");
        self.to_courier = to.contains(".courier");
        if let Some(known) = send.key.as_deref().and_then(|key| self.keys.get(key)) {
            match known.clone() {
                Some(stored) if self.tells(Lie::StoreAgain) => {
                    let seq = self.conversations[&stored.conversation].len() as u64 + 1;
                    let again = Stored { seq, ..stored };
                    let all = self.conversations.entry(again.conversation.clone());
                    all.or_default().push(again.clone());
                    self.answer(session, id, &again);
                    return self.deliver(session, to, &again);
                }
                Some(stored) => return self.answer_known(session, id, &stored),
                None if self.tells(Lie::FalseKnown) => {
                    let seq = 1_000_000;
                    let name = conversation(&session.user, to);
                    let never = Stored::new(session, name, send, seq);
                    return self.answer_known(session, id, &never);
                }
                None => {}
            }
        }
        let hangs_up = self.hangs_up(send);
        if hangs_up == Some(false) {
            // The message is not stored.
            return session.hang_up(CloseCode::SERVER_ERROR);
        }
        if self.conduct == Conduct::RefuseSends || self.tells(Lie::PushRefused) {
            let error = ErrorReply::new(ErrorCode::TooManyRequests, "the fake refuses");
            if self.lies > 0 {
                let name = conversation(&session.user, to);
                let known = self.conversations.entry(name.clone()).or_default();
                let seq = known.last().map_or(0, |message| message.seq) + 1;
                let refused = Stored::new(session, name, send, seq);
                known.push(refused.clone());
                self.push_to(&refused, to);
            }
            return session.reply(id, ReplyBody::Error(error));
        }
        if self.conduct == Conduct::CutOne && self.sends == TRIGGER {
            for gone in self.sessions.iter().filter(|s| s.user == to) {
                let _ = gone.stream.as_ref().map(|s| s.shutdown(Shutdown::Both));
            }
        }
        let gap = matches!(self.conduct, Conduct::Gap | Conduct::Lie(Lie::SyncForgets));
        if gap && self.sends == TRIGGER {
            let slow = self.sessions.iter().find(|s| s.user == to);
            slow.expect("a recipient who is connected").begin_gap();
        }
        let name = conversation(&session.user, to);
        let (seq, stored) = self.store(session, name, send);
        if self.tells(Lie::ForgetInHistory) || self.tells(Lie::ChangeInHistory) {
            self.marked = Some((stored.conversation.clone(), seq));
        }
        if hangs_up == Some(true) {
            self.deliver(session, to, &stored);
            return session.hang_up(CloseCode::SERVER_ERROR);
        }
        // Both orders happen with a real gateway: the two take different ways.
        if self.sends.is_multiple_of(2) {
            self.answer(session, id, &stored);
            self.deliver(session, to, &stored);
        } else {
            self.deliver(session, to, &stored);
            self.answer(session, id, &stored);
        }
    }

    /// Returns whether to hang up instead of answering, and whether to store the message before
    /// that.
    pub(crate) fn hangs_up(&mut self, send: &Send<'_>) -> Option<bool> {
        use Conduct::{HangUp, Lie as Lying};
        if self.conduct == HangUp {
            if self.sends < TRIGGER {
                return None;
            }
            let count = &mut self.by_key[usize::from(send.key.is_some())];
            *count += 1;
            return count.is_multiple_of(8).then_some(count.is_multiple_of(16));
        }
        let keyed_only = matches!(self.conduct, Lying(Lie::FalseKnown | Lie::StoreAgain));
        if keyed_only && (self.happened || send.key.is_none() || self.sends < TRIGGER) {
            return None;
        }
        if !keyed_only {
            return None;
        }
        self.happened = true;
        let stores = self.conduct != Lying(Lie::FalseKnown);
        if !stores && let Some(key) = send.key.as_deref() {
            self.keys.insert(key.to_owned(), None);
        }
        Some(stores)
    }

    pub(crate) fn answer_known(&self, session: &Session, id: u32, stored: &Stored) {
        let reply = SendReply {
            conversation: (&*stored.conversation).into(),
            seq: stored.seq,
            pos: "ahead".into(),
            time: 1,
            duplicate: true,
        };
        session.reply(id, ReplyBody::Send(reply));
    }

    /// Stores a message with the next sequence of its conversation, or with a wrong one as a lie.
    pub(crate) fn store(
        &mut self,
        session: &Session,
        name: String,
        send: &Send<'_>,
    ) -> (u64, Stored) {
        let known = self.conversations.entry(name.clone()).or_default();
        let last = known.last().map_or(0, |message| message.seq);
        let mut seq = last + 1;
        if last > 0 && self.tells(Lie::ReuseSeq) {
            seq = last;
        } else if self.tells(Lie::SkipSeq) {
            seq += 1;
        }
        let stored = Stored::new(session, name.clone(), send, seq);
        let known = self.conversations.entry(name).or_default();
        known.push(stored.clone());
        if let Some(key) = send.key.as_deref() {
            self.keys.insert(key.to_owned(), Some(stored.clone()));
        }
        (seq, stored)
    }

    pub(crate) fn answer(&mut self, session: &Session, id: u32, stored: &Stored) {
        if self.tells(Lie::NoAnswer) {
            return;
        }
        let far = if self.tells(Lie::AckOtherSeq) {
            1000
        } else {
            0
        };
        let reply = || SendReply {
            conversation: (&*stored.conversation).into(),
            seq: stored.seq + far,
            // Answers are not left out by a gap: their position is no place to go on from.
            pos: "ahead".into(),
            time: 1,
            duplicate: false,
        };
        let duplicate = self.tells(Lie::FalseDuplicate);
        session.reply(
            id,
            ReplyBody::Send(SendReply {
                duplicate,
                ..reply()
            }),
        );
        if self.tells(Lie::AnswerTwice) {
            session.reply(id, ReplyBody::Send(reply()));
        }
        if self.tells(Lie::AckThenRefuse) {
            let error = ErrorReply::new(ErrorCode::Internal, "the fake thinks again");
            session.reply(id, ReplyBody::Error(error));
        }
    }

    /// Pushes a message to the recipient's devices and to the sender's other devices.
    fn deliver(&mut self, session: &Session, to: &str, stored: &Stored) {
        let mut shown = stored.clone();
        if self.tells(Lie::ChangeText) {
            // The header of the text stays. Only the bytes after it change.
            shown.text.pop();
            shown.text.push('#');
        }
        if self.tells(Lie::WrongSender) {
            shown.from = to.to_owned();
        }
        if self.tells(Lie::WrongConversation) {
            shown.conversation = format!("u:{to}:{to}");
        }
        if self.tells(Lie::SwapPushes) {
            self.held = Some(shown.clone());
        } else if !self.tells(Lie::DropPush) {
            self.push_to(&shown, to);
        }
        let other = |s: &Session| s.user == session.user && s.device != session.device;
        let has_others = self.sessions.iter().any(other);
        let told = !(has_others && self.tells(Lie::DropOwnDevice));
        let except = told.then_some(&*session.device);
        let logged = Logged::Message(shown.clone());
        match except {
            Some(device) => self.tell(&session.user, logged, Some(device)),
            // No device of this user gets the push.
            None => {
                self.log.add(&session.user, logged);
            }
        }
        if self.tells(Lie::PushToSender) {
            let pos = self.log.end(&session.user);
            session.push(Event::Message(shown.message()), &pos);
        }
        self.push_more(session, to, &shown);
    }

    /// Sends the further pushes of a lie. An honest gateway sends none.
    fn push_more(&mut self, session: &Session, to: &str, shown: &Stored) {
        if self.tells(Lie::RepeatPush) {
            self.push_to(shown, to);
        }
        if self.tells(Lie::Invent) {
            let text = "a message that nobody sent".to_owned();
            let seq = shown.seq + 1000;
            let invented = Stored {
                text,
                seq,
                ..shown.clone()
            };
            self.push_to(&invented, to);
        }
        let third = self.sessions.iter().map(|s| s.user.clone());
        let third = third.into_iter().find(|u| *u != to && *u != session.user);
        if let Some(third) = third
            && self.tells(Lie::ThirdUser)
        {
            self.push_to(shown, &third);
        }
        let late =
            |held: &mut Stored| held.conversation == shown.conversation && held.from == shown.from;
        if self.held.as_ref().is_some_and(|held| held.seq < shown.seq)
            && let Some(held) = self.held.take_if(late)
        {
            self.push_to(&held, to);
        }
    }

    fn push_to(&mut self, stored: &Stored, user: &str) {
        self.tell(user, Logged::Message(stored.clone()), None);
    }

    fn ack(&mut self, session: &Session, id: u32, ack: &Ack<'_>) {
        if self.conduct == Conduct::DeafAtFirst && !session.is_back {
            return;
        }
        let key = (ack.conversation.to_string(), session.user.clone());
        let before = self.marks.get(&key).copied().unwrap_or_default();
        let read = ack.read.unwrap_or(0).max(before.1);
        let mut now = (ack.delivered.unwrap_or(0).max(read).max(before.0), read);
        session.reply(id, ReplyBody::Ack(AckReply {}));
        if now == before {
            return;
        }
        self.marks.insert(key.clone(), now);
        if self.tells(Lie::NoLastReceipt) {
            self.withheld = Some(key.clone());
        }
        if self.withheld.as_ref() == Some(&key) {
            return;
        }
        if before.0 > 1 && self.tells(Lie::ReceiptBack) {
            now = (before.0 - 1, 0);
        }
        let hear: Vec<String> = match Conversation::parse(&key.0) {
            Some(Conversation::Direct(one, other)) => vec![one.into(), other.into()],
            Some(Conversation::Group(group)) => self.told_in_group(group, &session.user),
            None => panic!("not a conversation: {}", key.0),
        };
        for user in hear {
            let own = (user == session.user).then_some(&*session.device);
            let receipt = Logged::Receipt {
                conversation: key.0.clone(),
                user: session.user.clone(),
                marks: now,
            };
            self.tell(&user, receipt, own);
        }
    }

    fn sync(&mut self, session: &Session, id: u32, sync: &Sync<'_>) {
        let here = |s: &Session| s.user == session.user && s.device == session.device;
        let at = self.sessions.iter().position(here).expect("a session");
        // Asked for before the session is borrowed: lies are counted in the same place.
        let lies = self.conduct == Conduct::Lie(Lie::SyncForgets) && self.lies == 0;
        let mut told = false;
        self.sessions[at].sync(session, id, &sync.since, || {
            told = lies;
            lies
        });
        self.lies += u64::from(told);
    }

    fn history(&self, session: &Session, id: u32, history: &History<'_>) {
        let none = Vec::new();
        let all = self.conversations.get(&*history.conversation);
        let all = all.unwrap_or(&none);
        let after = history.after.unwrap_or(0);
        let limit = history.limit.unwrap_or(50).min(500) as usize;
        let falsified = |m: &Stored| self.marked == Some((m.conversation.clone(), m.seq));
        let page: Vec<Stored> = all
            .iter()
            .filter(|m| m.seq > after)
            .filter(|m| !(self.conduct == Conduct::Lie(Lie::ForgetInHistory) && falsified(m)))
            .take(limit)
            .map(|m| match falsified(m) {
                true => Stored {
                    text: m.text[..m.text.len() - 1].to_owned() + "#",
                    ..m.clone()
                },
                false => m.clone(),
            })
            .collect();
        let reply = HistoryReply {
            messages: page.iter().map(Stored::message).collect(),
            first: 1,
            last: all.last().map_or(0, |m| m.seq),
            more: false,
        };
        session.reply(id, ReplyBody::History(reply));
    }
}
