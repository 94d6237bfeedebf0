//! Measures messages to a group with some members online.

use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::json;
use trunkline_benches::crowd::{Crowd, MemberKind};
use trunkline_benches::peer::Peer;
use trunkline_benches::talk::Talk;

use crate::Args;

/// Connections begun at a time.
const AT_ONCE: usize = 100;

/// The most pushes under way at one time.
const PUSHES: usize = 20_000;
/// The most messages under way at one time.
const MESSAGES: usize = 64;

/// The most bytes of log that one measurement may write.
const LOG: f64 = 400e6;

/// The most time until all members have a message.
const PATIENCE: Duration = Duration::from_secs(20);

/// The costs of a message.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    pub(crate) log_bytes: f64,
    /// The bytes written again per message, to sort the log and to merge the runs.
    pub(crate) merged_bytes: f64,
    /// The gateway's CPU time per message in microseconds, for all threads.
    pub(crate) micros: f64,
    pub(crate) per_second: f64,
    pub(crate) online: usize,
}

/// Connects the members that are online: `m0` and so on.
pub(crate) fn members(peer: &Peer, online: usize) -> anyhow::Result<Crowd> {
    let mut members = Crowd::new(peer.address, MemberKind::Sessions("m"), online)?;
    members.open(AT_ONCE)?;
    Ok(members)
}

/// Sends to a group as fast as its members get it.
pub(crate) fn run(
    args: &Args,
    peer: &Peer,
    owner: &mut Talk,
    group: &str,
    online: usize,
) -> anyhow::Result<Sent> {
    let mut members = members(peer, online)?;
    let message = json!({"group": group, "text": "x".repeat(args.bytes)});
    let window = (PUSHES / online).clamp(2, MESSAGES);
    let mut send = |limit: Duration, most: u64| -> anyhow::Result<u64> {
        let start = Instant::now();
        let (mut sent, mut got, mut heard) = (0, 0, start);
        loop {
            let more = start.elapsed() < limit && sent < most;
            if !more && got >= sent * online as u64 {
                return Ok(sent);
            }
            while more && (sent - got / online as u64) < window as u64 {
                owner.tell("send", &message)?;
                sent += 1;
            }
            let new = members.turn(Duration::from_millis(20))?;
            got += new;
            if new > 0 {
                heard = Instant::now();
            } else if heard.elapsed() > PATIENCE {
                bail!("{got} of {} messages arrived", sent * online as u64);
            }
        }
    };
    let before = [
        "trunkline_store_written_bytes_total",
        "trunkline_store_merge_bytes_total",
    ];
    let read = || -> anyhow::Result<[f64; 2]> {
        let text = peer.metrics()?;
        let [log, merged] = before.map(|name| trunkline_benches::scrape::number(&text, name));
        Ok([log?, merged?])
    };
    let limit = Duration::from_secs_f64(args.seconds);
    let [a, _] = read()?;
    let warm = send(limit / 5, 64)?;
    let [b, merged] = read()?;
    let most = LOG / ((b - a) / warm as f64).max(1.0);
    let (cpu, start) = (peer.cpu_seconds(), Instant::now());
    let sent = send(limit, most.max(8.0) as u64)? as f64;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = peer.cpu_seconds() - cpu;
    let [c, merged_after] = read()?;
    members.close()?;
    Ok(Sent {
        log_bytes: (c - b) / sent,
        merged_bytes: (merged_after - merged) / sent,
        micros: cpu * 1e6 / sent,
        per_second: sent / seconds,
        online,
    })
}
