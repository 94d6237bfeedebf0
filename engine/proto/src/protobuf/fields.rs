//! The fields of every message, by their numbers in `trunkline.proto`.

mod command;
mod manage;
mod server;
