//! The dialogue with a gateway, in its own protocol: everything can be checked.
//!
//! | part | what it knows |
//! |---|---|
//! | [`Acknowledgements`] | due acknowledgements |
//! | [`Again`] | sends to repeat, because their answers left open whether they were stored |
//! | [`ReadBack`] | conversations that are being read back |
//! | [`GroupMaker`] | groups, made before the users connect |
//! | [`Commands`] | commands, built in buffers that are used again |

mod acknowledgements;
mod again;
mod commands;
mod group_maker;
mod groups;
mod incoming;
mod outgoing;
mod read_back;
mod reading;

use std::sync::Arc;

use trunkline_proto::message::CommandBody;

use super::connections::Connections;
use super::dialogue::Dialogue;
use super::phases::{SETTLE, Stage};
use super::reconnects::Return;
use super::{Client, READ_BACK};
use crate::check::{Checker, Departure, Judge};
use crate::clock::{Nanos, SECOND};
use crate::driver::Line;
use crate::driver::gateway::Trunkline;
use crate::driver::websocket::Payload;
use crate::tokens::Signer;

use acknowledgements::Acknowledgements;
use again::Again;
use commands::Commands;
use group_maker::GroupMaker;
use read_back::ReadBack;

/// The time without a sent or received receipt after which the receipts of groups count as
/// complete. No message waits for a receipt in a group.
const GROUP_QUIET: Nanos = SECOND / 2;

/// What a thread needs to play a scenario in the gateway's own protocol.
#[derive(Debug)]
pub(crate) struct FullPlay {
    pub(crate) checker: Checker,
    pub(crate) driver: Trunkline,
    /// The signer of the users' tokens; without it, users connect without tokens.
    pub(crate) signer: Option<Arc<Signer>>,
    /// The time from arrival to reading; `None` if recipients acknowledge nothing.
    pub(crate) receipts: Option<Nanos>,
    /// One conversation in this many is read back; 0 reads back none.
    pub(crate) read_back_every: u64,
}

/// The dialogue with a gateway.
#[derive(Debug)]
pub(super) struct Full {
    signer: Option<Arc<Signer>>,
    acknowledgements: Acknowledgements,
    again: Again,
    read_back: ReadBack,
    maker: GroupMaker,
    commands: Commands,
}

impl Full {
    /// Makes the dialogue of a thread, with what judges it and what drives its connections.
    pub(super) fn new(play: FullPlay, seed: u64) -> (Self, Checker, Trunkline) {
        // The last device is the one that makes groups.
        let roster = play.checker.roster();
        let (maker, readers) = (roster.part().devices(), roster.streams());
        let full = Self {
            signer: play.signer,
            acknowledgements: Acknowledgements::new(play.receipts, readers),
            again: Again::default(),
            read_back: ReadBack::new(play.read_back_every, seed),
            maker: GroupMaker::new(maker),
            commands: Commands::default(),
        };
        (full, play.checker, play.driver)
    }
}

/// Appends a command to what a device's connection is to write.
fn command(connections: &mut Connections<Trunkline>, device: u32, id: u32, body: CommandBody<'_>) {
    connections.write(device, |driver, line| driver.command(line.out, id, body));
}

impl Client<Full> {
    fn command(&mut self, device: u32, id: u32, body: CommandBody<'_>) {
        command(&mut self.connections, device, id, body);
    }
}

impl Dialogue for Full {
    type Driver = Trunkline;
    type Judge = Checker;

    fn prepare(client: &mut Client<Self>, now: Nanos) -> bool {
        client.make_groups(now);
        !client.dialogue.maker.has_failed()
    }

    fn prepared_in(&self) -> Nanos {
        self.maker.took()
    }

    fn is_helper(&self, device: u32) -> bool {
        device == self.maker.device()
    }

    fn helper_failed(client: &mut Client<Self>, why: &str) {
        client.not_made(why);
    }

    fn connected(client: &mut Client<Self>, device: u32) {
        let target = client.connections.target_of(device);
        let upgrade = |driver: &mut Trunkline, line: Line<'_, _, _>| driver.upgrade(line, target);
        client.connections.write(device, upgrade);
    }

    fn ready(client: &mut Client<Self>, _now: Nanos, device: u32) {
        client.ask_for_session(device);
    }

    fn said(
        client: &mut Client<Self>,
        now: Nanos,
        device: u32,
        said: Payload<'_>,
    ) -> Result<(), String> {
        let encoding = client.connections.driver().encoding();
        client.message(now, device, encoding, &said)
    }

    fn closed(client: &mut Client<Self>, device: u32, code: u16) {
        client.note_close(device, code);
    }

    fn enter(
        client: &mut Client<Self>,
        now: Nanos,
        device: u32,
        returned: Option<Return>,
        recovered: bool,
    ) {
        let again = returned.is_some_and(|it| it.again);
        let recovered = recovered && returned.is_some_and(|it| it.asked);
        let count = client.count();
        count.resumed += u64::from(again && recovered);
        count.not_recovered += u64::from(again && !recovered);
        match recovered {
            true => client.checker.back(now, device),
            false => client.checker.opened(now, device),
        }
    }

    fn make_up(client: &mut Client<Self>, now: Nanos, device: u32) {
        while let Some(again) = client.checker.send_again(now, device) {
            Self::write_send(client, device, again, true);
        }
        client.send_held(now, device);
        if client.dialogue.acknowledgements.is_wanted() {
            client.acknowledge_again(now, device);
        }
    }

    fn write_send(client: &mut Client<Self>, device: u32, departure: Departure, keyed: bool) {
        client.write_send(device, departure, keyed);
    }

    fn turn(client: &mut Client<Self>, now: Nanos) {
        client.acknowledge(now);
        client.repeat(now);
    }

    fn due(&self) -> Option<Nanos> {
        let due = [self.acknowledgements.due(), self.again.due()];
        due.into_iter().flatten().min()
    }

    fn is_settled(client: &mut Client<Self>, now: Nanos) -> bool {
        let checker = &mut client.checker;
        let last = checker.last_group_receipt();
        let quiet = last == 0 || now >= last + GROUP_QUIET;
        quiet
            && client.dialogue.acknowledgements.is_empty()
            && client.dialogue.again.is_empty()
            && (checker.settled(now) || checker.only_doubts(now))
    }

    fn judge(client: &mut Client<Self>, now: Nanos, until: Nanos) {
        client.phases.enter(Stage::Reading {
            until: now + READ_BACK,
            owed: until.max(now + SETTLE),
        });
        client.nobody_comes_back(now);
        client.checker.close(now);
        client.read_more();
    }

    fn read(client: &mut Client<Self>, now: Nanos, until: Nanos, owed: Nanos) {
        client.reassign();
        let owed = now < owed && client.checker.still_owed(now);
        if (client.dialogue.read_back.is_idle() && !owed) || now >= until {
            for _ in 0..client.dialogue.read_back.end_all() {
                client.checker.not_read();
            }
            client.finish(now);
        }
    }
}
