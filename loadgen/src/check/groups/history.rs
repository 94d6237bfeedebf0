//! Reading groups back and comparing.

use trunkline_proto::message::{HistoryReply, Message};

use super::super::evidence::{Kind, What};
use super::super::{Checker, NOBODY, Reading};
use crate::clock::Nanos;
use crate::schedule::mix;
use crate::schedule::text::GroupOrigin;

/// A number for "this message has this sequence"; XORed over a group it says which message is where,
/// whatever the order it was learned in.
pub(super) fn digest(group: u32, counter: u32, seq: u32) -> u64 {
    mix(mix(!(u64::from(group) << 32 | u64::from(counter))) ^ u64::from(seq))
}

impl Checker {
    /// Whether anything was sent in a group.
    pub(in crate::check) fn has_group_messages(&self, group: u32) -> bool {
        let state = &self.groups.states[group as usize];
        state.sent > state.refused
    }

    /// Compares a page; whether there are more.
    pub(in crate::check) fn read_group_back(
        &mut self,
        now: Nanos,
        group: u32,
        reading: &mut Reading,
        page: &HistoryReply<'_>,
    ) -> bool {
        let before = reading.after;
        if before == 0 {
            self.groups.orders.retain(|(of, _), _| *of != group);
        }
        for message in &page.messages {
            self.counters.messages_read += 1;
            if message.seq != reading.after + 1 {
                let after = reading.after;
                self.group_violation(now, Kind::HistoryMissing, (group, &[]), || {
                    format!("history goes from sequence {after} to {}", message.seq)
                });
            }
            reading.after = message.seq;
            match self.origin_in_group(message.text.as_deref().unwrap_or_default()) {
                Some(origin) => self.compare_in_group(now, group, reading, (message, origin)),
                None => self.group_violation(now, Kind::HistoryDiffers, (group, &[]), || {
                    format!(
                        "sequence {} of history is a message nobody sent",
                        message.seq
                    )
                }),
            }
        }
        // A page that does not lead on would be asked for again without end.
        reading.after > before && reading.after < page.last
    }

    fn compare_in_group(
        &mut self,
        now: Nanos,
        group: u32,
        reading: &mut Reading,
        (message, origin): (&Message<'_>, GroupOrigin),
    ) {
        let seq = message.seq as u32;
        if origin.group != group {
            return self.group_violation(now, Kind::HistoryDiffers, (group, &[]), || {
                format!("sequence {seq} of history is another conversation's")
            });
        }
        self.remember_in_group(now, What::History, origin, seq, NOBODY);
        let last = self.groups.orders.entry((group, origin.user)).or_default();
        if origin.counter <= *last {
            self.group_violation(now, Kind::HistoryDiffers, (group, &[]), || {
                format!(
                    "history has message {} a second time, or late",
                    origin.counter
                )
            });
        } else {
            *last = origin.counter;
        }
        reading.digest ^= digest(group, origin.counter, seq);
        self.expect_group(now, group, &message.conversation);
        self.is_as_sent_in_group(now, origin, message, Kind::HistoryDiffers);
        let Some(place) = self.groups.flights.find(group, origin.counter) else {
            return;
        };
        if self.found_in_group(now, place, seq) {
            return;
        }
        let flights = &mut self.groups.flights;
        if flights.at(place).awaiting != 0 || flights.at(place).lapsed {
            // Its device was gone, or its answer never came: history is where they would find it.
            flights.settle_all(place);
            let flight = flights.at(place);
            let lost = flight.judged && (flight.ack_seq != 0 || flight.adrift);
            flight.judged = true;
            self.counters.recovered += u64::from(!lost);
        }
        self.land_in_group(place);
    }

    /// A group has been read to its end.
    pub(in crate::check) fn read_group_whole(&mut self, now: Nanos, group: u32, reading: &Reading) {
        self.counters.conversations_read += 1;
        self.groups.orders.retain(|(of, _), _| *of != group);
        let state = &mut self.groups.states[group as usize];
        state.read = true;
        // A message without an answer may be there or not: what is there has been noted as if it
        // had been answered so.
        if state.digest != reading.digest {
            self.group_violation(now, Kind::HistoryMissing, (group, &[]), || {
                "history does not hold exactly what was acknowledged".into()
            });
        }
    }

    /// The gateway refused to show a group.
    pub(in crate::check) fn group_not_readable(&mut self, now: Nanos, group: u32, why: &str) {
        self.group_violation(now, Kind::HistoryMissing, (group, &[]), || {
            format!("history cannot be read: {why}")
        });
    }
}
