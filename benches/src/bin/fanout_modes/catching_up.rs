//! A member who missed messages: how long its `sync` takes.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use trunkline_benches::figures::median;
use trunkline_benches::peer::Peer;
use trunkline_benches::talk::Talk;

use crate::Args;

/// The CPU time in seconds after which the repetitions end. The kernel counts it in hundredths of a
/// second.
const CPU: f64 = 0.1;
/// The time after which the repetitions end in any case.
const LONGEST: Duration = Duration::from_secs(2);

/// The time that catching up takes, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Caught {
    /// One page.
    pub(crate) page: f64,
    /// Everything, until the client has read it.
    pub(crate) whole: f64,
    /// The gateway's CPU time for everything.
    pub(crate) cpu: f64,
    /// The gateway's CPU time to answer that there is nothing, after others have sent messages.
    pub(crate) nothing: f64,
}

/// Measures catching up on messages that are spread over a number of groups of this size.
pub(crate) fn run(
    args: &Args,
    peer: &Peer,
    owner: &mut Talk,
    size: usize,
    groups: usize,
) -> anyhow::Result<Caught> {
    let late = format!("late{size}x{groups}");
    // These members never connect. Different groups have different members.
    let names = |group: usize| -> Vec<String> {
        let others = (2..size).map(|i| format!("n{}", i + group * size));
        others.chain([late.clone()]).collect()
    };
    let named = |group| format!("s{size}x{groups}x{group}");
    for group in 0..groups {
        owner.make_group(&named(group), &names(group))?;
    }
    let since = Talk::start(peer.address, &late)?.pos().to_owned();
    let text = "x".repeat(args.bytes);
    for message in 0..args.missed {
        let to = json!({"group": named(message % groups), "text": text});
        if message + 1 == args.missed {
            // The answer shows that all messages before it are stored.
            owner.ask("send", &to)?;
        } else {
            owner.tell("send", &to)?;
        }
    }
    let mut talk = Talk::start(peer.address, &late)?;
    let (mut pages, mut wholes) = (Vec::new(), Vec::new());
    let (start, before) = (Instant::now(), peer.cpu_seconds());
    let mut end = String::new();
    let enough = |start: Instant, before: f64| {
        peer.cpu_seconds() - before >= CPU || start.elapsed() >= LONGEST
    };
    while wholes.len() < 5 || !enough(start, before) {
        let whole = Instant::now();
        let mut found = 0;
        (found, end) = all(&mut talk, &since, &mut pages, found)?;
        if found != args.missed {
            bail!("{found} of {} messages found", args.missed);
        }
        wholes.push(whole.elapsed().as_secs_f64() * 1e3);
    }
    let cpu = (peer.cpu_seconds() - before) * 1e3 / wholes.len() as f64;
    // A message of another user, so that the gateway must look for news.
    owner.ask("send", &json!({"user": "owner", "text": "note"}))?;
    let mut asked = 0;
    let (start, before) = (Instant::now(), peer.cpu_seconds());
    while asked < 20 || !enough(start, before) {
        let (found, _) = all(&mut talk, &end, &mut Vec::new(), 0)?;
        if found != 0 {
            bail!("{found} messages found where none are");
        }
        asked += 1;
    }
    let nothing = (peer.cpu_seconds() - before) * 1e3 / f64::from(asked);
    Ok(Caught {
        page: median(pages),
        whole: median(wholes),
        cpu,
        nothing,
    })
}

/// Syncs to the end. Returns the number of messages and the last position.
fn all(
    talk: &mut Talk,
    since: &str,
    pages: &mut Vec<f64>,
    mut found: usize,
) -> anyhow::Result<(usize, String)> {
    let mut since = since.to_owned();
    loop {
        let start = Instant::now();
        let answer = talk.ask("sync", &json!({"since": since, "limit": 500}))?;
        pages.push(start.elapsed().as_secs_f64() * 1e3);
        let page = &answer["sync"];
        let events = page["events"].as_array().context("no events")?;
        found += events.iter().filter(|e| e["message"].is_object()).count();
        page["pos"]
            .as_str()
            .context("no pos")?
            .clone_into(&mut since);
        if page["more"] == false {
            return Ok((found, since));
        }
    }
}
