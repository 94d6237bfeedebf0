//! What tokens allow the sessions of a shard, and for how long.
//!
//! In development mode there are none: nothing here takes memory or time then. When a session ends
//! stands in its timer; which topics it may use stands beside the connections, for those that may use
//! any, and once for all that may use the same.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use trunkline_core::clock::system_ms;
use trunkline_core::ids::UserId;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{Connect, ReplyBody};

use super::connection::Conn;
use super::core::Core;
use crate::auth::{Act, Grant, Refusal, Rights};
use crate::timer::{Tick, ticks};

/// What checking a signature with a public key counts as among those without a session that a turn
/// reads: it takes some 40 µs, where a hand-shake of TLS, which counts as 8, takes 130.
pub(super) const CHECK_COST: usize = 4;

/// A table keeps its memory where it is for no more than so many.
const KEPT: usize = 4_096;

/// Which topics the sessions of a shard may use.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    /// By slot; who may use none is not in it.
    of: HashMap<u32, Rc<Rights>>,
    /// Each that some session has. Those of a service mostly have the same.
    known: HashSet<Rc<Rights>>,
    /// The connection whose token was checked last, and the turn of that.
    checked: Option<(u32, u64)>,
}

impl Permits {
    /// Whether a turn may check a token of a connection: one of each connection, where its commands
    /// come one behind another. Counts the check.
    fn may_check(&mut self, slot: u32, turn: u64) -> bool {
        self.checked.replace((slot, turn)) != Some((slot, turn))
    }

    /// Sets what a session may use, in place of what it might before.
    fn set(&mut self, slot: u32, rights: Rights) {
        let known = self.known.get(&rights).map(Rc::clone);
        // What it had may be the same, and is forgotten only then.
        self.remove(slot);
        if rights.is_empty() {
            return;
        }
        let rights = known.unwrap_or_else(|| Rc::new(rights));
        self.known.insert(Rc::clone(&rights));
        self.of.insert(slot, rights);
    }

    fn remove(&mut self, slot: u32) {
        if let Some(rights) = self.of.remove(&slot) {
            // This one, and that of the set.
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
    /// What the token of a `connect` grants; `None` in development mode, where there are no tokens.
    ///
    /// # Errors
    /// The token is not good, or says something else than the `connect`.
    pub(super) fn grant(
        &mut self,
        slot: u32,
        request: &Connect<'_>,
    ) -> Result<Option<Grant>, Refusal> {
        let Some(authority) = &self.parts.authority else {
            return Ok(None);
        };
        let token = request.token.as_deref().ok_or(Refusal::MISSING)?;
        // A frame may hold a thousand, and everybody else waits while they are checked.
        if !self.permits.may_check(slot, self.turn.number()) {
            return Err(Refusal::TOO_MANY);
        }
        if authority.takes_long() {
            self.admission.costs(CHECK_COST);
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

    /// Says that a token is refused. A session lives on as it was; a connection without one ends,
    /// unless the token is good and only something beside it is not.
    pub(super) fn refuse(&mut self, slot: u32, conn: &mut Conn, id: u32, refusal: Refusal) {
        self.parts.metrics.tokens.refused(refusal.reason);
        self.trace_refusal(conn, &refusal);
        if refusal.code() == ErrorCode::TooManyRequests {
            // The next turn checks another.
            self.fail_beyond(slot, conn, id, ("tokens", 1), refusal.message);
        } else {
            self.fail(slot, conn, id, refusal.code(), refusal.message);
        }
        if let (None, Some(code)) = (conn.session(), refusal.close()) {
            self.close(slot, conn, code, refusal.message);
        }
    }

    /// Gives a session what its token grants: its topics. When it ends, in ticks; 0: it does not.
    pub(super) fn permit(&mut self, slot: u32, grant: Option<Grant>) -> Tick {
        let (Some(authority), Some(grant)) = (&self.parts.authority, grant) else {
            return 0;
        };
        let ends_ms = grant.expires_ms.saturating_add(authority.leeway_ms());
        let left = ends_ms.saturating_sub(system_ms());
        self.parts.metrics.tokens.accepted.one();
        self.permits.set(slot, grant.rights);
        // One more, since this tick began before now: never too early, and never 0.
        let left = ticks(std::time::Duration::from_millis(left)) + 1;
        self.turn.now().saturating_add(left)
    }

    /// Answers a `connect` of a client that has a session, of this user and with this grant: a token
    /// renews the session.
    pub(super) fn connect_again(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        (user, grant): (UserId, Option<Grant>),
    ) {
        let Some(open) = conn.session() else {
            return;
        };
        if open.id != user {
            if grant.is_some() {
                return self.refuse(slot, conn, id, Refusal::OTHER_USER);
            }
            let text = "this connection is another user's: open one of its own";
            return self.fail(slot, conn, id, ErrorCode::PermissionDenied, text);
        }
        if open.catching_up || conn.out.has_gap() {
            // There is no position yet that everything before it has been pushed.
            let text = "missed events are still on their way: try again behind them";
            return self.fail_beyond(slot, conn, id, ("recovering", 1), text);
        }
        let device = grant.as_ref().and_then(|grant| grant.device.as_deref());
        if device.is_some_and(|device| device != open.names.device()) {
            return self.refuse(slot, conn, id, Refusal::OTHER_DEVICE);
        }
        let expires = grant.as_ref().map(|grant| grant.expires_ms);
        let mut reply = self.connect_reply(open, open.live_from.max(self.seen), expires);
        if grant.is_some() {
            let ends = self.permit(slot, grant);
            if let Some(session) = conn.session_mut() {
                session.expires = ends;
            }
            self.schedule(slot, conn, ends);
            let ended = self.end_subscriptions(slot);
            reply.unsubscribed = ended.into_iter().map(Into::into).collect();
        }
        self.reply(slot, conn, id, ReplyBody::Connect(reply));
    }

    /// A session ends.
    pub(super) fn end_permit(&mut self, slot: u32) {
        self.permits.remove(slot);
    }

    /// Whether a session may do this with a topic.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn may(
        &self,
        slot: u32,
        act: Act,
        topic: &str,
    ) -> Result<(), (ErrorCode, &'static str)> {
        if self.parts.authority.is_none() || self.permits.allow(slot, act, topic) {
            return Ok(());
        }
        let text = match act {
            Act::Subscribe => "the token does not allow to subscribe to this topic",
            Act::Publish => "the token does not allow to publish to this topic",
        };
        Err((ErrorCode::PermissionDenied, text))
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
        let mut permits = Permits::default();
        assert!(permits.may_check(1, 7));
        assert!(!permits.may_check(1, 7));
        assert!(permits.may_check(2, 7) && permits.may_check(2, 8));
    }

    #[test]
    fn the_same_rights_are_there_once_and_only_while_somebody_has_them() {
        let mut permits = Permits::default();
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
