//! What a message costs: the subjects whose instructions `loadgen gate` counts, and exact numbers of bytes.
//!
//! The program does work and counts none. `gate-counts list` prints a line for each subject: its name,
//! the function that valgrind is to count, and two numbers of messages. `loadgen gate` runs each subject
//! with both numbers under callgrind. The difference is the price of the messages between them, without
//! that of the start. `gate-counts bytes` prints a line for each number of bytes, or why there is none.
//!
//! Features choose parts: an older commit may lack what a part needs.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

#[cfg(feature = "gateway")]
mod bytes;
#[cfg(feature = "gateway")]
mod client;
#[cfg(any(feature = "gateway", feature = "store"))]
mod folder;
#[cfg(feature = "gateway")]
mod gateway;
#[cfg(feature = "proto")]
mod proto;
#[cfg(feature = "store")]
mod store;

use std::process::ExitCode;

use anyhow::{Context, bail};

/// Work of which the instructions are counted.
struct Subject {
    name: &'static str,
    /// The function whose instructions count, with all that it calls, as callgrind's `--toggle-collect`
    /// takes it. Other threads do not count.
    counted: &'static str,
    /// The numbers of messages of the two runs.
    messages: [u64; 2],
    work: fn(u64) -> anyhow::Result<()>,
}

/// The length of each text, in bytes.
const TEXT: usize = 120;

/// The function of a subject that works on the first thread.
const HERE: &str = "*gate_counts::*::counted";

/// The thread that decides and stores commands.
const SEQUENCER: &str = "*Sequencer*::run";

/// The thread of the connections. The gateway of the counts has one.
const SHARD: &str = "*Shard*::run";

const SUBJECTS: &[Subject] = &[
    #[cfg(feature = "proto")]
    here("decode-json", proto::decode_json),
    #[cfg(feature = "proto")]
    here("decode-proto", proto::decode_proto),
    #[cfg(feature = "proto")]
    here("encode-json", proto::encode_json),
    #[cfg(feature = "proto")]
    here("encode-proto", proto::encode_proto),
    #[cfg(feature = "proto")]
    here("unmask", proto::unmask),
    #[cfg(feature = "gateway")]
    Subject {
        name: "sequence",
        counted: SEQUENCER,
        messages: [400, 4_400],
        work: gateway::sequence,
    },
    #[cfg(feature = "store")]
    here("append", store::append),
    #[cfg(feature = "store")]
    here("index", store::index),
    #[cfg(feature = "gateway")]
    Subject {
        name: "push",
        counted: SHARD,
        messages: [80 * gateway::ONLINE, 880 * gateway::ONLINE],
        work: gateway::push,
    },
];

const fn here(name: &'static str, work: fn(u64) -> anyhow::Result<()>) -> Subject {
    Subject {
        name,
        counted: HERE,
        messages: [2_048, 10_240],
        work,
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gate-counts: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> anyhow::Result<()> {
    match *args {
        ["list"] => {
            for subject in SUBJECTS {
                let [few, many] = subject.messages;
                println!("{} {} {few} {many}", subject.name, subject.counted);
            }
            Ok(())
        }
        ["bytes"] => {
            #[cfg(feature = "gateway")]
            for (name, bytes) in bytes::measure() {
                match bytes {
                    Ok(bytes) => println!("{name} {bytes}"),
                    Err(why) => println!("{name} ? {why}"),
                }
            }
            Ok(())
        }
        ["work", name, messages] => {
            let subject = SUBJECTS.iter().find(|subject| subject.name == name);
            let subject = subject.with_context(|| format!("there is no subject {name}"))?;
            let messages = messages.parse().context("a number of messages")?;
            (subject.work)(messages).with_context(|| name.to_owned())
        }
        _ => {
            bail!("usage: gate-counts list | gate-counts bytes | gate-counts work SUBJECT MESSAGES")
        }
    }
}
