//! Sending and acknowledging in groups.

use trunkline_proto::message::{Ack, CommandBody, Send};

use super::Client;
use crate::check::{GroupDeparture, Marks, group_sender, sender};
use crate::clock::Nanos;
use crate::schedule::Arrival;

impl Client {
    /// The membership of an arrival's stream or of a reader; `None` where that is between two.
    pub(super) fn membership(&self, stream: u32) -> Option<u32> {
        stream.checked_sub(self.streams)
    }

    /// The device that an arrival is sent from.
    pub(super) fn sender_of(&self, arrival: Arrival) -> u32 {
        let checker = &self.job.checker;
        match self.membership(arrival.stream) {
            Some(membership) => group_sender(&checker.part, checker.members(), membership),
            None => sender(&checker.part, arrival.stream),
        }
    }

    /// Hands a message in a group to its open session; false where too many are under way.
    pub(super) fn hand_over_in_group(
        &mut self,
        now: Nanos,
        intended: Nanos,
        (membership, keyed): (u32, bool),
        device: u32,
    ) -> bool {
        let checker = &mut self.job.checker;
        let departure = checker.depart_in_group(now, (membership, keyed), intended, device);
        let Some(departure) = departure else {
            self.count().skipped += 1;
            return false;
        };
        self.write_group_send(device, departure, keyed);
        true
    }

    /// Writes the command of a send in a group.
    fn write_group_send(&mut self, device: u32, departure: GroupDeparture, keyed: bool) {
        let (mut name, mut text, mut key) = (
            std::mem::take(&mut self.name),
            std::mem::take(&mut self.text),
            std::mem::take(&mut self.key),
        );
        let checker = &self.job.checker;
        let (members, origin) = (checker.members(), departure.origin);
        name.clear();
        members.write_name(origin.group, &mut name);
        checker
            .texts
            .write_in_group(&checker.part, members, origin, &mut text);
        if keyed {
            checker
                .texts
                .write_group_key(members, origin.group, origin.counter, &mut key);
        }
        let send = Send {
            group: Some((&*name).into()),
            key: keyed.then_some((&*key).into()),
            text: Some((&*text).into()),
            ..Send::default()
        };
        self.command(device, departure.id, CommandBody::Send(send));
        (self.name, self.text, self.key) = (name, text, key);
    }

    /// Makes the sends in groups again that a session which is back had no answer to.
    pub(super) fn send_again_in_groups(&mut self, device: u32) {
        while let Some(again) = self.job.checker.send_again_in_group(device) {
            self.write_group_send(device, again, true);
        }
    }

    /// Acknowledges again in all groups, now that a session is back.
    pub(super) fn acknowledge_groups_again(&mut self, at: Nanos, device: u32) {
        let checker = &self.job.checker;
        let members = std::sync::Arc::clone(checker.members());
        let user = checker.part.user_of(device);
        for round in 0..members.rounds() {
            let Some(membership) = members.in_round(round, user) else {
                continue;
            };
            if let Some(marks) = self.job.checker.acknowledged_in_group_so_far(membership) {
                self.write_group_ack(membership, device, marks, marks.read > 0);
                let reader = self.streams + membership;
                self.to_read.push_back((at, reader, device));
            }
        }
    }

    /// Acknowledges what has arrived for a membership.
    pub(super) fn acknowledge_in_group(&mut self, membership: u32, device: u32, read: bool) {
        let now = self.job.clock.now();
        let checker = &mut self.job.checker;
        if let Some(marks) = checker.acknowledge_in_group(now, membership, read) {
            self.write_group_ack(membership, device, marks, read);
        }
    }

    fn write_group_ack(&mut self, membership: u32, device: u32, marks: Marks, read: bool) {
        let members = self.job.checker.members();
        let Some(group) = members.group(membership) else {
            return;
        };
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        name.push_str("g:");
        self.job.checker.members().write_name(group, &mut name);
        let ack = Ack {
            conversation: (&*name).into(),
            delivered: Some(u64::from(marks.delivered)),
            read: read.then_some(u64::from(marks.read)),
        };
        // Without an id: only a refusal is answered.
        self.command(device, 0, CommandBody::Ack(ack));
        self.name = name;
    }
}
