//! What look-ups cost by the size and the number of groups: processor time and bytes that readers take.
//!
//! `cargo run --release -p trunkline-benches --bin looks`

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use trunkline_benches::figures::table;
use trunkline_benches::peer::{self, Peer};
use trunkline_benches::talk::Talk;

/// Prints what `receipts` and `group_info` take for each member of groups of several sizes, and what
/// a user in many large groups takes to list and to catch up.
///
/// Both count the time of the reading threads on a processor. The members of all groups are the same
/// users: what the gateway stores of them lies in records of thousands of them.
#[derive(Debug, Parser)]
struct Args {
    /// Sizes of groups
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000")]
    members: Vec<usize>,
    /// Groups of 999 users with long names, in which one user is
    #[arg(long, default_value_t = 120)]
    groups: usize,
    /// Members that are looked at for each figure
    #[arg(long, default_value_t = 200_000)]
    looks: usize,
}

fn main() -> ExitCode {
    if let Some(code) = peer::child_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("looks: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let gateway = Peer::gateway(data.path(), 1, "os")?;
    let mut rows = Vec::new();
    let mut owner = Talk::start(gateway.address, "owner")?;
    for &members in &args.members {
        let group = format!("of{members}");
        let names: Vec<_> = (0..members).map(|n| format!("m{n:06}")).collect();
        owner.make_group(&group, &names)?;
        owner.ask("send", &json!({"group": group, "text": "hello"}))?;
        let receipts = json!({"conversation": format!("g:{group}"), "seq": 1, "state": "unread"});
        let info = json!({"group": group, "limit": 100});
        for (command, request) in [("receipts", &receipts), ("group_info", &info)] {
            let times = (args.looks / members).max(3);
            let taken = Taken::by(&gateway, &mut owner, command, request, times)?;
            let each = (times * members) as f64;
            rows.push(vec![
                command.into(),
                members.to_string(),
                format!("{:.2} µs a member", taken.seconds * 1e6 / each),
                format!("{:.0} B a member", taken.bytes / each),
            ]);
        }
    }
    let names: Vec<_> = (0..999).map(|n| format!("{n:a>60}")).collect();
    for group in 0..args.groups {
        let named = json!({"group": format!("many{group}"), "members": names});
        owner.ask("group_create", &named)?;
    }
    drop(owner);
    let mut member = Talk::start(gateway.address, &names[7])?;
    let list = json!({"limit": 1});
    let of = format!("{} groups of 999", args.groups);
    let mut row = |command: String, taken: &Taken| {
        rows.push(vec![
            command,
            of.clone(),
            format!("{:.2} ms", taken.seconds * 1e3),
            format!("{:.2} MB", taken.bytes / 1e6),
        ]);
    };
    let taken = Taken::by(&gateway, &mut member, "conversations", &list, 1)?;
    row("conversations".into(), &taken);
    let (mut all, mut pages) = (Taken::default(), 0);
    let mut since = json!("oldest");
    loop {
        let request = json!({"since": since, "limit": 256});
        let page = Taken::by(&gateway, &mut member, "sync", &request, 1)?;
        all.seconds += page.seconds;
        all.bytes += page.bytes;
        pages += 1;
        if page.last["sync"]["more"] != true {
            break;
        }
        since = page.last["sync"]["pos"].clone();
    }
    row(format!("{pages} pages of sync"), &all);
    println!("{}", table(&["command", "of", "readers", "read"], &rows));
    Ok(())
}

/// What the readers took.
#[derive(Default)]
struct Taken {
    seconds: f64,
    /// The bytes that the whole process has read.
    bytes: f64,
    last: Value,
}

impl Taken {
    /// Asks some times. Waits where the budget of the user is used up.
    fn by(
        gateway: &Peer,
        talk: &mut Talk,
        command: &str,
        request: &Value,
        times: usize,
    ) -> anyhow::Result<Self> {
        let before = (gateway.thread_seconds(&["reader"])?, gateway.read_bytes()?);
        let mut last = Value::Null;
        for _ in 0..times {
            last = loop {
                let said = talk.answer(command, request)?;
                let Some(error) = said.get("error") else {
                    break said;
                };
                let Some(wait) = error["retry_ms"].as_u64() else {
                    anyhow::bail!("{command}: {error}");
                };
                thread::sleep(Duration::from_millis(wait));
            };
        }
        Ok(Self {
            seconds: gateway.thread_seconds(&["reader"])? - before.0,
            bytes: gateway.read_bytes()? - before.1,
            last,
        })
    }
}
