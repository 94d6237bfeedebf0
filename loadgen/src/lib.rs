//! The Trunkline load lab: replays scenarios of a messaging service against a gateway over real
//! WebSockets, checks every message, and prints figures that are either right or refused.
//!
//! The crate is a program; its only entry point is [`run`]. Inside, one direction of knowledge:
//! `args` and `scenario` say what is wanted, `run` resolves and conducts it, `schedule` says what
//! happens when (pure), `client` does it over sockets (one thread, one epoll each), `check` judges
//! every message (pure), `stats` and `health` measure, `live` shows that while it
//! goes on, `prometheus` tells it to scrapers, `report` tells people and programs. `hold` is
//! a run of its own kind, with memory measured from outside, `find_max` a row of runs; `recheck`
//! judges their results again, `compare` two sets of them, and `plan` does arithmetic alone.

mod args;
mod check;
mod client;
mod clock;
mod compare;
mod control_port;
mod exit;
mod files;
mod find_max;
mod foreign;
mod health;
mod hold;
mod live;
mod local_gateway;
mod membership;
mod output;
mod plan;
mod population;
mod prometheus;
mod recheck;
mod report;
mod run;
mod scenario;
mod schedule;
mod stats;
mod suggest;
mod tls;
mod tokens;
mod units;

pub use run::run;
