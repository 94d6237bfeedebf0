//! The Trunkline load lab: replays scenarios of a messaging service against a gateway over real
//! WebSockets, checks every message, and prints figures that are either right or refused.
//!
//! The crate is a program. Its entry point is [`run`]; [`check_scenario`] is for fuzzing. Modules
//! use only modules below them in this table:
//!
//! | modules | what they do |
//! |---|---|
//! | `cli` | picks the command and turns its outcome into an exit code |
//! | `gate` | is a command of its own: counts instructions and bytes, and compares two builds by runs |
//! | `find_max`, `faults`, `hold`, `recheck`, `compare`, `peers`, `plan` | are separate commands: search for a rate by many runs, break clusters in many runs, hold idle sessions, judge results again, compare results, compare servers, compute a plan without a run |
//! | `run` | conducts one run: limits of the machine, gateway, threads, chaos, published results; leads a run of several machines, or plays a part of one |
//! | `agents` | what the machines of one run tell each other, over NATS |
//! | `baseline` | puts figures of an earlier run in the place of relative thresholds |
//! | `live`, `prometheus`, `events`, `report` | show a run: on the terminal, to scrapers, line by line, as files |
//! | `verdict` | judges what the threads measured |
//! | `settings` | merges command line and scenario, and checks them against this machine |
//! | `client` | plays the users of one thread over sockets: one thread, one epoll |
//! | `driver` | speaks the protocols of servers: bytes in, bytes and events out; pure |
//! | `couriers` | messages between the machines of one run, and the latencies between them; pure |
//! | `check` | checks every message and receipt; pure |
//! | `schedule` | decides which action happens at which time; pure |
//! | `scenario`, `args`, `membership`, `population`, `curve` | describe the wanted load, and compute its figures |
//! | `course`, `stats`, `health` | measure |

mod agents;
mod args;
mod baseline;
mod check;
mod cli;
mod client;
mod clock;
mod compare;
mod control_port;
mod couriers;
mod course;
mod curve;
mod debt;
mod driver;
mod events;
mod exit;
mod faults;
mod files;
mod find_max;
mod foreign;
mod gate;
mod health;
mod hold;
mod kept_port;
mod live;
mod local_cluster;
mod local_gateway;
mod membership;
mod output;
mod own_process;
mod peers;
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
