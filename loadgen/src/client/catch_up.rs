//! Catching up: what a slow reader missed is fetched with `sync`.
//!
//! A gateway that cannot get rid of its pushes drops them and says so with one `gap`. That is no
//! loss but work for the client: it asks for everything since the last position it saw, page by
//! page, while live pushes go on.

use trunkline_proto::message::{CommandBody, Event, Message, Sync, SyncReply};

use super::Client;
use super::conn::CatchUp;
use crate::check::Via;
use crate::clock::Nanos;
use crate::stats::Metric;

/// The command id of `sync`: beyond the ids of sends, below those of history.
pub(super) const SYNC_ID: u32 = 0x00ff_ff00;

/// Events asked for at a time: the most that the protocol has in a page.
const PAGE: u32 = 500;

impl Client {
    /// An event that belongs to the user's order of events.
    pub(super) fn event(&mut self, now: Nanos, device: u32, event: &Event<'_>, via: Via) {
        match event {
            Event::Message(message) => self.arrived(now, device, message, via),
            Event::Receipt(receipt) => self.job.checker.receipt(now, device, receipt, via),
            Event::Gap(_) => self.gap(device),
            // What follows is live, which is told apart by sequence here.
            Event::CaughtUp(_) => {}
            Event::Group(_) => self.count().group_changes += 1,
            Event::Disconnect(why) => {
                self.reconnects.heard(device, why);
                // What follows from the run's own doing is no trouble.
                if !self.reconnects.is_away(device) && !self.job.board.is_chaos(now) {
                    let said = format!("told to disconnect: {} {}", why.code, why.reason);
                    self.note_trouble(&said);
                }
            }
            other => {
                self.note_trouble(&format!("told what no load of ours causes: {other:?}"));
            }
        }
    }

    fn arrived(&mut self, now: Nanos, device: u32, message: &Message<'_>, via: Via) {
        let Some(landing) = self.job.checker.pushed(now, device, message, via) else {
            return;
        };
        if let Some(intended) = landing.intended {
            self.latencies.record(Metric::E2e, intended, now);
            self.record_in_storm(device, intended, now, false);
            if landing.in_group {
                self.latencies.record(Metric::E2eGroup, intended, now);
            }
            let in_time = now <= self.sending.1;
            self.count().pushes_in_time += u64::from(in_time && via == Via::Push);
        }
        let reader = landing.reader as usize;
        if self.job.receipts.is_some() && !self.is_fresh[reader] {
            self.is_fresh[reader] = true;
            self.fresh.push((landing.reader, device));
        }
    }

    /// Keeps the position of the last push (at first that of the session's opening), in the
    /// buffer that is there.
    ///
    /// The positions in answers to `send` do not count: answers are never left out, so they run
    /// ahead of pushes that were, and asking from there would miss those.
    pub(super) fn at(&mut self, device: u32, pos: &str) {
        if let Some(conn) = &mut self.conns[device as usize] {
            conn.pos.clear();
            conn.pos.push_str(pos);
        }
    }

    /// Live pushes were left out behind the last position.
    fn gap(&mut self, device: u32) {
        self.count().gaps += 1;
        let Some(conn) = &mut self.conns[device as usize] else {
            return;
        };
        if conn.catching_up.is_some() {
            conn.catching_up = Some(CatchUp::Again);
            return;
        }
        conn.catching_up = Some(CatchUp::Once);
        let since = conn.pos.clone();
        self.fetch(device, &since);
    }

    fn fetch(&mut self, device: u32, since: &str) {
        let sync = Sync {
            since: since.into(),
            limit: Some(PAGE),
        };
        self.command(device, SYNC_ID, CommandBody::Sync(sync));
    }

    /// A page of what was missed.
    pub(super) fn caught(&mut self, now: Nanos, device: u32, page: &SyncReply<'_>) {
        for push in &page.events {
            self.event(now, device, &push.event, Via::Sync);
        }
        let Some(conn) = &mut self.conns[device as usize] else {
            return;
        };
        let again = conn.catching_up == Some(CatchUp::Again);
        conn.catching_up = (page.more || again).then_some(match page.more {
            true if again => CatchUp::Again,
            _ => CatchUp::Once,
        });
        if conn.catching_up.is_some() {
            self.fetch(device, &page.pos);
        }
    }

    /// What was missed cannot be had.
    pub(super) fn not_caught(&mut self, device: u32, why: &str) {
        self.count().command_errors += 1;
        self.note_trouble(why);
        if let Some(conn) = &mut self.conns[device as usize] {
            conn.catching_up = None;
        }
    }
}
