//! The rights that tokens grant to the sessions of a shard, and their end.
//!
//! The rights of a session are kept beside the connections, once for all sessions with the same
//! rights. The timer of a session knows when its token expires. In development mode there are no
//! tokens, and nothing here takes memory or time.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use trunkline_core::clock::system_ms;
use trunkline_core::exchange::{Admitted, BackKind, Failure, TokenMark};
use trunkline_core::ids::UserId;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{Connect, ReplyBody};

use super::admission::Admission;
use super::connection::Conn;
use super::core::Core;
use super::parts::Parts;
use super::rate::Beyond;
use super::trace;
use crate::auth::{Act, Authority, Grant, Refusal, Rights};
use crate::timer::{Tick, ticks};

/// The number of plain connections without a session that a check of a public-key signature counts
/// as in a turn. A check takes some 40 µs; a TLS hand-shake, which counts as 8, takes 130 µs.
pub(super) const CHECK_COST: usize = 4;

/// A table that has held more sessions than this gives its memory back once it is empty.
const KEPT: usize = 4_096;

/// Checks the tokens of a shard's sessions, and knows which topics each session may use.
///
/// `known` has exactly the rights that some session in `of` has.
pub(crate) struct Permits {
    /// Checks tokens. `None` without keys for tokens.
    authority: Option<Arc<Authority>>,
    /// Whether a back end says who the clients are.
    by_back: bool,
    is_development: bool,
    /// The rights of each session, by slot. Sessions without rights are not in the map.
    of: HashMap<u32, Rc<Rights>>,
    /// The identity of the token of each session, by slot: 16 bytes each. Sessions whose token has no id
    /// and no time of issue are not in the map.
    tokens: HashMap<u32, TokenMark>,
    /// Each rights that some session has, once: most sessions of a service have the same.
    known: HashSet<Rc<Rights>>,
    checked: Option<Checked>,
}

/// The last check of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Checked {
    /// The connection whose token was checked.
    slot: u32,
    /// The turn of the check.
    turn: u64,
}

impl Permits {
    /// Makes the permits of a shard without sessions.
    pub(super) fn new(parts: &Parts) -> Self {
        let ends = parts.back_ends.as_ref();
        let by_back = ends.is_some_and(|ends| ends.asks(BackKind::Connect));
        let is_development = parts.is_development;
        Self::with(parts.authority.clone(), by_back, is_development)
    }

    fn with(authority: Option<Arc<Authority>>, by_back: bool, is_development: bool) -> Self {
        Self {
            authority,
            by_back,
            is_development,
            of: HashMap::new(),
            tokens: HashMap::new(),
            known: HashSet::new(),
            checked: None,
        }
    }

    /// Whether tokens or a back end decide which topics a session may use.
    pub(super) const fn are_on(&self) -> bool {
        self.authority.is_some() || self.by_back
    }

    /// Whether a check of a token takes long, because a token may be signed with the private key of a
    /// pair.
    pub(super) fn takes_long(&self) -> bool {
        let authority = self.authority.as_ref();
        authority.is_some_and(|authority| authority.takes_long())
    }

    /// Counts a check of a token. Returns `false` if this turn has checked a token of the connection
    /// already.
    fn may_check(&mut self, slot: u32, turn: u64) -> bool {
        let check = Checked { slot, turn };
        self.checked.replace(check) != Some(check)
    }

    /// Returns what the token of a `connect` grants. Returns `None` in development mode, where there
    /// are no tokens. The check takes its share of the turn that `admission` divides up.
    ///
    /// # Errors
    /// The token is not valid, or does not match the names in the `connect`.
    pub(super) fn grant(
        &mut self,
        slot: u32,
        turn: u64,
        request: &Connect<'_>,
        admission: &mut Admission,
    ) -> Result<Option<Grant>, Refusal> {
        let Some(authority) = self.authority.clone() else {
            return Ok(None);
        };
        let token = request.token.as_deref().ok_or(Refusal::MISSING)?;
        // A frame may hold a thousand tokens, and all sessions wait while they are checked.
        if !self.may_check(slot, turn) {
            return Err(Refusal::TOO_MANY);
        }
        if authority.takes_long() {
            admission.costs(CHECK_COST);
        }
        let grant = authority.check(token, system_ms())?;
        let is = |named: Option<&str>, is: &str| named.is_none_or(|named| named == is);
        if !is(request.user.as_deref(), &grant.user)
            || !is(request.namespace.as_deref(), &grant.namespace)
        {
            return Err(Refusal::OTHER_USER);
        }
        if let Some(device) = grant.device.as_deref()
            && !is(request.device.as_deref(), device)
        {
            return Err(Refusal::OTHER_DEVICE);
        }
        Ok(Some(grant))
    }

    /// Returns what a back end grants to a `connect`. `token` is what the client's token grants.
    ///
    /// # Errors
    /// Nobody names the user, or the grant has expired or is revoked.
    pub(super) fn admit(
        &self,
        admitted: Admitted,
        token: Option<Grant>,
        connect: &Connect<'_>,
    ) -> Result<Grant, Refusal> {
        let grant = Grant::admitted(admitted, token, connect, self.is_development)?;
        // The token may have been revoked while the back end was asked, or the back end names a user whose
        // tokens are revoked.
        match &self.authority {
            Some(authority) => authority.unless_revoked(grant, system_ms()),
            None => Ok(grant),
        }
    }

    /// Gives a session the topics that its token grants. Returns the tick at which the token expires;
    /// 0 without a token.
    pub(super) fn permit(&mut self, slot: u32, now: Tick, grant: Option<Grant>) -> Tick {
        let Some(grant) = grant.filter(|_| self.are_on()) else {
            return 0;
        };
        let (expires, mark) = (grant.expires(), grant.mark());
        self.set(slot, grant.rights);
        if mark != TokenMark::default() {
            self.tokens.insert(slot, mark);
        }
        let Some(expires) = expires else {
            return 0;
        };
        let leeway = self.authority.as_ref().map_or(0, |one| one.leeway_ms());
        let left = expires.saturating_add(leeway).saturating_sub(system_ms());
        // This tick began before now: one more makes the session end never too early, and never at 0.
        let left = ticks(Duration::from_millis(left)) + 1;
        now.saturating_add(left)
    }

    /// Checks that a session may do this with a topic.
    ///
    /// # Errors
    /// The token of the session does not allow it.
    pub(super) fn check(&self, slot: u32, act: Act, topic: &str) -> Result<(), Failure> {
        if !self.are_on() || self.allow(slot, act, topic) {
            return Ok(());
        }
        let text = match act {
            Act::Subscribe => "the token does not allow to subscribe to this topic",
            Act::Publish => "the token does not allow to publish to this topic",
        };
        Err((ErrorCode::PermissionDenied, text))
    }

    /// Sets the rights of a session, in place of the rights that it had.
    fn set(&mut self, slot: u32, rights: Rights) {
        let known = self.known.get(&rights).map(Rc::clone);
        // Looked up first: the session may have had the same rights, and be the last with them.
        self.remove(slot);
        if rights.is_empty() {
            return;
        }
        let rights = known.unwrap_or_else(|| Rc::new(rights));
        self.known.insert(Rc::clone(&rights));
        self.of.insert(slot, rights);
    }

    /// Returns the identity of a session's token.
    pub(super) fn token(&self, slot: u32) -> TokenMark {
        self.tokens.get(&slot).copied().unwrap_or_default()
    }

    /// Forgets the rights and the token of a session.
    pub(super) fn remove(&mut self, slot: u32) {
        self.tokens.remove(&slot);
        if self.tokens.is_empty() && self.tokens.capacity() > KEPT {
            self.tokens = HashMap::new();
        }
        if let Some(rights) = self.of.remove(&slot) {
            // This reference, and that of the set.
            if Rc::strong_count(&rights) <= 2 {
                self.known.remove(&rights);
            }
        }
        if self.of.is_empty() && self.of.capacity() > KEPT {
            self.of = HashMap::new();
            self.known = HashSet::new();
        }
    }

    fn allow(&self, slot: u32, act: Act, topic: &str) -> bool {
        let rights = self.of.get(&slot);
        rights.is_some_and(|rights| rights.allow(act, topic))
    }
}

impl Core {
    /// Tells a client that its token is refused. A session stays as it was. A connection without a
    /// session ends, unless the token is valid and only the rest of the `connect` is not.
    pub(super) fn refuse(&mut self, slot: u32, conn: &mut Conn, id: u32, refusal: Refusal) {
        self.parts.metrics.tokens.refused(refusal.reason);
        trace::token_refused(self.parts.index, conn, &refusal);
        if refusal.code() == ErrorCode::TooManyRequests {
            // The next turn checks another token.
            let (limit, retry) = ("tokens", 1);
            let beyond = Beyond { limit, retry };
            self.fail_beyond(slot, conn, id, beyond, refusal.message);
        } else {
            self.fail(slot, conn, id, refusal.code(), refusal.message);
        }
        if let (None, Some(code)) = (conn.session(), refusal.close()) {
            self.close(slot, conn, code, refusal.message);
        }
    }

    /// Answers a `connect` on a connection that has a session already. A token for the same user
    /// renews the session.
    pub(super) fn connect_again(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        user: UserId,
        grant: Option<Grant>,
    ) {
        let Some(open) = conn.session() else {
            return;
        };
        if open.id != user {
            if grant.is_some() {
                return self.refuse(slot, conn, id, Refusal::OTHER_USER);
            }
            let text = "this connection belongs to another user: open a connection for this one";
            return self.fail(slot, conn, id, ErrorCode::PermissionDenied, text);
        }
        if open.is_catching_up() || conn.out.has_gap() {
            // There is no position yet before which every event has been pushed.
            let text = "missed events are still being pushed: try again after them";
            let (limit, retry) = ("recovering", 1);
            return self.fail_beyond(slot, conn, id, Beyond { limit, retry }, text);
        }
        let device = grant.as_ref().and_then(|grant| grant.device.as_deref());
        if device.is_some_and(|device| device != open.names.device()) {
            return self.refuse(slot, conn, id, Refusal::OTHER_DEVICE);
        }
        let expires = grant.as_ref().and_then(Grant::expires);
        let pos = open.until(self.seen);
        let mut reply = self.greeting.reply(open, pos, expires);
        if grant.is_some() {
            self.parts.metrics.tokens.accepted.one();
            let ends = self.permits.permit(slot, self.turn.now(), grant);
            if let Some(session) = conn.session_mut() {
                session.set_expiry(ends);
            }
            conn.times.schedule(slot, &mut self.turn, ends);
            let permits = &self.permits;
            let may_keep = |topic: &str| permits.check(slot, Act::Subscribe, topic).is_ok();
            let ended = self.ephemeral.end_subscriptions(slot, may_keep);
            reply.unsubscribed = ended.into_iter().map(Into::into).collect();
        }
        self.reply(slot, conn, id, ReplyBody::Connect(reply));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(pattern: &'static str) -> Rights {
        Rights::of_subscriber(&[pattern])
    }

    #[test]
    fn a_turn_checks_one_token_of_a_connection() {
        let mut permits = Permits::with(None, false, true);
        assert!(permits.may_check(1, 7));
        assert!(!permits.may_check(1, 7));
        assert!(permits.may_check(2, 7) && permits.may_check(2, 8));
    }

    #[test]
    fn the_same_rights_are_there_once_and_only_while_somebody_has_them() {
        let mut permits = Permits::with(None, false, true);
        for slot in 0..10 {
            permits.set(slot, rights("live.*"));
        }
        permits.set(10, rights("news"));
        assert_eq!((permits.of.len(), permits.known.len()), (11, 2));
        assert!(permits.allow(3, Act::Subscribe, "live.1"));
        assert!(!permits.allow(10, Act::Subscribe, "live.1"));
        // The same again, others, none.
        permits.set(3, rights("live.*"));
        permits.set(4, rights("news"));
        permits.set(5, Rights::default());
        assert!(!permits.allow(5, Act::Subscribe, "live.1"));
        assert!(permits.allow(4, Act::Subscribe, "news"));
        assert_eq!((permits.of.len(), permits.known.len()), (10, 2));
        for slot in 11..2 * KEPT as u32 {
            permits.set(slot, rights("news"));
        }
        for slot in 11..2 * KEPT as u32 {
            permits.remove(slot);
        }
        for slot in 0..11 {
            permits.remove(slot);
            permits.remove(slot);
        }
        assert_eq!((permits.of.len(), permits.known.len()), (0, 0));
        assert!(permits.of.capacity() <= KEPT);
    }
}
