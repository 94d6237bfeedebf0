//! Orders of operators: lists the streams of events, or ends them.
//!
//! A slice looks at everybody who waits. Their number is limited by that of the connections of the port,
//! and the thread that looks serves no clients.

use std::sync::Arc;

use trunkline_core::exchange::{Ending, Meant, Order, Seen, Slice, Task, Which};
use trunkline_core::ids::UserId;
use trunkline_proto::CloseCode;

use super::{Seat, Waiting};

impl Waiting {
    /// Carries out an order.
    pub(super) fn ordered(&self, order: Order) {
        let done = match order.task {
            Task::List(most) => self.list(&order.which, order.from, most),
            Task::End(ending) => Slice {
                ended: self.end(&order.which, ending),
                ..Slice::default()
            },
        };
        (order.tell)(done);
    }

    /// Lists streams in the order of their numbers, from a number on.
    fn list(&self, which: &Which, from: u32, most: usize) -> Slice {
        let mut seats = self.seats(which);
        // The upper half is the same for all streams of a run of the gateway.
        let number = |seat: &Arc<Seat>| seat.stay().number.map(|number| number as u32);
        seats.retain(|seat| number(seat).is_some_and(|number| number >= from));
        seats.sort_unstable_by_key(number);
        let next = seats.get(most).and_then(number);
        seats.truncate(most);
        Slice {
            seen: seats.iter().filter_map(|seat| seen(seat)).collect(),
            ended: 0,
            next,
        }
    }

    /// Ends streams, and requests too if their token is not good any more. Returns the number of streams.
    fn end(&self, which: &Which, ending: Ending) -> usize {
        let mut ended = 0;
        for seat in self.seats(which) {
            let is_session = seat.stay().number.is_some();
            let ends = is_session || ending.code == CloseCode::INVALID_TOKEN;
            if ends && seat.end(ending) && is_session {
                ended += 1;
            }
        }
        ended
    }

    /// Returns the places of all who are meant.
    fn seats(&self, which: &Which) -> Vec<Arc<Seat>> {
        let is = |user: UserId, seat: &Seat| {
            let stay = seat.stay();
            let meant = Meant {
                user,
                namespace: stay.names.namespace(),
                device: stay.names.device(),
                number: stay.number.unwrap_or(u64::MAX),
                token: stay.token,
            };
            // A request that waits has no number.
            let may_be_named = which.number.is_none() || stay.number.is_some();
            may_be_named && seat.ending().is_none() && which.is(&meant)
        };
        let mut found = Vec::new();
        for stripe in &self.stripes {
            for (user, seats) in &*stripe.lock() {
                found.extend(seats.iter().filter(|seat| is(*user, seat)).cloned());
            }
        }
        found
    }
}

fn seen(seat: &Seat) -> Option<Seen> {
    let stay = seat.stay();
    Some(Seen {
        number: stay.number?,
        user: stay.names.user().to_owned(),
        device: stay.names.device().to_owned(),
        namespace: stay.names.namespace().to_owned(),
        address: Some(stay.address.to_string()),
        form: "events",
        is_catching_up: false,
        waiting: 0,
    })
}
