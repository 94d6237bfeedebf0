//! Watermarks in groups.
//!
//! A gateway tells everybody in small groups only, and may tell of several acknowledgements at once.
//! So nobody is owed a receipt here; but what is told must be true, and must not go back.

use fnv::FnvHashMap;
use trunkline_proto::message::Receipt;

use super::super::evidence::Kind;
use super::super::receipts::Marks;
use super::super::{Checker, Via, clip};
use crate::clock::Nanos;

/// Members of a group up to which it is kept what each device was told of each other member: two
/// words for each pair, where a gateway as it comes tells them. In a larger group receipts are
/// compared with what was acknowledged alone.
const KEPT: u32 = 16;

/// The watermarks in one thread's groups.
#[derive(Debug, Default)]
pub(super) struct GroupReceipts {
    /// By membership, what its user acknowledged; empty until somebody does.
    acknowledged: Vec<Marks>,
    /// By group, from the first receipt in it on: by seat and member, what the seat's device was told.
    told: FnvHashMap<u32, Vec<Marks>>,
    /// When a receipt last came, or an acknowledgement went.
    last: Nanos,
}

impl Checker {
    /// What to acknowledge for a membership, having got what came to its user and, where asked, read
    /// it; `None` where it has been said.
    pub(crate) fn acknowledge_in_group(
        &mut self,
        now: Nanos,
        membership: u32,
        read: bool,
    ) -> Option<Marks> {
        let groups = &mut self.groups;
        let group = groups.members.group(membership)?;
        let user = groups.members.user(membership);
        let first = self.part.first_device(user);
        let devices = first..first + self.part.device_count(user);
        let got = devices.map(|device| {
            let at = groups.line(&self.part, group, device);
            let synced = groups.synced.get(&at).copied().unwrap_or(0);
            groups.last_pushed[at].max(synced)
        });
        let got = got.max().unwrap_or(0);
        let all = groups.members.count();
        let receipts = &mut groups.receipts;
        if receipts.acknowledged.is_empty() {
            receipts.acknowledged.resize(all, Marks::default());
        }
        let said = &mut receipts.acknowledged[membership as usize];
        let next = Marks {
            delivered: got.max(said.delivered),
            read: if read { got.max(said.read) } else { said.read },
        };
        if *said == next {
            return None;
        }
        *said = next;
        receipts.last = now;
        self.counters.receipts_sent += 1;
        Some(next)
    }

    /// What has been acknowledged for a membership, to be said again.
    pub(crate) fn acknowledged_in_group_so_far(&mut self, membership: u32) -> Option<Marks> {
        let said = &self.groups.receipts.acknowledged;
        let said = *said.get(membership as usize)?;
        if said == Marks::default() {
            return None;
        }
        self.counters.receipts_sent += 1;
        Some(said)
    }

    /// When receipts in groups were last sent or told of.
    pub(crate) fn last_group_receipt(&self) -> Nanos {
        self.groups.receipts.last
    }

    /// A receipt in a group came to a device.
    pub(in crate::check) fn receipt_in_group(
        &mut self,
        now: Nanos,
        device: u32,
        receipt: &Receipt<'_>,
        via: Via,
    ) {
        let groups = &mut self.groups;
        groups.receipts.last = now;
        let known = groups.members.parse_conversation(&receipt.conversation);
        let reader = self.part.parse_user(&receipt.user);
        let own = self.part.user_of(device);
        let places = known.zip(reader).and_then(|(group, reader)| {
            let nth = groups.members.nth(group, reader)?;
            Some((group, nth, groups.members.nth(group, own)?))
        });
        let Some((group, nth, here)) = places else {
            return self.violation(now, Kind::ReceiptWrong, None, || {
                format!(
                    "a receipt of {:?} in {:?}, where not both are members",
                    clip(&receipt.user),
                    clip(&receipt.conversation)
                )
            });
        };
        let marks = Marks {
            delivered: u32::try_from(receipt.delivered).unwrap_or(u32::MAX),
            read: u32::try_from(receipt.read).unwrap_or(u32::MAX),
        };
        let membership = groups.members.membership(group, nth) as usize;
        let said = groups.receipts.acknowledged.get(membership);
        let said = said.copied().unwrap_or_default();
        let mut before = Marks::default();
        let size = groups.members.size(group);
        // What `sync` tells may have been told, and be told again.
        if via == Via::Push && size <= KEPT {
            let seat = groups.seats.seat(&self.part, here, device);
            let all = size
                * groups
                    .seats
                    .seat(&self.part, size, self.part.first_device(own));
            let told = groups.receipts.told.entry(group).or_default();
            told.resize((all as usize).max(told.len()), Marks::default());
            let told = &mut told[(seat * size + nth) as usize];
            before = std::mem::replace(told, told.max(marks));
        }
        if !said.covers(marks) || !marks.covers(before) {
            let name = self.device_name(device);
            self.group_violation(now, Kind::ReceiptWrong, (group, &[device]), || {
                format!(
                    "{name} was told {marks:?} of {:?} behind {before:?}, while {said:?} was \
                     acknowledged",
                    clip(&receipt.user)
                )
            });
        }
    }
}
