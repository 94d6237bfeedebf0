//! The end of the sessions of a node that may have missed something.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use trunkline_core::exchange::{Ending, Mail, Mailbox, Order, Task, Which};
use trunkline_proto::CloseCode;

/// What the clients are told.
const ENDING: Ending = Ending {
    code: CloseCode::SERVER_ERROR,
    reason: "this gateway could not tell what a commit was about: connect again, and catch up",
    reconnect: true,
};

/// The place at which the first slice begins.
const FIRST: u32 = 0;

/// Ends all sessions of a node, slice by slice, as an operator's order does. Clients come back and catch up.
pub(super) struct Endings {
    /// The mailboxes of the shards and of the client API over HTTP, which have sessions.
    owners: Vec<Arc<Mailbox>>,
    /// The number of the present round.
    round: u64,
    /// What each owner has to do; as many as there are owners.
    steps: Vec<Step>,
    done: Receiver<Done>,
    to_done: Sender<Done>,
}

/// The end of a slice: the owner, the round, and the place at which to go on.
type Done = (usize, u64, Option<u32>);

/// What an owner of sessions has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Rests,
    /// End the sessions of the slice that begins here.
    Next(u32),
    /// An order is on its way.
    Ordered,
    /// An order of an earlier round is on its way, and then everything is to be done.
    Anew,
}

impl Endings {
    /// Returns that of these owners. Nothing is to be done.
    pub(super) fn new(owners: Vec<Arc<Mailbox>>) -> Self {
        // An owner has one order at a time.
        let (to_done, done) = bounded(owners.len().max(1));
        Self {
            round: 0,
            steps: vec![Step::Rests; owners.len()],
            owners,
            done,
            to_done,
        }
    }

    /// Begins to end all sessions that there are.
    pub(super) fn begin(&mut self) {
        self.round += 1;
        for step in &mut self.steps {
            *step = match step {
                Step::Rests | Step::Next(_) => Step::Next(FIRST),
                Step::Ordered | Step::Anew => Step::Anew,
            };
        }
    }

    /// Returns whether there are sessions to end.
    pub(super) fn is_under_way(&self) -> bool {
        self.steps.iter().any(|step| *step != Step::Rests)
    }

    /// Goes on. Call it now and then while sessions are to be ended.
    pub(super) fn go_on(&mut self) {
        while let Ok((owner, round, next)) = self.done.try_recv() {
            self.steps[owner] = match next {
                _ if round < self.round => Step::Next(FIRST),
                Some(from) => Step::Next(from),
                None => Step::Rests,
            };
        }
        for owner in 0..self.owners.len() {
            let Step::Next(from) = self.steps[owner] else {
                continue;
            };
            let order = self.order(owner, from);
            self.steps[owner] = match self.owners[owner].offer(Mail::Order(Box::new(order))) {
                Ok(()) => Step::Ordered,
                Err(_) if self.owners[owner].is_closed() => Step::Rests,
                // Its mailbox is full: it gets the order later.
                Err(_) => Step::Next(from),
            };
        }
    }

    fn order(&self, owner: usize, from: u32) -> Order {
        let (to_done, round) = (self.to_done.clone(), self.round);
        Order {
            which: Which::default(),
            from,
            task: Task::End(ENDING),
            tell: Box::new(move |slice| {
                // There is room for one of each owner.
                let _ = to_done.try_send((owner, round, slice.next));
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_core::exchange::{Slice, Wake};

    #[derive(Debug)]
    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    fn order_of(owner: &Mailbox) -> Order {
        let Some(Mail::Order(order)) = owner.take() else {
            panic!("an order");
        };
        *order
    }

    fn done(order: Order, next: Option<u32>) {
        (order.tell)(Slice {
            next,
            ..Slice::default()
        });
    }

    #[test]
    fn each_owner_ends_all_of_its_sessions_slice_by_slice() {
        let owner = || Arc::new(Mailbox::new(Box::new(Nobody)));
        let owners = [owner(), owner()];
        let mut endings = Endings::new(owners.to_vec());
        endings.go_on();
        assert!(!endings.is_under_way() && owners[0].take().is_none());
        endings.begin();
        endings.go_on();
        let [first, second] = [order_of(&owners[0]), order_of(&owners[1])];
        assert_eq!((first.from, second.from), (0, 0));
        assert!(matches!(first.task, Task::End(ending) if ending.reconnect));
        endings.go_on();
        assert!(owners[0].take().is_none(), "one order at a time");
        done(first, Some(7));
        done(second, None);
        endings.go_on();
        let first = order_of(&owners[0]);
        assert!(first.from == 7 && owners[1].take().is_none());
        // Again, before the first round is over.
        endings.begin();
        endings.go_on();
        assert_eq!(order_of(&owners[1]).from, 0);
        done(first, Some(9));
        endings.go_on();
        let first = order_of(&owners[0]);
        assert_eq!(first.from, 0, "from the beginning");
        done(first, None);
        owners[1].close();
        endings.go_on();
        assert!(endings.is_under_way(), "the second owner says nothing");
    }
}
