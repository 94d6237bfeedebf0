//! Measures the cost of receipts: every reader acknowledges every message as delivered and as read.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::{Value, json};
use trunkline_benches::figures::{columns, short};
use trunkline_benches::peer::Peer;
use trunkline_benches::scrape;
use trunkline_benches::talk::Talk;

use crate::{Args, Gateway};

/// The pace at which messages are sent and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Messages are sent as fast as possible; each is acknowledged twice at once.
    Streamed,
    /// Each message follows when all members have read the one before, this time after its
    /// delivery.
    OneByOne(Duration),
}

const PACES: [Pace; 4] = [
    Pace::Streamed,
    Pace::OneByOne(Duration::ZERO),
    Pace::OneByOne(Duration::from_millis(20)),
    Pace::OneByOne(Duration::from_secs(1)),
];

/// The number of deliveries of a streamed measurement, to all members together.
const STREAMED: u64 = 6_000;

/// The time for which messages come one by one, and their least and greatest number.
const ONE_BY_ONE: Duration = Duration::from_secs(10);
const MESSAGES: (u64, u64) = (10, 200);

/// The most messages that some reader has not acknowledged.
const WINDOW: u64 = 64;

const PATIENCE: Duration = Duration::from_secs(20);

/// The records and pushes per message.
#[derive(Debug, Clone, Copy)]
struct Load {
    bytes: f64,
    pushes: f64,
    receipts: f64,
    receipt_pushes: f64,
}

impl Pace {
    fn name(self) -> String {
        match self {
            Self::Streamed => "streamed".into(),
            Self::OneByOne(reading) => format!("read after {} ms", reading.as_millis()),
        }
    }

    fn messages(self, members: usize) -> u64 {
        let Self::OneByOne(reading) = self else {
            return STREAMED / members as u64;
        };
        let fit = ONE_BY_ONE.as_millis() / reading.as_millis().max(1);
        (fit as u64).clamp(MESSAGES.0, MESSAGES.1)
    }

    /// Returns the number of messages that may be under way.
    fn window(self) -> u64 {
        if self == Self::Streamed { WINDOW } else { 1 }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    println!(
        "Receipts: each reader acknowledges each message as delivered, then as read; {} B of text",
        args.bytes
    );
    let mut rows = Vec::new();
    for &members in &args.readers {
        let without = measure(args, members, Pace::Streamed, false)?;
        for pace in PACES {
            let with = measure(args, members, pace, true)?;
            let added = with.bytes - without.bytes;
            let kind = if members == 2 {
                "1:1".into()
            } else {
                format!("group of {members}")
            };
            rows.push(vec![
                kind,
                pace.name(),
                short(without.bytes),
                short(added),
                format!("×{}", short(added / without.bytes)),
                short(with.pushes),
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

fn measure(args: &Args, members: usize, pace: Pace, acks: bool) -> anyhow::Result<Load> {
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
    let messages = pace.messages(members);
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
                    reader(
                        &mut talk,
                        conversation,
                        Reading { last, pace, acks },
                        &read[i],
                    )
                })
            })
            .collect();
        let sent = stream(&mut owner, &message, last, pace.window(), read);
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

/// Sends the messages up to sequence `last`. At most `window` messages are unread at one time.
fn stream(
    owner: &mut Talk,
    message: &Value,
    last: u64,
    window: u64,
    read: &[AtomicU64],
) -> anyhow::Result<()> {
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
            if window > 1 {
                owner.tell("send", message)?;
            } else {
                // The answer follows the receipts before it, which are skipped.
                owner.ask("send", message)?;
            }
            sent += 1;
        } else {
            owner.pass_over(Duration::from_millis(1))?;
        }
    }
}

/// The task of a reader.
#[derive(Clone, Copy)]
struct Reading {
    /// The sequence of the last message.
    last: u64,
    pace: Pace,
    /// Whether the reader acknowledges messages.
    acks: bool,
}

/// Reads and acknowledges the messages. Waits only for the answer to the last acknowledgement, as
/// clients do.
fn reader(
    talk: &mut Talk,
    conversation: &str,
    Reading { last, pace, acks }: Reading,
    read: &AtomicU64,
) -> anyhow::Result<()> {
    loop {
        let said = talk.hear()?;
        let Some(seq) = said["push"]["message"]["seq"].as_u64() else {
            continue;
        };
        if seq == 1 {
            // The first message came before the counted time.
            continue;
        }
        let marks = |what: &str| json!({"conversation": conversation, what: seq});
        if acks {
            talk.tell("ack", &marks("delivered"))?;
        }
        if let Pace::OneByOne(reading) = pace {
            std::thread::sleep(reading);
        }
        if acks && seq < last {
            talk.tell("ack", &marks("read"))?;
        } else if acks {
            talk.ask("ack", &marks("read"))?;
        }
        read.store(seq, SeqCst);
        if seq >= last {
            return Ok(());
        }
    }
}
