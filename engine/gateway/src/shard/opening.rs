//! The command `connect`: it opens the session of a connection.

use trunkline_core::exchange::{BackKind, Query};
use trunkline_core::per_user::{Half, Key};
use trunkline_core::store::Position;
use trunkline_proto::message::{Connect, ReplyBody};
use trunkline_proto::{CloseCode, ErrorCode};

use super::connection::{Conn, Phase};
use super::core::Core;
use super::price;
use crate::auth::Grant;
use crate::metrics::{Limit, Work};
use crate::session::{self, Opened};

impl Core {
    /// Opens the session that a client asks for, or refuses it. A connection that has a session
    /// renews its token.
    pub(super) fn connect(&mut self, slot: u32, conn: &mut Conn, id: u32, request: &Connect<'_>) {
        let recovers = request.since.is_some() || request.resume;
        let full = self.reads.recovering() >= self.parts.limits.recovering;
        if conn.session().is_none() && recovers && full {
            // Before the token is checked, which takes longer than all of this.
            self.parts.metrics.limited(Limit::Recovering);
            let reason = "too many clients recover at a time";
            return self.close(slot, conn, CloseCode::OVERLOADED, reason);
        }
        let check = match self.permits.takes_long() {
            true => price::PUBLIC_KEY_TOKEN,
            false => price::SECRET_TOKEN,
        };
        if request.token.is_some() && self.permits.are_on() {
            self.charge(slot, conn, Work::Open, check);
        }
        let turn = self.turn.number();
        let grant = match self.permits.grant(slot, turn, request, &mut self.admission) {
            Ok(grant) => grant,
            Err(refusal) => return self.refuse(slot, conn, id, refusal),
        };
        if self.backs.asks(BackKind::Connect) {
            return self.ask_connect(slot, conn, id, request, grant);
        }
        self.connect_as(slot, conn, id, request, grant);
    }

    /// Opens a session with what the client's token, or a back end, grants.
    pub(super) fn connect_as(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        request: &Connect<'_>,
        grant: Option<Grant>,
    ) {
        let opened = session::open(
            request,
            grant.as_ref(),
            &session::Context {
                ids: &self.parts.ids,
                epochs: &self.parts.epochs,
                shard: self.parts.index,
                number: self.sessions + 1,
            },
        );
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.fail(slot, conn, id, error.code, error.message);
                if let Some(code) = error.close {
                    self.close(slot, conn, code, error.message);
                }
                return;
            }
        };
        if conn.session().is_some() {
            return self.connect_again(slot, conn, id, opened.session.id, grant);
        }
        let (user, device) = (
            opened.session.id,
            opened.session.device_mark(&self.parts.ids),
        );
        if let Some(sessions) = &self.parts.shared.user_sessions
            && !sessions.enter_beside(
                Half::of(user),
                self.parts.hub.devices_elsewhere(user, device),
            )
        {
            self.parts.metrics.limited(Limit::UserConnections);
            let text = "this user has as many sessions as one may have: close one of them";
            self.fail(slot, conn, id, ErrorCode::LimitExceeded, text);
            return self.close(slot, conn, CloseCode::CONNECTION_LIMIT, text);
        }
        let (directory, shard) = (&self.parts.directory, self.parts.index);
        let live_from = directory.enter(user, shard, device);
        let Opened { mut session, since } = opened;
        // A node of a cluster may take records later that the client has from another node.
        let live_from = live_from.max(since.unwrap_or(Position::ZERO));
        let resumes = request.resume && since.is_none();
        session.begin(live_from, since.is_some() || resumes);
        let opened = Opened { session, since };
        self.begin_session(slot, conn, id, request, opened, grant);
    }

    /// Enters a session into every part besides the directory, which has it. Replies, and asks for the
    /// events that the client missed.
    fn begin_session(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        request: &Connect<'_>,
        opened: Opened,
        grant: Option<Grant>,
    ) {
        self.charge(slot, conn, Work::Open, price::SESSION);
        let Opened { mut session, since } = opened;
        let resumes = request.resume && since.is_none();
        let expires = grant.as_ref().and_then(Grant::expires);
        self.sessions += 1;
        conn.out.set_batching(request.batch);
        self.users.add(session.id, slot);
        self.parts.hub.arrived(session.id);
        self.parts.hub.note(&session.names);
        if grant.is_some() {
            self.parts.metrics.tokens.accepted.one();
        }
        session.set_expiry(self.permits.permit(slot, self.turn.now(), grant));
        let device = session::device_key(request, &self.parts.ids, &session);
        if let Some(key) = device {
            self.resuming.begin(slot, key);
        }
        self.parts.metrics.sessions.one();
        let opening = match since {
            None if resumes => Some((
                Position::ZERO,
                self.greeting.opening(&session, device, expires),
            )),
            None => {
                let reply = self
                    .greeting
                    .reply(&session, session.until(Position::ZERO), expires);
                self.reply(slot, conn, id, ReplyBody::Connect(reply));
                None
            }
            Some(since) => Some((since, self.greeting.opening(&session, None, expires))),
        };
        let user = session.id;
        // The user pays from now on.
        self.set_slow(slot, conn, false);
        conn.enter(Phase::Open(session), &mut self.admission);
        if conn.out.is_blocked() {
            let timeout = self.timeouts.write;
            conn.times.set_deadline(slot, &mut self.turn, timeout);
        } else {
            conn.times.clear_deadline();
        }
        self.watch_new(slot, conn);
        if let Some((since, opening)) = opening {
            let connect = Some(Box::new(opening));
            let query = Query::CatchUp {
                user,
                since,
                connect,
            };
            self.query(slot, conn, id, query);
        }
    }
}
