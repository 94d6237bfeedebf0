//! Measures a message to a group with all members online, and one `send` to each of the same number
//! of sockets.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use trunkline_benches::crowd::{Crowd, MemberKind};
use trunkline_benches::figures::{self, median};
use trunkline_benches::peer::Peer;
use trunkline_benches::raw::FAN_OUT;
use trunkline_benches::scrape;
use trunkline_benches::talk::Talk;

use crate::Args;
use crate::contender::{Contender, Measured};
use crate::targets::Targets;

/// Connections begun at a time.
const AT_ONCE: usize = 1_000;

/// The most time until all members have a message.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(args: &Args, targets: &mut Targets) -> anyhow::Result<()> {
    let gateway = Contender::gateway(args, args.shards).context("the gateway")?;
    let address = gateway.server.address;
    let mut owner = Talk::start(address, "owner")?;
    let names: Vec<String> = (0..args.sessions).map(|i| format!("m{i}")).collect();
    owner.make_group("all", &names)?;
    let kind = MemberKind::Sessions("m");
    let mut members = Crowd::new(address, kind, args.sessions)?;
    members.open(AT_ONCE)?;
    let text = "x".repeat(args.bytes);
    let message = json!({"group": "all", "text": text});
    // As many bytes as a push, whose position and sequence grow by some digits.
    let pushed = json!({"push": {"pos": "123456789", "message": {"conversation": "g:all",
        "seq": 99, "from": "owner", "device": "d", "time": 1_767_225_600_000_u64, "text": text}}});
    let bytes = pushed.to_string().len();

    let counted = || -> anyhow::Result<[f64; 2]> {
        let text = gateway.server.metrics()?;
        let number = |name| scrape::number(&text, name);
        Ok([
            number("trunkline_writes_total")?,
            number(r#"trunkline_pushes_total{event="message"}"#)?,
        ])
    };
    // The servers are connected in turns, because descriptors are few.
    let (mut ours, mut theirs, mut done) = (Row::default(), Row::default(), [0.0; 2]);
    for _ in 0..args.rounds {
        if members.is_empty() {
            members.open(AT_ONCE)?;
        }
        let before = counted()?;
        let mut send = || owner.say("send", &message).map(drop);
        ours.add(deliveries(args, &mut members, &gateway.server, &mut send)?);
        let after = counted()?;
        done = [0, 1].map(|i| done[i] + after[i] - before[i]);
        members.close()?;
        theirs.add(raw(args, bytes).context("raw")?);
    }
    println!(
        "Fan-out: a group of {} members online, {} B of text, one message at a time; \
         medians of {} rounds of {} s in turns",
        figures::grouped(args.sessions as u64),
        args.bytes,
        args.rounds,
        args.seconds
    );
    let ratios = ours.rates.iter().zip(&theirs.rates).map(|(a, b)| a / b);
    let ratio = median(ratios.collect());
    println!(
        "  pushes    {}/s, {:.2} µs CPU each, {:.2} writes each",
        figures::short(median(ours.rates)),
        median(ours.micros),
        done[0] / done[1]
    );
    println!(
        "  raw sends {}/s, {:.2} µs CPU each, of {bytes} B in a frame",
        figures::short(median(theirs.rates)),
        median(theirs.micros)
    );
    println!("  ratio     {ratio:.2}\n");
    targets.at_least("fan-out: pushes ÷ raw sends", ratio, 0.8, "");
    Ok(())
}

/// The deliveries per second in each round.
#[derive(Default)]
struct Row {
    rates: Vec<f64>,
    micros: Vec<f64>,
}

impl Row {
    fn add(&mut self, measured: Measured) {
        self.rates.push(measured.rate);
        self.micros.push(measured.micros);
    }
}

/// Measures the fan-out of a server that only sends.
fn raw(args: &Args, bytes: usize) -> anyhow::Result<Measured> {
    let server = Peer::raw()?;
    let mut members = Crowd::new(server.address, MemberKind::Raw, args.sessions)?;
    members.open(AT_ONCE)?;
    let mut asking = connect(server.address)?;
    let mut request = vec![FAN_OUT];
    request.extend_from_slice(&u32::try_from(bytes)?.to_le_bytes());
    let mut send = || Ok(asking.write_all(&request)?);
    let measured = deliveries(args, &mut members, &server, &mut send)?;
    members.close()?;
    Ok(measured)
}

fn connect(server: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends messages and returns the deliveries to members per second.
fn deliveries(
    args: &Args,
    members: &mut Crowd,
    server: &Peer,
    send: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Measured> {
    let size = args.sessions as u64;
    let (arrived, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| -> anyhow::Result<()> {
            while !over.load(SeqCst) {
                arrived.fetch_add(members.turn(Duration::from_millis(20))?, SeqCst);
            }
            Ok(())
        });
        let mut sent = 0;
        let mut send_until = |end: Option<Instant>| -> anyhow::Result<()> {
            // Waits until all messages under way have arrived.
            let mut last = (Instant::now(), 0);
            loop {
                let now = Instant::now();
                let got = arrived.load(SeqCst);
                match end {
                    Some(end) if now >= end => return Ok(()),
                    None if got >= sent * size => return Ok(()),
                    _ => {}
                }
                if last.1 != got {
                    last = (now, got);
                }
                if now - last.0 > PATIENCE {
                    bail!("{got} of {} messages arrived", sent * size);
                }
                // One at a time, because two messages under way could reach a member in one write.
                if end.is_some() && got >= sent * size {
                    send()?;
                    sent += 1;
                } else {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        };
        let measured = (|| {
            send_until(Some(Instant::now() + args.time() / 5))?;
            let (start, before) = (Instant::now(), arrived.load(SeqCst));
            let cpu = server.cpu_seconds();
            send_until(Some(start + args.time()))?;
            let count = (arrived.load(SeqCst) - before) as f64;
            let measured = Measured {
                rate: count / start.elapsed().as_secs_f64(),
                micros: (server.cpu_seconds() - cpu) / count * 1e6,
            };
            send_until(None)?;
            Ok(measured)
        })();
        over.store(true, SeqCst);
        let read = reading.join().map_err(|_| anyhow::anyhow!("it panicked"))?;
        read.and(measured)
    })
}
