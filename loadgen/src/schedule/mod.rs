//! The schedule: the intended time of each action. Its generators are deterministic and pure,
//! without a clock or a socket.
//!
//! The scenario and its seed fix the schedule before anything is sent. It never adapts to a slow
//! gateway: a late action counts as late.

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

/// An action of the schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Action {
    /// Open the connection of a device.
    Connect {
        /// The number of the device in the thread.
        device: u32,
    },
    /// Send a message.
    Send(Arrival),
    /// End a session, to open it again.
    Cut(Cut),
}

/// The work of an executor in one thread: actions at intended times, counted from the executor's
/// start.
#[derive(Debug)]
pub(crate) enum Work {
    /// Opens connections along a ramp.
    Ramp(Ramp),
    /// Sends messages as they arrive.
    Arrivals(Arrivals),
    /// Sends messages as they arrive, and messages in large groups besides.
    WithLarge(Arrivals, Large),
    /// Ends sessions all the time.
    Churn(Churn),
    /// Ends many sessions at once.
    Storm(Storm),
}

impl Work {
    /// Returns when the next action is due; `None` if all are taken.
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
