//! Tells connections ephemeral events.

use slab::Slab;
use smallvec::SmallVec;

use super::super::connection::Conn;
use super::super::core::Core;
use super::News;
use super::topics::TopicWalk;
use crate::metrics::Limit;
use crate::shared::SharedPush;

/// A connection gets no trifles while this part of an outbox waits for it.
const TRIFLE_SHARE: usize = 8;

/// The consequence for a client that misses an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// The client misses nothing: another event of the kind follows soon.
    Trifle,
    /// The event is gone.
    Once,
    /// The client asked for these events: it learns of a gap.
    Asked,
}

impl Core {
    /// Lets connections see no more of users who block them, or see them again, while something is left of
    /// `left`.
    pub(super) fn tell_blocks(&mut self, conns: &mut Slab<Conn>, left: &mut usize) {
        while *left > 0
            && let Some(((blocker, blocked), begins)) = self.ephemeral.next_block()
        {
            *left -= 1;
            let slots = SmallVec::<[u32; 8]>::from_slice(self.users.get(blocked));
            for slot in slots {
                if let Some(conn) = conns.get_mut(slot as usize)
                    && conn.is_of(blocked)
                    && let Some(mut push) = self.ephemeral.block_changed(slot, blocker, begins)
                {
                    self.tell(slot, conn, &mut push, Worth::Asked);
                }
            }
        }
    }

    /// Tells watchers of users who have changed, while something is left of `left`.
    pub(super) fn tell_presence(&mut self, conns: &mut Slab<Conn>, left: &mut usize) {
        while *left > 0
            && let Some(mut walk) = self.ephemeral.next_presence(&mut self.turn)
        {
            while let Some(slot) = self.ephemeral.next_watcher(&mut walk, left) {
                if let (Some(conn), Some(push)) = (conns.get_mut(slot as usize), walk.push()) {
                    self.tell(slot, conn, push, Worth::Asked);
                }
            }
        }
    }

    /// Tells the events of the lane, while something is left of `left`.
    pub(super) fn tell_events(&mut self, conns: &mut Slab<Conn>, left: &mut usize) {
        while *left > 0
            && let Some(news) = self.ephemeral.next_news()
        {
            match news {
                News::Topic(walk) => self.tell_subscribers(conns, walk, left),
                News::Users {
                    users,
                    frames,
                    trifle,
                } => {
                    let mut push = SharedPush::new(frames);
                    let worth = if trifle { Worth::Trifle } else { Worth::Once };
                    for user in &*users {
                        *left = left.saturating_sub(1);
                        let slots = SmallVec::<[u32; 8]>::from_slice(self.users.get(*user));
                        for slot in slots {
                            if let Some(conn) = conns.get_mut(slot as usize)
                                && conn.is_of(*user)
                            {
                                self.tell(slot, conn, &mut push, worth);
                            }
                        }
                    }
                }
            }
        }
    }

    fn tell_subscribers(&mut self, conns: &mut Slab<Conn>, mut walk: TopicWalk, left: &mut usize) {
        while let Some(told) = self.ephemeral.next_subscriber(&mut walk, left) {
            let slot = told.slot;
            let Some(conn) = conns.get_mut(slot as usize) else {
                continue;
            };
            if told.missed {
                self.tell_gap(slot, conn);
            }
            if let Some(push) = walk.push() {
                self.tell(slot, conn, push, Worth::Asked);
            }
        }
        self.ephemeral.put_off(walk);
    }

    /// Tells a client that it has missed something, unless it will be told so anyway.
    fn tell_gap(&mut self, slot: u32, conn: &mut Conn) {
        if !conn.is_listening() || conn.is_catching_up() || conn.out.has_gap() {
            return;
        }
        self.parts.metrics.gaps.one();
        self.say_gap(slot, conn, self.seen);
    }

    /// Tells one connection an event, if it keeps up.
    pub(super) fn tell(&mut self, slot: u32, conn: &mut Conn, push: &mut SharedPush, worth: Worth) {
        if !conn.is_listening() {
            return;
        }
        self.make_room(slot, conn, false);
        let trifles = self.parts.limits.outbox_bytes / TRIFLE_SHARE;
        let busy = worth == Worth::Trifle && conn.out.len() > trifles;
        if busy || conn.out.has_gap() || self.is_behind(conn) {
            self.parts.metrics.limited(Limit::Ephemeral);
            let asked = worth == Worth::Asked && !conn.is_catching_up();
            if asked && conn.out.drop_up_to(self.seen) {
                self.parts.metrics.gaps.one();
            }
            return;
        }
        self.parts.metrics.pushed_ephemeral.one();
        let encoded = push.encoded(self.memory.shared(), conn.encoding());
        conn.out.flush_later(slot, &mut self.turn);
        let most = self.parts.limits.content.message_bytes;
        conn.out.push(&mut self.pool, most, encoded);
        self.count_output(slot, conn);
    }
}
