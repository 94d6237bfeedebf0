//! Making the groups of a thread, and how the loop does it.

use trunkline_proto::message::ReplyBody;

use super::super::Client;
use super::group_maker::{Cast, MakerTurn};
use super::{Full, command};
use crate::check::Judge;
use crate::clock::Nanos;
use crate::stats::Counters;

impl Client<Full> {
    /// Begins to make groups, or continues.
    pub(super) fn make_groups(&mut self, now: Nanos) {
        let groups = self.checker.roster().members().groups();
        match self
            .dialogue
            .maker
            .turn(now, self.board.has_groups(), groups)
        {
            MakerTurn::Wait => {}
            MakerTurn::Connect => self.connect(now, self.dialogue.maker.device()),
            MakerTurn::NothingToMake => self.board.made(now),
            MakerTurn::Silent => self.not_made("the gateway does not answer"),
        }
    }

    /// Ends the run, because the groups cannot be made.
    pub(super) fn not_made(&mut self, why: &str) {
        let why = format!("the run's groups cannot be made: {why}");
        self.reporter.note_trouble(&why);
        self.dialogue.maker.fail();
    }

    /// The session that makes groups is open.
    pub(super) fn maker_opened(&mut self, now: Nanos) {
        let cast = Cast {
            part: self.checker.roster().part(),
            members: self.checker.roster().members(),
        };
        let device = self.dialogue.maker.device();
        let connections = &mut self.connections;
        connections.opened(device);
        self.dialogue.maker.opened(now, cast, |id, body| {
            command(connections, device, id, body);
        });
    }

    /// Handles an answer to the session that makes groups.
    pub(super) fn maker_answered(&mut self, now: Nanos, id: u32, body: &ReplyBody<'_>) {
        let cast = Cast {
            part: self.checker.roster().part(),
            members: self.checker.roster().members(),
        };
        let device = self.dialogue.maker.device();
        let connections = &mut self.connections;
        let made = self
            .dialogue
            .maker
            .answered(now, id, body, cast, |id, body| {
                command(connections, device, id, body);
            });
        match made {
            Ok(false) => {}
            Ok(true) => self.groups_made(now),
            Err(why) => self.not_made(&why),
        }
    }

    /// Notes that all groups of this thread are made. The figures of the run begin.
    fn groups_made(&mut self, now: Nanos) {
        self.connections.close(self.dialogue.maker.device());
        let members = self.checker.roster().members();
        let (groups_made, group_members) = (u64::from(members.groups()), members.members());
        *self.count() = Counters {
            groups_made,
            group_members,
            ..Counters::default()
        };
        self.board.made(now);
    }
}
