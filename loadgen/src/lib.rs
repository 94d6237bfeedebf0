//! The Trunkline load lab: replays scenarios of a messaging service against a gateway over real
//! WebSockets, checks every message, and prints figures that are either right or refused.
//!
//! The crate is a program. Its entry point is [`run`]; [`check_scenario`] is for fuzzing. Modules
//! know each other in one direction only, from the top of this table to its end:
//!
//! | modules | what they do |
//! |---|---|
//! | `cli` | picks the command and turns its outcome into an exit code |
//! | `find_max`, `hold`, `recheck`, `compare`, `plan` | commands of their own: a search by many runs, idle sessions with their memory, results judged again, results compared, arithmetic without a run |
//! | `run` | conducts one run: limits of the machine, gateway, threads, chaos, published results |
//! | `live`, `prometheus`, `report` | show a run: on the terminal, to scrapers, as files |
//! | `verdict` | judges what the threads measured |
//! | `settings` | the command line over the scenario, checked against this machine |
//! | `client` | plays the users of one thread over sockets: one thread, one epoll |
//! | `check` | checks every message and receipt; pure |
//! | `schedule` | decides what happens when; pure |
//! | `scenario`, `args`, `membership`, `population`, `curve` | what is wanted, and arithmetic on it |
//! | `course`, `stats`, `health` | measure |

mod args;
mod check;
mod cli;
mod client;
mod clock;
mod compare;
mod control_port;
mod course;
mod curve;
mod exit;
mod files;
mod find_max;
mod foreign;
mod health;
mod hold;
mod live;
mod local_gateway;
mod manual;
mod membership;
mod output;
mod plan;
mod population;
mod prometheus;
mod random;
mod recheck;
mod report;
mod run;
mod scenario;
mod schedule;
mod settings;
mod stats;
mod suggest;
mod tls;
mod tokens;
mod units;
mod verdict;

pub use cli::run;
pub use scenario::check_scenario;
