//! The incoming side of the loop: ready sockets, and answers and events of the gateway.

use trunkline_proto::connection::Event as Frame;
use trunkline_proto::message::{
    CommandBody, ErrorReply, Event, Message, Push, Reply, ReplyBody, ServerMessage, Sync, SyncReply,
};
use trunkline_proto::{CloseCode, Encoding, ErrorCode};

use super::Client;
use super::acknowledgements::Reader;
use super::commands::CONNECT_ID;
use super::connections::{ConnectionState, Progress, UpgradeAnswer};
use super::read_back;
use super::storms::StormLatency;
use crate::check::Via;
use crate::clock::Nanos;
use crate::stats::Metric;

/// The command id of `sync`: beyond the ids of sends, below those of history.
const SYNC_ID: u32 = 0x00ff_ff00;

/// The number of events per request: the most that the protocol allows in a page.
const PAGE: u32 = 500;

impl Client {
    /// A socket is ready.
    pub(super) fn ready(&mut self, device: u32, event: &mio::event::Event, buffer: &mut [u8]) {
        let now = self.clock.now();
        match self.connections.progress(device, event) {
            Ok(Progress::Unchanged) => {}
            Ok(Progress::Connecting) => return,
            Ok(Progress::Connected) => {
                let began = self.connections.upgrade(now, device);
                self.record_opening(Metric::Tcp, device, began, now);
            }
            Ok(Progress::Unblocked) => self.flush(now, device),
            Err(why) => {
                self.count().refused += 1;
                return self.failed(now, device, &why.to_string());
            }
        }
        if event.is_read_closed() {
            self.connections.note_read_closed(device);
        }
        if event.is_readable() || event.is_error() {
            self.readable(device, buffer);
        }
    }

    /// Records a step of opening a session for the first time.
    fn record_opening(&mut self, metric: Metric, device: u32, began: Option<Nanos>, now: Nanos) {
        let first = device != self.maker.device() && !self.reconnects.is_away(device);
        if let Some(began) = began.filter(|_| first) {
            self.latencies.record(metric, began, now);
        }
    }

    /// Reads a connection once; one with more to read comes again next turn.
    pub(super) fn readable(&mut self, device: u32, buffer: &mut [u8]) {
        let now = self.clock.now();
        let counters = self.checker.counters_mut();
        let received = self.connections.read(device, buffer, counters);
        if received.plain > 0 {
            self.received(now, device, &mut buffer[..received.plain]);
        }
        if let Some(why) = received.ended {
            self.failed(now, device, &why);
        }
    }

    fn received(&mut self, now: Nanos, device: u32, input: &mut [u8]) {
        if self.connections.state(device) != Some(ConnectionState::Upgrading) {
            return self.frames(now, device, input);
        }
        match self.connections.answer(device, input) {
            UpgradeAnswer::Incomplete => {}
            UpgradeAnswer::Accepted(mut frames) => {
                let began = self.connections.authenticate(now, device);
                self.record_opening(Metric::Upgrade, device, began, now);
                self.ask_for_session(device);
                self.frames(now, device, &mut frames);
            }
            UpgradeAnswer::Endless(size) => {
                let why = format!("the answer to the upgrade has no end after {size} bytes");
                self.failed(now, device, &why);
            }
            UpgradeAnswer::Refused { why, retry_after } => {
                self.count().refused_http += 1;
                if let Some(seconds) = retry_after {
                    self.reconnects.note_retry_after(device, seconds);
                }
                self.failed(now, device, &why);
            }
        }
    }

    fn frames(&mut self, now: Nanos, device: u32, mut input: &mut [u8]) {
        let encoding = self.connections.encoding();
        loop {
            match self.connections.event(device, &mut input) {
                Ok(None) => return,
                Ok(Some(Frame::Ping(payload))) => {
                    self.count().pings += 1;
                    self.connections.pong(device, &payload);
                }
                Ok(Some(Frame::Pong(_))) => {}
                Ok(Some(Frame::Close(code, reason))) => {
                    let code = code.map_or(0, |code| code.0);
                    self.note_close(device, code);
                    return self.failed(now, device, &format!("closed with {code} {reason}"));
                }
                Ok(Some(Frame::Message(_, payload))) => {
                    if let Err(why) = self.message(now, device, encoding, &payload) {
                        return self.failed(now, device, &why);
                    }
                }
                Err(why) => return self.failed(now, device, &why),
            }
        }
    }

    /// Notes why the gateway closes a session, where that is the gateway's state and not the
    /// session's.
    fn note_close(&mut self, device: u32, code: u16) {
        let count = self.count();
        count.overloaded += u64::from(code == CloseCode::OVERLOADED.0);
        count.no_pong += u64::from(code == CloseCode::NO_PONG.0);
        if CloseCode(code).reconnect() {
            self.reconnects.note_close(device);
        }
    }

    fn message(
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
            self.connections.note_position(device, position);
        }
    }

    /// Handles an event that belongs to the user's order of events.
    fn event(&mut self, now: Nanos, device: u32, event: &Event<'_>, via: Via) {
        match event {
            Event::Message(message) => self.arrived(now, device, message, via),
            Event::Receipt(receipt) => self.checker.receipt(now, device, receipt, via),
            Event::Gap(_) => {
                self.count().gaps += 1;
                if let Some(since) = self.connections.note_gap(device) {
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
            self.latencies.record(Metric::E2e, intended, now);
            let took = now.saturating_sub(intended);
            self.storms.record(device, StormLatency::E2e, took);
            if landing.in_group {
                self.latencies.record(Metric::E2eGroup, intended, now);
            }
            let in_time = now <= self.phases.sending().until;
            self.count().pushes_in_time += u64::from(in_time && via == Via::Push);
        }
        self.acknowledgements.arrived(Reader {
            stream: landing.reader,
            device,
        });
    }

    fn reply(&mut self, now: Nanos, device: u32, reply: &Reply<'_>) {
        let id = reply.id;
        if device == self.maker.device() && id != CONNECT_ID {
            return self.maker_answered(now, id, &reply.body);
        }
        let reading = read_back::place_of(id);
        match &reply.body {
            ReplyBody::Send(send) => {
                if let Some(intended) = self.checker.acknowledged(now, id, send) {
                    self.latencies.record(Metric::Ack, intended, now);
                    let took = now.saturating_sub(intended);
                    self.storms.record(device, StormLatency::Ack, took);
                    let in_time = now <= self.phases.sending().until;
                    self.count().acknowledged_in_time += u64::from(in_time);
                }
            }
            ReplyBody::Connect(connect) if id == CONNECT_ID => {
                self.connections.note_position(device, &connect.pos);
                self.opened(now, device, connect.recovered);
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
                self.connections.give_up_catching_up(device);
            }
            CONNECT_ID => {
                let expired = error.code == ErrorCode::PositionExpired.code();
                if expired && self.reconnects.forget_position(device) {
                    // The session stays open without the page, and history has the rest.
                    return self.ask_for_session(device);
                }
                self.failed(now, device, &why);
            }
            0 => {
                self.count().command_errors += 1;
                self.reporter.note_trouble(&why);
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
        self.connections
            .command(device, SYNC_ID, CommandBody::Sync(sync));
    }

    /// Handles a page of events that the gateway had left out.
    fn missed(&mut self, now: Nanos, device: u32, page: &SyncReply<'_>) {
        for push in &page.events {
            self.event(now, device, &push.event, Via::Sync);
        }
        if self.connections.note_page(device, page.more) {
            self.ask_for_missed(device, &page.pos);
        }
    }

    /// Handles the opening of a device's session.
    fn opened(&mut self, now: Nanos, device: u32, recovered: bool) {
        let Some(opened) = self.connections.opened(device) else {
            return;
        };
        if self.maker.is_working() {
            return self.maker_opened(now);
        }
        let returned = self.returned(now, device);
        let again = returned.is_some_and(|it| it.again);
        if again {
            self.latencies.record(Metric::Resume, opened.begun, now);
        } else {
            self.latencies.record(Metric::Auth, opened.asked, now);
            self.latencies.record(Metric::Connect, opened.begun, now);
        }
        let resumed = recovered && returned.is_some_and(|it| it.asked);
        let count = self.count();
        count.sessions += 1;
        count.sessions_opened += u64::from(!again);
        count.resumed += u64::from(again && resumed);
        count.not_recovered += u64::from(again && !resumed);
        match resumed {
            true => self.checker.back(now, device),
            false => self.checker.opened(now, device),
        }
        if let Some(returned) = returned {
            self.make_up(now, device, returned);
        }
    }
}
