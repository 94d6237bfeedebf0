//! The questions of a shard's connections to back ends.
//!
//! The answers to `rpc` come as they are ready. A connection whose `connect`, `send` or `subscribe`
//! waits for a back end is not read: so its commands keep their order, and nobody else waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use slab::Slab;
use trunkline_core::exchange::{
    Admitted, BackCaller, BackEnds, BackJob, BackKind, BackMail, BackQuestion, BackUser, Judged,
    Mail, Mailbox, ReplyTo, Verdict,
};
use trunkline_core::request::too_large;
use trunkline_proto::handshake;
use trunkline_proto::message::{
    CommandBody, Connect, ErrorReply, Reply, ReplyBody, Rpc, RpcReply, ServerMessage, Subscribe,
};
use trunkline_proto::names::is_name;
use trunkline_proto::{CloseCode, ErrorCode};

use super::connection::Conn;
use super::core::Core;
use super::mail::find;
use super::price;
use super::rate::Beyond;
use super::source::Source;
use crate::auth::Grant;
use crate::metrics::{Limit, Work};
use crate::timer::{Tick, ticks};

/// The maximum number of `rpc` commands of a connection without an answer. Further ones get error 111.
pub const RPCS: u8 = 32;

/// The maximum length of the method of an `rpc`, in bytes.
const METHOD: usize = 255;

/// A table that has held more connections than this gives its memory back once it is empty.
const KEPT: usize = 4_096;

/// What the back end of `connect` gets of an upgrade.
#[derive(Debug, Clone)]
struct Head {
    /// Headers, each with its name.
    headers: Arc<[(&'static str, String)]>,
    /// The address of the client.
    address: String,
}

/// What one connection has of back ends.
#[derive(Debug, Default)]
struct Open {
    /// The `rpc` commands without an answer.
    rpcs: u8,
    /// Another command waits for its verdict: the connection is not read.
    holds: bool,
    /// The head of the upgrade: the back end of `connect` gets it again when the session renews its token.
    head: Option<Head>,
    /// What the token of a waiting `connect` grants.
    grant: Option<Box<Grant>>,
}

/// The questions of a shard's connections to back ends. Empty for connections that ask nothing.
#[derive(Debug)]
pub(crate) struct Backs {
    ends: Option<Arc<dyn BackEnds>>,
    mailbox: Arc<Mailbox>,
    /// The time for an answer.
    timeout: Tick,
    open: HashMap<u32, Open>,
}

impl Backs {
    /// Makes the state of a shard that has asked nothing. `mailbox` gets the verdicts.
    pub(super) fn new(ends: Option<Arc<dyn BackEnds>>, mailbox: Arc<Mailbox>) -> Self {
        Self {
            timeout: ends.as_ref().map_or(0, |ends| ticks(ends.timeout())),
            ends,
            mailbox,
            open: HashMap::new(),
        }
    }

    /// Returns whether a back end is asked about this.
    #[inline]
    pub(super) fn asks(&self, kind: BackKind) -> bool {
        self.ends.as_ref().is_some_and(|ends| ends.asks(kind))
    }

    /// Returns whether a connection is not to be read, because a command waits for its verdict.
    #[inline]
    pub(super) fn holds(&self, slot: u32) -> bool {
        !self.open.is_empty() && self.open.get(&slot).is_some_and(|open| open.holds)
    }

    /// Returns whether a session that expired at `expires` may still be renewed at `now`: a command waits
    /// for its verdict, for no longer than a verdict takes.
    pub(super) fn may_renew(&self, slot: u32, expires: Tick, now: Tick) -> bool {
        self.holds(slot) && now < expires.saturating_add(self.timeout)
    }

    /// Forgets a connection that is gone.
    pub(super) fn remove(&mut self, slot: u32) {
        if self.open.is_empty() {
            return;
        }
        self.open.remove(&slot);
        if self.open.is_empty() && self.open.capacity() > KEPT {
            self.open = HashMap::new();
        }
    }

    /// Forgets a connection that waits for nothing.
    fn tidy(&mut self, slot: u32) {
        let idle = |open: &Open| open.rpcs == 0 && !open.holds && open.head.is_none();
        if self.open.get(&slot).is_some_and(idle) {
            self.remove(slot);
        }
    }

    /// Asks a back end. The verdict comes as mail, or at once.
    fn ask(&self, to: &ReplyTo, user: BackUser, question: BackQuestion) -> Option<Judged> {
        let (ends, to) = (self.ends.as_ref()?, *to.conn()?);
        let mailbox = Arc::clone(&self.mailbox);
        let deliver = Box::new(move |judged| {
            let mail = BackMail::new(&to, judged);
            match mailbox.offer(Mail::Back(Box::new(mail))) {
                // A shard that has ended has no connections either.
                Err(Mail::Back(mail)) if !mailbox.is_closed() => Err(Box::new(mail.judged)),
                _ => Ok(()),
            }
        });
        ends.ask(BackJob {
            user,
            question,
            deliver,
        })
    }
}

impl Core {
    /// Keeps what the back end of `connect` gets of an upgrade request, as long as the connection lasts.
    pub(super) fn keep_head(&mut self, slot: u32, conn: &Conn, request: &[u8]) {
        let proxies = self.parts.limits.proxies.now();
        let named = |peer| handshake::client(request, &proxies, peer).ok();
        let head = Head {
            address: address_of(conn, named),
            headers: handshake::passed_headers(request).into(),
        };
        self.backs.open.entry(slot).or_default().head = Some(head);
    }

    /// Asks a back end about a command of a session, if one is to be asked. Returns whether that is
    /// so: the verdict goes on with the command.
    pub(super) fn ask_back(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        command: &CommandBody<'_>,
    ) -> bool {
        let question = match command {
            CommandBody::Rpc(rpc) => {
                self.rpc(slot, conn, id, rpc);
                return true;
            }
            CommandBody::Send(send) if self.backs.asks(BackKind::Send) => {
                let names = conn.session().map(|session| &session.names);
                match names.and_then(|names| BackQuestion::about_send(names.user(), send)) {
                    Some(question) => question,
                    None => return false,
                }
            }
            CommandBody::Edit(edit) if self.backs.asks(BackKind::Send) => {
                let names = conn.session().map(|session| &session.names);
                match names.and_then(|names| BackQuestion::about_edit(names.user(), edit)) {
                    Some(question) => question,
                    None => return false,
                }
            }
            // What is refused anyway is not asked about.
            CommandBody::Subscribe(subscribe)
                if self.backs.asks(BackKind::Subscribe) && is_name(&subscribe.topic) =>
            {
                BackQuestion::Subscribe(subscribe.clone().into_owned())
            }
            _ => return false,
        };
        let user = conn.session().map(|session| BackUser::from(&session.names));
        self.hold(slot, conn, id, user.unwrap_or_default(), question);
        true
    }

    /// Asks a back end on behalf of a client.
    fn rpc(&mut self, slot: u32, conn: &mut Conn, id: u32, rpc: &Rpc<'_>) {
        /// The time that a few answers take, in ticks.
        const SOON: Tick = 1;
        if !self.backs.asks(BackKind::Rpc) {
            let text = "this gateway has no back ends: callbacks.rpc names them";
            return self.fail(slot, conn, id, ErrorCode::UnknownCommand, text);
        }
        if rpc.method.is_empty() || rpc.method.len() > METHOD {
            let text = "a method has 1 to 255 bytes";
            return self.fail(slot, conn, id, ErrorCode::BadRequest, text);
        }
        let open = self.backs.open.entry(slot).or_default();
        if open.rpcs >= RPCS {
            self.parts.metrics.limited(Limit::Rpcs);
            let (limit, retry) = ("rpc", SOON);
            let text = "32 rpc commands wait for their answers: wait for one of them";
            return self.fail_beyond(slot, conn, id, Beyond { limit, retry }, text);
        }
        open.rpcs += 1;
        let user = conn.session().map(|session| BackUser::from(&session.names));
        let question = BackQuestion::Rpc(rpc.clone().into_owned());
        self.put(slot, conn, id, user.unwrap_or_default(), question);
    }

    /// Asks a back end, and reads the connection no more until the verdict comes.
    fn hold(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        user: BackUser,
        question: BackQuestion,
    ) {
        self.backs.open.entry(slot).or_default().holds = true;
        conn.incoming.pause();
        self.put(slot, conn, id, user, question);
    }

    fn put(&mut self, slot: u32, conn: &mut Conn, id: u32, user: BackUser, question: BackQuestion) {
        self.charge(slot, conn, Work::Ask, question.cost());
        conn.unanswered.asked_back();
        let to = conn.reply_to(self.parts.index, slot, id);
        if let Some(judged) = self.backs.ask(&to, user, question) {
            self.judged(slot, conn, id, judged);
        }
    }

    /// Goes on with a command whose verdict has come by mail.
    pub(super) fn back_came(&mut self, conns: &mut Slab<Conn>, mail: BackMail) {
        let slot = mail.conn.slot;
        if let Some(conn) = find(conns, mail.conn) {
            self.judged(slot, conn, mail.id, mail.judged);
            self.leave(slot, conn);
        }
    }

    /// Goes on with a command that a back end has judged.
    fn judged(&mut self, slot: u32, conn: &mut Conn, id: u32, judged: Judged) {
        let Judged {
            question,
            verdict,
            turn,
        } = judged;
        conn.unanswered.back_answered();
        let mut grant = None;
        if let Some(open) = self.backs.open.get_mut(&slot) {
            match question {
                BackQuestion::Rpc(_) => open.rpcs = open.rpcs.saturating_sub(1),
                _ => {
                    open.holds = false;
                    // Only the verdict on a `connect`, which holds the connection, uses it.
                    grant = open.grant.take();
                }
            }
        }
        if !conn.is_closing() {
            self.go_on_judged(slot, conn, id, question, verdict, grant);
            // The message is in the batch for the sequencer, if it is sent at all.
            self.handoff.end_turn(turn);
        }
        self.backs.tidy(slot);
        if conn.incoming.is_paused() && !self.backs.holds(slot) {
            self.go_on_reading(slot, conn);
        }
    }

    fn go_on_judged(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        question: BackQuestion,
        verdict: Verdict,
        grant: Option<Box<Grant>>,
    ) {
        match (question, verdict) {
            (BackQuestion::Connect(caller), Verdict::Refuse(error)) => {
                drop(caller);
                self.refuse_connect(slot, conn, id, error);
            }
            (_, Verdict::Refuse(error)) => self.fail_with(slot, conn, id, error),
            (BackQuestion::Rpc(_), Verdict::Data(data)) => {
                if conn.session().is_none() {
                    return self.session_is_over(slot, conn, id);
                }
                self.reply(slot, conn, id, ReplyBody::Rpc(RpcReply { data }));
            }
            (BackQuestion::Send { mut send, .. }, verdict) => {
                if let Verdict::Rewrite(text) = verdict {
                    send.text = Some(text.into());
                }
                self.send_judged(slot, conn, id, &CommandBody::Send(*send));
            }
            (BackQuestion::Edit(mut edit), verdict) => {
                if let Verdict::Rewrite(text) = verdict {
                    edit.text = Some(text.into());
                }
                self.send_judged(slot, conn, id, &CommandBody::Edit(edit));
            }
            (BackQuestion::Subscribe(subscribe), _) => {
                self.subscribe_judged(slot, conn, id, subscribe);
            }
            (BackQuestion::Connect(caller), Verdict::Admit(admitted)) => {
                match self
                    .permits
                    .admit(admitted, grant.map(|grant| *grant), &caller.connect)
                {
                    Ok(grant) => {
                        self.connect_as(slot, conn, id, &caller.connect, Some(grant));
                    }
                    Err(refusal) => self.refuse(slot, conn, id, refusal),
                }
            }
            // Without an answer, and with `on_failure = "allow"`.
            (BackQuestion::Connect(caller), _) => {
                let grant = match grant {
                    Some(grant) => Ok(*grant),
                    None => {
                        let nothing = Admitted::default();
                        self.permits.admit(nothing, None, &caller.connect)
                    }
                };
                match grant {
                    Ok(grant) => self.connect_as(slot, conn, id, &caller.connect, Some(grant)),
                    Err(refusal) => self.refuse(slot, conn, id, refusal),
                }
            }
            (BackQuestion::Rpc(_), _) => {
                let text = "the answer belongs to another command";
                self.fail(slot, conn, id, ErrorCode::Internal, text);
            }
        }
    }

    /// Sends or edits a message that a back end has let pass. It may have another text than the
    /// client's.
    fn send_judged(&mut self, slot: u32, conn: &mut Conn, id: u32, command: &CommandBody<'_>) {
        let content = self.parts.limits.content;
        let Some(session) = conn.session() else {
            return self.session_is_over(slot, conn, id);
        };
        if let Some(text) = too_large(session.caller(), &content, command) {
            return self.fail(slot, conn, id, ErrorCode::LimitExceeded, &text);
        }
        self.hand_over(slot, conn, id, command);
    }

    fn subscribe_judged(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        subscribe: Subscribe<'static>,
    ) {
        if conn.session().is_none() {
            return self.session_is_over(slot, conn, id);
        }
        let command = CommandBody::Subscribe(subscribe);
        self.ephemeral_command(slot, conn, id, &command);
    }

    /// Answers a command whose session ended while a back end was asked.
    fn session_is_over(&mut self, slot: u32, conn: &mut Conn, id: u32) {
        let text = "the session is over: send connect first";
        self.fail(slot, conn, id, ErrorCode::Unauthorized, text);
    }

    /// Asks a back end whether a session may open. `grant` is what the client's token grants, where the
    /// gateway has keys for tokens.
    pub(super) fn ask_connect(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        connect: &Connect<'_>,
        grant: Option<Grant>,
    ) {
        let name = |granted: Option<&str>, said: &Option<trunkline_proto::Str<'_>>| {
            let name = granted.or(said.as_deref());
            name.unwrap_or_default().to_owned()
        };
        let granted = grant.as_ref();
        let user = BackUser {
            namespace: name(granted.map(|grant| &*grant.namespace), &connect.namespace),
            user: name(granted.map(|grant| &*grant.user), &connect.user),
            device: name(
                granted.and_then(|grant| grant.device.as_deref()),
                &connect.device,
            ),
        };
        let open = self.backs.open.entry(slot).or_default();
        let head = open.head.clone();
        open.grant = grant.map(Box::new);
        let head = head.unwrap_or_else(|| Head {
            headers: Vec::new().into(),
            address: address_of(conn, |_| None),
        });
        let caller = BackCaller {
            connect: connect.clone().into_owned(),
            address: head.address,
            headers: head.headers,
        };
        if conn.session().is_none() {
            let timeout = self.timeouts.connect.saturating_add(self.backs.timeout);
            conn.times.set_deadline(slot, &mut self.turn, timeout);
        }
        let question = BackQuestion::Connect(Box::new(caller));
        self.hold(slot, conn, id, user, question);
    }

    /// Tells a client that a back end refuses its `connect`. A session stays as it was. A connection
    /// without one ends: with 3013 if the client may come back, and with 3500 otherwise.
    fn refuse_connect(&mut self, slot: u32, conn: &mut Conn, id: u32, error: ErrorReply<'static>) {
        let code = match error.temporary || error.retry_ms.is_some() {
            true => CloseCode::OVERLOADED,
            false => CloseCode::INVALID_TOKEN,
        };
        self.fail_with(slot, conn, id, error);
        if conn.session().is_none() {
            self.close(slot, conn, code, "the back end refuses the session");
        }
    }

    /// Answers a command with an error that a back end made.
    fn fail_with(&mut self, slot: u32, conn: &mut Conn, id: u32, error: ErrorReply<'static>) {
        let known = ErrorCode::ALL
            .into_iter()
            .find(|one| one.code() == error.code);
        if let Some(code) = known {
            self.parts.metrics.error(code);
        }
        self.charge(slot, conn, Work::Refuse, price::REFUSAL);
        let body = ReplyBody::Error(error);
        self.say(slot, conn, &ServerMessage::Reply(Reply { id, body }));
    }
}

/// Returns the address of a client. `named` returns the client that a proxy at an address names. Where
/// only the network of an IPv6 client is known, that is returned.
fn address_of(conn: &Conn, named: impl Fn(IpAddr) -> Option<IpAddr>) -> String {
    let source = conn.source();
    let is_client = |address: &IpAddr| Source::of(*address) == source;
    // A peer that is gone has no address any more.
    let peer = conn.peer_addr().ok().map(|peer| peer.ip());
    let client = peer.filter(is_client);
    let client = client.or_else(|| peer.and_then(named).filter(is_client));
    client.map_or_else(|| source.to_string(), |client| client.to_string())
}
