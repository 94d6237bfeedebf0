//! A very large group: made, sent to, and loaded again after a restart.

use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::json;
use trunkline_benches::figures::{grouped, median, short};
use trunkline_benches::peer::Peer;
use trunkline_benches::talk::Talk;

use crate::sending::{self, members};
use crate::{Args, Gateway};

/// The number of members that are online.
const ONLINE: usize = 1_000;

/// The number of messages that are timed, one after another.
const MESSAGES: usize = 50;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut gateway = Gateway::start(args, &[])?;
    let online = ONLINE.min(args.large - 1);
    let mut owner = Talk::start(gateway.peer.address, "owner")?;
    let names: Vec<String> = (0..args.large - 1).map(|i| format!("m{i}")).collect();
    let (start, empty) = (Instant::now(), gateway.peer.resident()?);
    owner.make_group("all", &names)?;
    let made = start.elapsed();
    println!(
        "Large: a group of {} members, {} of them online\n  made in        {:.2} s, memory {} to {} MB, log {} MB",
        grouped(args.large as u64),
        grouped(online as u64),
        made.as_secs_f64(),
        megabytes(empty),
        megabytes(gateway.peer.resident()?),
        short(gateway.peer.metric("trunkline_store_written_bytes_total")? / 1e6),
    );
    let sent = sending::run(args, &gateway.peer, &mut owner, "all", online)?;
    println!(
        "  sent to        {} msg/s, {} pushes/s; CPU {} µs per message; log {} B per message",
        short(sent.per_second),
        short(sent.per_second * online as f64),
        short(sent.micros),
        short(sent.log_bytes),
    );
    let (stored, pushed) = one_by_one(args, &gateway.peer, &mut owner, online)?;
    println!(
        "  one message    stored in {stored} ms, with everybody online in {pushed} ms (medians)"
    );
    drop(owner);
    let Gateway { peer, folder } = gateway;
    drop(peer);
    let start = Instant::now();
    let peer = Peer::gateway(folder.path(), args.shards, "sync")?;
    gateway = Gateway { peer, folder };
    let restarted = start.elapsed();
    let mut owner = Talk::start(gateway.peer.address, "owner")?;
    let empty = gateway.peer.resident()?;
    let mut times = Vec::new();
    for _ in 0..2 {
        let start = Instant::now();
        owner.ask("send", &json!({"group": "all", "text": "again"}))?;
        times.push(short(start.elapsed().as_secs_f64() * 1e3));
    }
    println!(
        "  after a kill   restarted in {:.2} s; first message {} ms, second {} ms; memory {} to {} MB\n",
        restarted.as_secs_f64(),
        times[0],
        times[1],
        megabytes(empty),
        megabytes(gateway.peer.resident()?),
    );
    Ok(())
}

/// Returns the milliseconds until a message is stored, and until all online members have it.
fn one_by_one(
    args: &Args,
    peer: &Peer,
    owner: &mut Talk,
    online: usize,
) -> anyhow::Result<(String, String)> {
    let mut members = members(peer, online)?;
    let message = json!({"group": "all", "text": "x".repeat(args.bytes)});
    let (mut stored, mut pushed) = (Vec::new(), Vec::new());
    for _ in 0..MESSAGES {
        let start = Instant::now();
        owner.ask("send", &message)?;
        stored.push(start.elapsed().as_secs_f64() * 1e3);
        let mut got = 0;
        while got < online as u64 {
            got += members.turn(Duration::from_millis(20))?;
            if start.elapsed() > PATIENCE {
                bail!("{got} of {online} got a message");
            }
        }
        pushed.push(start.elapsed().as_secs_f64() * 1e3);
    }
    members.close()?;
    Ok((short(median(stored)), short(median(pushed))))
}

fn megabytes(bytes: u64) -> String {
    grouped(bytes / 1_000_000)
}
