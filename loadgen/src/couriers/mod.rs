//! Messages between the agents of a run, and the latencies between them as far as clocks are known.
//!
//! Both ends of a user's conversation are on one agent. So each agent has one user more, its courier, and
//! the couriers of a run write to each other, each to all others in turn.
//!
//! | part | what it knows |
//! |---|---|
//! | `letters` | who writes to whom and when, what the texts say, and what came to one courier |
//! | `between` | what all couriers sent and got, compared |
//!
//! All of it is without I/O: `client::courier` has the sessions, and `run::lead` the reports of all agents.

mod between;
mod letters;

pub(crate) use between::{Between, Known};
pub(crate) use letters::{AGENTS_MAX, CourierReport, EVERY, Letter, OPEN_MAX, Seat, user};
