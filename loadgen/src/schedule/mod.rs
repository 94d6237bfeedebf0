//! What happens when: deterministic generators of intended times. Pure: no clock, no socket.
//!
//! A schedule is fixed by the scenario and its seed before anything is sent, and is never moved
//! to suit a slow gateway: whoever carries it out late is late.

mod arrivals;
mod cuts;
mod groups;
mod ramp;
pub(crate) mod text;

pub(crate) use crate::random::mix;
pub(crate) use arrivals::{Arrival, Arrivals, Senders};
pub(crate) use cuts::{Chosen, Churn, ChurnShape, Cut, Storm};
pub(crate) use groups::{Large, ToGroups};
pub(crate) use ramp::Ramp;

use crate::clock::Nanos;

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Action {
    /// Open the connection of this device of the part.
    Connect {
        /// The device.
        device: u32,
    },
    /// Send a message.
    Send(Arrival),
    /// End a session, to open it again.
    Cut(Cut),
}

/// An executor of one thread: actions at intended times, counted from the executor's start.
#[derive(Debug)]
pub(crate) enum Work {
    /// Opens connections along a ramp.
    Ramp(Ramp),
    /// Sends messages as they arrive.
    Arrivals(Arrivals),
    /// The same, and those in large groups besides.
    WithLarge(Arrivals, Large),
    /// Ends sessions all the time.
    Churn(Churn),
    /// Ends many sessions at once.
    Storm(Storm),
}

impl Work {
    /// When the next action is due; `None` when there are no more.
    pub(crate) fn due(&self) -> Option<Nanos> {
        match self {
            Self::Ramp(ramp) => ramp.due(),
            Self::Arrivals(arrivals) => arrivals.due(),
            Self::WithLarge(arrivals, large) => arrivals.due().into_iter().chain(large.due()).min(),
            Self::Churn(churn) => churn.due(),
            Self::Storm(storm) => storm.due(),
        }
    }

    /// Ends the work before all actions are taken. Returns how many messages were left, by the rate.
    pub(crate) fn give_up(&mut self) -> u64 {
        match self {
            Self::Arrivals(arrivals) => arrivals.give_up(),
            Self::WithLarge(arrivals, large) => arrivals.give_up() + large.give_up(),
            Self::Churn(churn) => {
                churn.give_up();
                0
            }
            // Each connection comes once, and a storm once to each.
            Self::Ramp(_) | Self::Storm(_) => 0,
        }
    }

    /// Takes the next action.
    pub(crate) fn take(&mut self) -> Option<Action> {
        match self {
            Self::Ramp(ramp) => ramp.take().map(|device| Action::Connect { device }),
            Self::Arrivals(arrivals) => arrivals.take().map(Action::Send),
            Self::WithLarge(arrivals, large) => {
                let first = match (arrivals.due(), large.due()) {
                    (Some(one), Some(other)) => one <= other,
                    (one, _) => one.is_some(),
                };
                let taken = if first { arrivals.take() } else { large.take() };
                taken.map(Action::Send)
            }
            Self::Churn(churn) => churn.take().map(Action::Cut),
            Self::Storm(storm) => storm.take().map(Action::Cut),
        }
    }
}
