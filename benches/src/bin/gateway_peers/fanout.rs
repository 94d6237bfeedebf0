//! Measures a message to a group with all members online, and one `send` to each of the same number
//! of sockets.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use trunkline_benches::crowd::{Crowd, MemberKind};
use trunkline_benches::figures;
use trunkline_benches::metering::{BACKGROUND, Goal, Measured, Meter, Progress, remark};
use trunkline_benches::peer::Peer;
use trunkline_benches::raw::FAN_OUT;
use trunkline_benches::scrape;
use trunkline_benches::talk::Talk;

use crate::Args;
use crate::contender::Contender;
use crate::table::Row;
use crate::targets::Targets;

/// Connections begun at a time.
const AT_ONCE: usize = 1_000;

/// The seconds of a measurement. It does not last until 10 segments of the log are written, as other
/// measurements do: one message at a time to a large group would need hours for that.
const SECONDS: f64 = 15.0;

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
    for _ in 0..args.rounds(3) {
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
        args.rounds(3),
        args.time(SECONDS).as_secs_f64()
    );
    let ratio = ours.ratio(&theirs);
    println!(
        "  pushes    {}/s, {:.2} µs CPU each, {:.2} writes each",
        figures::short(ours.rate()),
        ours.micros(),
        done[0] / done[1]
    );
    println!(
        "  worst second {}, ÷ mean {}; background {} of the CPU",
        figures::short(ours.median(|of| of.series.worst())),
        figures::short(ours.median(|of| of.series.worst_of_mean())),
        figures::short(ours.median(|of| of.cpu.share(BACKGROUND))),
    );
    println!(
        "  raw sends {}/s, {:.2} µs CPU each, of {bytes} B in a frame",
        figures::short(theirs.rate()),
        theirs.micros()
    );
    // Too slow to write enough segments, so it does not count.
    if let Some(remark) = ours.last().and_then(|last| remark(last, false)) {
        println!("  gateway: {}", remark.text);
    }
    println!("  ratio     {ratio:.2}\n");
    targets.at_least("fan-out: pushes ÷ raw sends", ratio, 0.8, "");
    Ok(())
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
        // `over` says whether the time is over, from the deliveries so far; without it, this waits
        // until all messages under way have arrived.
        type Over<'o> = Option<&'o mut dyn FnMut(u64) -> anyhow::Result<bool>>;
        let mut send_until = |mut over: Over<'_>| -> anyhow::Result<()> {
            let mut last = (Instant::now(), 0);
            loop {
                let now = Instant::now();
                let got = arrived.load(SeqCst);
                let ended = match &mut over {
                    Some(over) => over(got)?,
                    None => got >= sent * size,
                };
                if ended {
                    return Ok(());
                }
                if last.1 != got {
                    last = (now, got);
                }
                if now - last.0 > PATIENCE {
                    bail!("{got} of {} messages arrived", sent * size);
                }
                // One at a time, because two messages under way could reach a member in one write.
                if over.is_some() && got >= sent * size {
                    send()?;
                    sent += 1;
                } else {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        };
        let measured = (|| {
            let time = args.time(SECONDS);
            let warm = Instant::now() + time / 5;
            send_until(Some(&mut |_| Ok(Instant::now() >= warm)))?;
            let read = || server.reading(args.segment_bytes);
            let mut meter = Meter::start(Goal::exactly(time), &read)?;
            let (start, before) = (Instant::now(), arrived.load(SeqCst));
            send_until(Some(&mut |got| {
                let progress = meter.enter(start.elapsed(), got - before)?;
                Ok(progress == Progress::Over)
            }))?;
            let measured = meter.finish()?;
            send_until(None)?;
            Ok(measured)
        })();
        over.store(true, SeqCst);
        let read = reading.join().map_err(|_| anyhow::anyhow!("it panicked"))?;
        read.and(measured)
    })
}
