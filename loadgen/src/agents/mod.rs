//! Several generator machines that play one run together, over NATS.
//!
//! One program leads a run (`loadgen run --agents N --nats URL`), the others are agents (`loadgen agent
//! --nats URL`). The lead gives each agent its part of the scenario, begins on all of them at one time, lets
//! an executor begin when the one before it has ended everywhere, and judges what all measured together.
//!
//! This module has what both sides need: `split` deals threads, `clocks` compares clocks, `wire` has the
//! messages, `pieces` cuts long ones, `line` is the connection. `run::lead` and `run::agent` are the two
//! sides.

pub(crate) mod clocks;
pub(crate) mod line;
pub(crate) mod pieces;
mod split;
pub(crate) mod wire;

pub(crate) use split::{ThreadRange, deal};
