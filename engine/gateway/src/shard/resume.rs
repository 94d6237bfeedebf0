//! The positions that the gateway keeps for devices that ask to resume.
//!
//! A position is kept once the client is known to have what came before it: it answered a ping
//! sent behind that, or closed the way RFC 6455 §7.1 asks, having read up to our Close frame.
//! Whoever vanishes otherwise may be told again what it had read, and misses nothing.

use std::collections::HashMap;

use trunkline_core::store::{Position, TimelineId};
use trunkline_proto::frame::{Opcode, write_frame};

use super::connection::Conn;
use super::core::Core;
use crate::timer::{Tick, ticks};

/// How often a position goes to the store while its session lasts.
const KEEP: std::time::Duration = std::time::Duration::from_secs(1);

/// Sessions that asked to resume, by slot.
pub(crate) type Resuming = HashMap<u32, Resume>;

/// How far a device has come.
#[derive(Debug)]
pub(crate) struct Resume {
    /// What the position is kept under.
    key: TimelineId,
    /// What the sequencer was told, and when.
    kept: Option<Position>,
    kept_at: Tick,
    /// The client has everything up to here.
    confirmed: Position,
    /// What a ping asks, that is not answered.
    asked: Option<Position>,
    /// Something was pushed since the last was sent.
    pushed: bool,
}

impl Resume {
    /// Something was pushed to the client.
    pub(super) fn pushed(&mut self) {
        self.pushed = true;
    }
}

impl Core {
    /// Begins to keep the position of a session.
    pub(super) fn resume(&mut self, slot: u32, key: TimelineId) {
        let resume = Resume {
            key,
            kept: None,
            kept_at: 0,
            confirmed: Position::ZERO,
            asked: None,
            pushed: false,
        };
        self.resuming.insert(slot, resume);
    }

    /// The session goes on from `position`: it is kept at once, so that whoever comes back misses
    /// nothing that came after it.
    pub(super) fn resumed(&mut self, slot: u32, position: Position) {
        let Some(resume) = self.resuming.get_mut(&slot) else {
            return;
        };
        resume.pushed = true;
        if resume.kept.is_none() {
            resume.confirmed = position;
            self.keep(slot);
        }
    }

    /// Sends a ping behind what is about to be sent, if its answer will tell something.
    pub(super) fn ask_receipt(&mut self, slot: u32, conn: &mut Conn) {
        let written = self.written(conn);
        let (Some(resume), Some(written)) = (self.resuming.get_mut(&slot), written) else {
            return;
        };
        if resume.asked.is_none() && std::mem::take(&mut resume.pushed) {
            resume.asked = Some(written);
            let payload = written.0.to_le_bytes();
            write_frame(
                conn.out.frames(&mut self.pool),
                Opcode::Ping,
                &payload,
                None,
            );
        }
    }

    /// A pong came: what was sent before its ping has arrived.
    pub(super) fn receipt(&mut self, slot: u32, conn: &mut Conn, payload: &[u8]) {
        let Some(resume) = self.resuming.get_mut(&slot) else {
            return;
        };
        if let Some(position) = resume.asked
            && payload == position.0.to_le_bytes()
        {
            resume.asked = None;
            resume.confirmed = resume.confirmed.max(position);
            if resume.pushed {
                // The next ping goes out behind it.
                self.mark_dirty(slot, conn);
            }
            self.keep_now_and_then(slot);
        }
    }

    /// The client closes: it reads up to our Close frame.
    pub(super) fn receipt_of_all(&mut self, slot: u32, conn: &Conn) {
        let written = self.written(conn);
        if let (Some(resume), Some(written)) = (self.resuming.get_mut(&slot), written) {
            resume.confirmed = resume.confirmed.max(written);
        }
    }

    /// The session ends.
    pub(super) fn end_resume(&mut self, slot: u32) {
        if self
            .resuming
            .get(&slot)
            .is_some_and(|resume| resume.kept.is_some())
        {
            self.keep(slot);
        }
        self.resuming.remove(&slot);
    }

    /// Everything up to here has been written for a client, if that can be said.
    fn written(&self, conn: &Conn) -> Option<Position> {
        let session = conn.session()?;
        let complete = !session.catching_up && !conn.out.has_gap();
        complete.then(|| self.seen.max(session.live_from))
    }

    fn keep_now_and_then(&mut self, slot: u32) {
        let now = self.turn.now();
        let resume = self.resuming.get(&slot);
        if resume.is_some_and(|resume| now.wrapping_sub(resume.kept_at) >= ticks(KEEP)) {
            self.keep(slot);
        }
    }

    /// Tells the sequencer, if there is something to tell.
    fn keep(&mut self, slot: u32) {
        let now = self.turn.now();
        if let Some(resume) = self.resuming.get_mut(&slot)
            && Some(resume.confirmed) > resume.kept
        {
            resume.kept = Some(resume.confirmed);
            resume.kept_at = now;
            self.batch.positions.push((resume.key, resume.confirmed));
        }
    }
}
