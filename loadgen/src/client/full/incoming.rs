//! The answers and events of a gateway.

use trunkline_proto::message::{
    CommandBody, ErrorReply, Event, Message, Push, Reply, ReplyBody, ServerMessage, Sync, SyncReply,
};
use trunkline_proto::{CloseCode, Encoding, ErrorCode};

use super::super::Client;
use super::Full;
use super::acknowledgements::Reader;
use super::commands::CONNECT_ID;
use super::read_back;
use crate::check::Via;
use crate::clock::Nanos;
use crate::driver::gateway::Session;
use crate::stats::Metric;

/// The command id of `sync`: beyond the ids of sends, below those of history.
const SYNC_ID: u32 = 0x00ff_ff00;

/// The number of events per request: the most that the protocol allows in a page.
const PAGE: u32 = 500;

/// Returns whether an error leaves open whether the command was carried out. It may be sent again, a send
/// with its key.
fn is_unsure(error: &ErrorReply<'_>) -> bool {
    error.code == ErrorCode::StorageUnavailable.code()
}

impl Client<Full> {
    /// Notes why the gateway closes a session, where that is the gateway's state and not the
    /// session's.
    pub(super) fn note_close(&mut self, device: u32, code: u16) {
        let count = self.count();
        count.overloaded += u64::from(code == CloseCode::OVERLOADED.0);
        count.no_pong += u64::from(code == CloseCode::NO_PONG.0);
        if CloseCode(code).reconnect() {
            self.reconnects.note_close(device);
        }
    }

    pub(super) fn message(
        &mut self,
        now: Nanos,
        device: u32,
        encoding: Encoding,
        payload: &[u8],
    ) -> Result<(), String> {
        let read = encoding.decode_server(payload, |message| match message {
            ServerMessage::Reply(reply) => self.reply(now, device, &reply),
            ServerMessage::Push(push) => self.push(now, device, &push),
        });
        read.map_err(|why| why.to_string())
    }

    fn push(&mut self, now: Nanos, device: u32, push: &Push<'_>) {
        // Events behind a gap are fetched from the position before it.
        self.event(now, device, &push.event, Via::Push);
        let position = match &push.event {
            Event::Gap(gap) => Some(&gap.pos),
            _ => push.pos.as_ref(),
        };
        if let Some(position) = position {
            self.note_position(device, position);
        }
    }

    /// Handles an event that belongs to the user's order of events.
    fn event(&mut self, now: Nanos, device: u32, event: &Event<'_>, via: Via) {
        match event {
            Event::Message(message) => self.arrived(now, device, message, via),
            Event::Receipt(receipt) => self.checker.receipt(now, device, receipt, via),
            Event::Gap(_) => {
                self.count().gaps += 1;
                let session = self.connections.session(device);
                if let Some(since) = session.and_then(Session::note_gap) {
                    self.ask_for_missed(device, &since);
                }
            }
            // The following events are live. The checker tells them apart by their sequences.
            Event::CaughtUp(_) => {}
            Event::Group(_) => self.count().group_changes += 1,
            Event::Disconnect(why) => {
                self.reconnects.note_disconnect(device, why);
                // What follows from the run's own doing is no trouble.
                if !self.reconnects.is_away(device) && !self.board.is_chaos(now) {
                    let said = format!(
                        "the gateway asks to disconnect: {} {}",
                        why.code, why.reason
                    );
                    self.reporter.note_trouble(&said);
                }
            }
            other => {
                let why = format!(
                    "an unexpected event, which this program's load does not cause: {other:?}"
                );
                self.reporter.note_trouble(&why);
            }
        }
    }

    fn arrived(&mut self, now: Nanos, device: u32, message: &Message<'_>, via: Via) {
        let Some(landing) = self.checker.pushed(now, device, message, via) else {
            return;
        };
        if let Some(intended) = landing.intended {
            self.record_arrival(now, device, intended, via == Via::Push);
            if landing.in_group {
                self.latencies.record(Metric::E2eGroup, intended, now);
            }
        }
        self.dialogue.acknowledgements.arrived(Reader {
            stream: landing.reader,
            device,
        });
    }

    fn reply(&mut self, now: Nanos, device: u32, reply: &Reply<'_>) {
        let id = reply.id;
        if device == self.dialogue.maker.device() && id != CONNECT_ID {
            return self.maker_answered(now, id, &reply.body);
        }
        let reading = read_back::place_of(id);
        match &reply.body {
            ReplyBody::Send(send) => {
                if let Some(intended) = self.checker.acknowledged(now, id, send) {
                    self.record_ack(now, device, intended);
                }
            }
            ReplyBody::Connect(connect) if id == CONNECT_ID => {
                self.note_position(device, &connect.pos);
                match self.dialogue.maker.is_working() {
                    true => self.maker_opened(now),
                    false => self.opened(now, device, connect.recovered),
                }
            }
            ReplyBody::Sync(page) if id == SYNC_ID => self.missed(now, device, page),
            ReplyBody::History(page) => match reading {
                Some(place) => self.page_came(now, place, page),
                None => self.count().command_errors += 1,
            },
            ReplyBody::Error(error) => match reading {
                Some(place) => self.page_refused(now, place, error),
                None => self.refused(now, device, id, error),
            },
            _ => self.count().command_errors += 1,
        }
    }

    /// Handles the refusal of a command other than one for a page of history.
    fn refused(&mut self, now: Nanos, device: u32, id: u32, error: &ErrorReply<'_>) {
        let why = format!("{} {}: {}", error.code, error.name, error.message);
        match id {
            SYNC_ID => {
                self.count().command_errors += 1;
                self.reporter.note_trouble(&why);
                if let Some(session) = self.connections.session(device) {
                    session.give_up_catching_up();
                }
            }
            CONNECT_ID => {
                let expired = error.code == ErrorCode::PositionExpired.code();
                if expired && self.reconnects.forget_position(device) {
                    // The session stays open without the page, and history has the rest.
                    return self.ask_for_session(device);
                }
                self.failed(now, device, &why);
            }
            // Acknowledgements have no id, and may be repeated.
            0 if is_unsure(error) => self.dialogue.again.later(now, device),
            0 => {
                self.count().command_errors += 1;
                self.reporter.note_trouble(&why);
            }
            _ if is_unsure(error) => {
                let by_run = self.board.is_chaos(now);
                if !by_run {
                    self.reporter.note_trouble(&why);
                }
                self.checker.unsure(now, id, by_run);
                self.dialogue.again.later(now, device);
            }
            _ => {
                self.reporter.note_trouble(&why);
                self.checker.refused(now, id);
            }
        }
    }

    /// Asks for a page of events that were left out, or missed while away.
    fn ask_for_missed(&mut self, device: u32, since: &str) {
        let sync = Sync {
            since: since.into(),
            limit: Some(PAGE),
        };
        self.command(device, SYNC_ID, CommandBody::Sync(sync));
    }

    /// Handles a page of events that the gateway had left out.
    fn missed(&mut self, now: Nanos, device: u32, page: &SyncReply<'_>) {
        for push in &page.events {
            self.event(now, device, &push.event, Via::Sync);
        }
        let session = self.connections.session(device);
        if session.is_some_and(|session| session.note_page(page.more)) {
            self.ask_for_missed(device, &page.pos);
        }
    }

    /// Stores the position of the last push to a device.
    fn note_position(&mut self, device: u32, position: &str) {
        if let Some(session) = self.connections.session(device) {
            session.note_position(position);
        }
    }
}
