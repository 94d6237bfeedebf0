//! Tests of the whole load generator, against fake gateways that lie, fail or are slow, and against
//! the real gateway.

mod chaos;
mod chat;
mod cli;
mod compare;
mod doctor;
mod emulator;
mod fake;
mod fake_conduct;
mod fake_groups;
mod fake_log;
mod fake_session;
mod fake_world;
mod figures;
mod find_max;
mod foreign;
mod groups;
mod habits;
mod harness;
mod hold;
mod live;
mod local;
mod nothing;
mod omission;
mod pages;
mod pauses;
mod peers;
mod prometheus;
mod report;
mod sessions;
mod side;
mod starved;
mod tls;
mod tokens;
mod troubles;
mod verdicts;
