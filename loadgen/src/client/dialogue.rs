//! The parts of the loop that depend on what a server can do.
//!
//! A check that a server cannot pass or fail has no code in its dialogue: what plain text shows is in
//! one type, and receipts, history and positions are in another.

use super::Client;
use super::reconnects::Return;
use crate::check::{Departure, Judge};
use crate::clock::Nanos;
use crate::driver::Driver;

/// What a thread says to a server beside its messages, and what it makes of the answers.
pub(super) trait Dialogue: Sized {
    type Driver: Driver;
    type Judge: Judge;

    /// Does what comes before the first executor. Returns whether the run can go on.
    fn prepare(_client: &mut Client<Self>, _now: Nanos) -> bool {
        true
    }

    /// Returns the time that this took.
    fn prepared_in(&self) -> Nanos {
        0
    }

    /// Returns whether a device plays no user of the run.
    fn is_helper(&self, _device: u32) -> bool {
        false
    }

    /// Handles the end of such a device's connection.
    fn helper_failed(_client: &mut Client<Self>, _why: &str) {}

    /// Writes the first bytes of a connection whose TCP handshake is done.
    fn connected(client: &mut Client<Self>, device: u32);

    /// Asks for the session of a device, whose transport is ready.
    fn ready(client: &mut Client<Self>, now: Nanos, device: u32);

    /// Handles a message of the server.
    ///
    /// # Errors
    /// The message cannot be read.
    fn said(
        client: &mut Client<Self>,
        now: Nanos,
        device: u32,
        said: <Self::Driver as Driver>::Said<'_>,
    ) -> Result<(), String>;

    /// Handles the close code with which the server ends a connection.
    fn closed(_client: &mut Client<Self>, _device: u32, _code: u16) {}

    /// Notes that a device's session is open, again after it was away with `returned`. `said` is what
    /// the dialogue passed to [`Client::opened`].
    fn enter(
        client: &mut Client<Self>,
        now: Nanos,
        device: u32,
        returned: Option<Return>,
        said: bool,
    );

    /// Returns the last thing that the server said to a session that is not open yet, if it is not
    /// understood.
    fn last_words(&self) -> Option<&str> {
        None
    }

    /// Returns whether a session takes another message now.
    fn has_room(_client: &mut Client<Self>, _device: u32) -> bool {
        true
    }

    /// Sends what a session could not send while it was away.
    fn make_up(client: &mut Client<Self>, now: Nanos, device: u32) {
        client.send_held(now, device);
    }

    /// Writes the message of a send.
    fn write_send(client: &mut Client<Self>, device: u32, departure: Departure, keyed: bool);

    /// Does what is due beside the schedule.
    fn turn(client: &mut Client<Self>, now: Nanos);

    /// Returns when more of that is due.
    fn due(&self) -> Option<Nanos>;

    /// Returns whether everything that was sent has come.
    fn is_settled(client: &mut Client<Self>, now: Nanos) -> bool;

    /// Begins to judge what has come, because everything has, or because the time until `until` is
    /// over.
    fn judge(client: &mut Client<Self>, now: Nanos, until: Nanos);

    /// Continues to read history back, where a dialogue does.
    fn read(client: &mut Client<Self>, now: Nanos, _until: Nanos, _owed: Nanos) {
        client.finish(now);
    }
}
