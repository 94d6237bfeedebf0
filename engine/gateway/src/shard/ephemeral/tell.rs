//! Tells connections ephemeral events.

use slab::Slab;
use smallvec::SmallVec;
use trunkline_core::hub::{EphemeralEvent, PushFrames};
use trunkline_core::ids::UserId;

use super::super::connection::Conn;
use super::super::core::Core;
use super::topics::TopicNews;
use crate::metrics::Limit;

/// Trifles are not told to whom so large a part of an outbox waits for.
const TRIFLE_SHARE: usize = 8;

/// What it is to a connection that it misses something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// Nothing.
    Trifle,
    /// It is gone.
    Once,
    /// It asked to be told: it learns of a gap.
    Asked,
}

impl Core {
    /// Tells what is next in the lane, as far as there are tellings left.
    pub(super) fn tell_passed(&mut self, conns: &mut Slab<Conn>, left: &mut usize) {
        while *left > 0 {
            if let Some((told, next)) = self.ephemeral.telling.take() {
                self.tell_subscribers(conns, told, next, left);
                continue;
            }
            match self.ephemeral.next_event() {
                None => match self.ephemeral.next_lost() {
                    None => return,
                    Some(lost) => self.ephemeral.telling = Some((lost, 0)),
                },
                Some(EphemeralEvent::Publication(publication)) => {
                    self.ephemeral.telling = Some((TopicNews::Publication(publication), 0));
                }
                Some(EphemeralEvent::ToUsers {
                    users,
                    frames,
                    trifle,
                }) => {
                    let worth = if trifle { Worth::Trifle } else { Worth::Once };
                    for user in &*users {
                        *left = left.saturating_sub(1);
                        self.tell_user(conns, *user, &frames, worth);
                    }
                }
            }
        }
    }

    fn tell_user(
        &mut self,
        conns: &mut Slab<Conn>,
        user: UserId,
        frames: &PushFrames,
        worth: Worth,
    ) {
        let slots = SmallVec::<[u32; 8]>::from_slice(self.users.get(user));
        for slot in slots {
            if let Some(conn) = conns.get_mut(slot as usize) {
                self.tell(slot, conn, frames, worth);
            }
        }
    }

    /// Tells a connection that it has missed something, unless it will be told so anyway.
    pub(super) fn tell_gap(&mut self, slot: u32, conn: &mut Conn) {
        let catching_up = conn.session().is_none_or(|session| session.catching_up);
        if !conn.is_listening() || catching_up || conn.out.has_gap() {
            return;
        }
        self.parts.metrics.gaps.one();
        self.say_gap(slot, conn, self.seen);
    }

    /// Tells one connection, if it keeps up.
    pub(super) fn tell(&mut self, slot: u32, conn: &mut Conn, frames: &PushFrames, worth: Worth) {
        if !conn.is_listening() {
            return;
        }
        let most = self.parts.limits.outbox_bytes;
        if conn.out.len() > most && !conn.out.blocked {
            // A burst within one turn: only what the socket does not take makes a slow reader.
            self.flush(slot, conn);
        }
        let busy = worth == Worth::Trifle && conn.out.len() > most / TRIFLE_SHARE;
        if busy || conn.out.has_gap() || self.is_behind(conn) {
            self.parts.metrics.limited(Limit::Ephemeral);
            let catching_up = conn.session().is_some_and(|session| session.catching_up);
            if worth == Worth::Asked && !catching_up && conn.out.drop_up_to(self.seen) {
                self.parts.metrics.gaps.one();
            }
            return;
        }
        self.parts.metrics.pushed_ephemeral.one();
        let encoding = conn.encoding;
        self.mark_dirty(slot, conn);
        if conn.batch {
            let to = (encoding, self.parts.limits.content.message_bytes);
            conn.out.add_to_batch(&mut self.pool, to, |out| {
                out.extend_from_slice(frames.message(encoding));
            });
        } else {
            let out = conn.out.frames(&mut self.pool);
            out.extend_from_slice(frames.frame(encoding));
        }
        if conn.out.blocked {
            self.account(slot, conn);
        }
    }
}
