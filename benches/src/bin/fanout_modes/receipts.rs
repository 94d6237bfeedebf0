//! What receipts add: every reader of every message says that it has it and that it was read.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::{Value, json};
use trunkline_benches::figures::{columns, short};
use trunkline_benches::peer::Peer;
use trunkline_benches::scrape;
use trunkline_benches::talk::Talk;

use crate::{Args, Gateway};

/// Members of the conversations; 2 is one of two users and no group.
const SIZES: [usize; 4] = [2, 10, 16, 17];

/// Messages of a measurement: one after another, and as fast as they go.
const ONE_BY_ONE: u64 = 100;
const STREAMED: u64 = 6_000;

/// Messages on their way of which not everybody has said that it was read.
const WINDOW: u64 = 64;

/// How long a message is on the screen before it counts as read, where they come one by one.
const READING: Duration = Duration::from_millis(10);

const PATIENCE: Duration = Duration::from_secs(20);

/// What was stored and pushed per message.
#[derive(Debug, Clone, Copy)]
struct Load {
    bytes: f64,
    pushes: f64,
    receipts: f64,
    receipt_pushes: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    println!(
        "Receipts: each reader acknowledges each message as delivered, then as read; {} B of text",
        args.bytes
    );
    let mut rows = Vec::new();
    for members in SIZES {
        for streamed in [false, true] {
            let without = measure(args, members, streamed, false)?;
            let with = measure(args, members, streamed, true)?;
            let added = with.bytes - without.bytes;
            let kind = if members == 2 {
                "1:1".into()
            } else {
                format!("group of {members}")
            };
            let rate = if streamed { "streamed" } else { "one by one" };
            rows.push(vec![
                kind,
                rate.into(),
                short(without.bytes),
                short(added),
                format!("×{}", short(added / without.bytes)),
                short(without.pushes),
                short(with.receipts),
                short(with.receipt_pushes),
                format!("×{}", short(with.receipt_pushes / with.pushes)),
            ]);
        }
    }
    let head = [
        "conversation",
        "messages",
        "log B/msg",
        "receipts B/msg",
        "",
        "pushes/msg",
        "receipts/msg",
        "their pushes/msg",
        "",
    ];
    println!("{}", columns(&head, &rows, 2));
    Ok(())
}

fn measure(args: &Args, members: usize, streamed: bool, acks: bool) -> anyhow::Result<Load> {
    let gateway = Gateway::start(args, &[])?;
    let server = gateway.peer.address;
    let mut owner = Talk::start(server, "owner")?;
    let others: Vec<String> = (1..members).map(|i| format!("m{i}")).collect();
    let text = "x".repeat(args.bytes);
    let (message, conversation) = if members == 2 {
        (json!({"user": "m1", "text": text}), "u:m1:owner")
    } else {
        owner.make_group("g", &others)?;
        (json!({"group": "g", "text": text}), "g:g")
    };
    let talks = others.iter().map(|name| Talk::start(server, name));
    let readers: Vec<Talk> = talks.collect::<anyhow::Result<_>>()?;
    // The first message makes the conversation.
    owner.ask("send", &message)?;
    let messages = match streamed {
        true => STREAMED / members as u64,
        false => ONE_BY_ONE,
    };
    let last = messages + 1;
    let read: Vec<AtomicU64> = readers.iter().map(|_| AtomicU64::new(1)).collect();
    let read = &read;
    let before = counters(&gateway.peer)?;
    std::thread::scope(|scope| {
        let handles: Vec<_> = readers
            .into_iter()
            .enumerate()
            .map(|(i, mut talk)| {
                scope.spawn(move || {
                    reader(&mut talk, conversation, (last, streamed, acks), &read[i])
                })
            })
            .collect();
        let sent = stream(&mut owner, &message, (last, streamed), read);
        for handle in handles {
            handle
                .join()
                .map_err(|_| anyhow::anyhow!("it panicked"))??;
        }
        sent
    })?;
    let after = counters(&gateway.peer)?;
    let per = |i: usize| (after[i] - before[i]) / messages as f64;
    Ok(Load {
        bytes: per(0),
        pushes: per(1),
        receipts: per(2),
        receipt_pushes: per(3),
    })
}

fn counters(peer: &Peer) -> anyhow::Result<[f64; 4]> {
    let text = peer.metrics()?;
    let number = |name: &str| scrape::number(&text, name);
    Ok([
        number("trunkline_store_written_bytes_total")?,
        number("trunkline_pushes_total{event=\"message\"}")?,
        number("trunkline_receipts_total")?,
        number("trunkline_pushes_total{event=\"receipt\"}")?,
    ])
}

/// Sends until the last, the next when the readers are through with enough of those before.
fn stream(
    owner: &mut Talk,
    message: &Value,
    (last, streamed): (u64, bool),
    read: &[AtomicU64],
) -> anyhow::Result<()> {
    let window = if streamed { WINDOW } else { 1 };
    let (mut sent, mut moved) = (1, (Instant::now(), 0));
    loop {
        let least = read
            .iter()
            .map(|read| read.load(SeqCst))
            .min()
            .unwrap_or(last);
        if least > moved.1 {
            moved = (Instant::now(), least);
        }
        if least >= last {
            return Ok(());
        }
        if moved.0.elapsed() > PATIENCE {
            bail!("{least} of {last} messages were read");
        }
        if sent < last && sent < least + window {
            if streamed {
                owner.tell("send", message)?;
            } else {
                // And the receipts before it, which are passed over.
                owner.ask("send", message)?;
            }
            sent += 1;
        } else {
            owner.pass_over(Duration::from_millis(1))?;
        }
    }
}

/// Reads, and acknowledges, up to the last.
fn reader(
    talk: &mut Talk,
    conversation: &str,
    (last, streamed, acks): (u64, bool, bool),
    read: &AtomicU64,
) -> anyhow::Result<()> {
    loop {
        let said = talk.hear()?;
        let Some(seq) = said["push"]["message"]["seq"].as_u64() else {
            continue;
        };
        if seq == 1 {
            // It came before anything was counted.
            continue;
        }
        if acks {
            let marks = |what: &str| json!({"conversation": conversation, what: seq});
            if streamed && seq < last {
                talk.tell("ack", &marks("delivered"))?;
                talk.tell("ack", &marks("read"))?;
            } else {
                talk.ask("ack", &marks("delivered"))?;
                std::thread::sleep(READING);
                talk.ask("ack", &marks("read"))?;
            }
        }
        read.store(seq, SeqCst);
        if seq >= last {
            return Ok(());
        }
    }
}
