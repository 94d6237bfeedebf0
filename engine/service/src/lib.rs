//! The Trunkline connection gateway: the program, its settings, and the start and stop of its
//! parts.
//!
//! The parts are in other packages: `trunkline_gateway` has the event loops with their connections,
//! `trunkline_core` what is stored, decided and read.
//!
//! The program is [`cli::run`]; [`gateway::Gateway`] is the same without a command line.

mod admin;
mod backup;
mod causes;
pub mod cli;
mod cluster_command;
pub mod config;
mod control;
pub mod doctor;
mod file_sizes;
pub mod gateway;
mod health;
mod heap;
mod http;
mod log;
mod log_filter;
pub mod manual;
mod metrics;
mod nodes;
mod ports;
mod print;
mod record_line;
mod reload;
mod service;
mod signals;
mod store_command;
mod store_watch;
mod threads;
