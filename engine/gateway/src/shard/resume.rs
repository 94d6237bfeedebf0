//! The positions that the gateway keeps for devices that ask to resume.
//!
//! The gateway keeps a position once the client is known to have what came before it: the client
//! answered a ping sent behind that, or it closed the way RFC 6455 §7.1 asks, having read up to our
//! Close frame. A client that vanishes otherwise may be told again what it had read, and misses
//! nothing.

use trunkline_core::store::Position;
use trunkline_proto::frame::{Opcode, write_frame};

use super::connection::Conn;
use super::core::Core;
use super::resuming::ToKeep;

impl Core {
    /// Notes that a page of missed events, from behind `position` on, was pushed to a session.
    pub(super) fn resumed(&mut self, slot: u32, position: Position) {
        let keep = self.resuming.caught_up(slot, position, self.turn.now());
        self.keep(keep);
    }

    /// Sends a ping behind what is about to be sent, if its answer will confirm something new.
    pub(super) fn ask_receipt(&mut self, slot: u32, conn: &mut Conn) {
        let written = self.written(conn);
        if let Some(payload) = self.resuming.ask(slot, written) {
            let out = conn.out.frames(&mut self.pool);
            write_frame(out, Opcode::Ping, &payload, None);
        }
    }

    /// Handles a pong: what was sent before its ping has arrived.
    pub(super) fn receipt(&mut self, slot: u32, conn: &mut Conn, payload: &[u8]) {
        let receipt = self.resuming.answer(slot, payload, self.turn.now());
        if receipt.ask_again {
            // The flush sends the next ping.
            self.mark_dirty(slot, conn);
        }
        self.keep(receipt.keep);
    }

    /// Handles the client's Close frame: the client reads up to ours.
    pub(super) fn receipt_of_all(&mut self, slot: u32, conn: &Conn) {
        let written = self.written(conn);
        self.resuming.confirm(slot, written);
    }

    /// Ends the keeping of a session's position.
    pub(super) fn end_resume(&mut self, slot: u32) {
        let keep = self.resuming.end(slot, self.turn.now());
        self.keep(keep);
    }

    /// The position up to which everything has been written for a client, if that can be said.
    fn written(&self, conn: &Conn) -> Option<Position> {
        let session = conn.session()?;
        let complete = !session.catching_up && !conn.out.has_gap();
        complete.then(|| self.seen.max(session.live_from))
    }

    /// Tells the sequencer a position to store, if there is one.
    fn keep(&mut self, keep: Option<ToKeep>) {
        self.batch.positions.extend(keep);
    }
}
