//! The gateway and the sink, and the turns at them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use trunkline_benches::peer::Peer;

use crate::beside::{Beside, Load, Memory};
use crate::measure::{Got, Turn, measure};
use crate::report::Round;
use crate::{Args, beside, erasing, sample};

/// A turn of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Alone,
    Sink,
    Beside,
}

/// The orders of the turns, one round after another: each turn follows each other one as often.
const ORDERS: [[Side; 3]; 6] = [
    [Side::Alone, Side::Sink, Side::Beside],
    [Side::Beside, Side::Sink, Side::Alone],
    [Side::Sink, Side::Beside, Side::Alone],
    [Side::Alone, Side::Beside, Side::Sink],
    [Side::Beside, Side::Alone, Side::Sink],
    [Side::Sink, Side::Alone, Side::Beside],
];

/// The two servers at which clients wait.
pub(crate) struct Stage {
    pub(crate) gateway: Peer,
    /// The server that does nothing.
    sink: Peer,
}

impl Stage {
    /// Starts both servers, with what they need in a folder.
    ///
    /// # Errors
    /// One of them does not start, or the gateway does not answer.
    pub(crate) fn begin(args: &Args, folder: &Path) -> anyhow::Result<Self> {
        let gateway = gateway(args, folder, beside::hanging()?)?;
        let answers = folder.join("answers.json");
        let sampled = sample::answers(&gateway)?;
        std::fs::write(&answers, serde_json::to_vec(&sampled)?)?;
        let sink = Peer::waiting_sink(&answers)?;
        Ok(Self { gateway, sink })
    }

    /// Measures the gateway's memory for each poll and each stream. Call it before the first turn: later, polls and
    /// streams get memory that earlier work has freed, and the figure is too small.
    ///
    /// # Errors
    /// The gateway does not let as many wait.
    pub(crate) fn memory(&self, load: Load) -> anyhow::Result<Option<Memory>> {
        let others = Beside::begin(&self.gateway, load, true)?;
        let memory = others.memory;
        others.end(&self.gateway)?;
        Ok(memory)
    }

    /// Measures rounds of turns beside a load that is called `name`.
    ///
    /// # Errors
    /// Something cannot be measured.
    pub(crate) fn rounds(
        &self,
        args: &Args,
        name: &'static str,
        load: Load,
    ) -> anyhow::Result<Vec<Round>> {
        let mut rounds = Vec::new();
        for round in 1..=args.rounds {
            let (mut alone, mut sink, mut beside) = (None, None, None);
            for side in ORDERS[(round - 1) % ORDERS.len()] {
                match side {
                    Side::Alone => alone = Some(self.turn(args, round, ("alone", None), None)?),
                    Side::Sink => {
                        let others = Beside::begin(&self.sink, load, false)?;
                        let turn =
                            self.turn(args, round, ("sink", Some(&self.sink)), Some(&others));
                        sink = Some(turn.context("beside the sink")?);
                        others.end(&self.sink)?;
                    }
                    Side::Beside => {
                        let others = Beside::begin(&self.gateway, load, false)?;
                        let turn = self.turn(args, round, (name, None), Some(&others));
                        let turn =
                            turn.with_context(|| format!("beside the waiting clients ({name})"))?;
                        beside = Some(turn);
                        others.end(&self.gateway)?;
                    }
                }
            }
            let (alone, beside) = alone.zip(beside).context("a turn was not measured")?;
            rounds.push(Round {
                alone,
                sink,
                beside,
            });
        }
        Ok(rounds)
    }

    /// Measures rounds of two turns: alone, and beside the erasure of a user.
    ///
    /// # Errors
    /// Something cannot be measured.
    pub(crate) fn erasures(&self, args: &Args) -> anyhow::Result<Vec<Round>> {
        let gateway = &self.gateway;
        (1..=args.erasures)
            .map(|round| {
                let alone = self.turn(args, round, ("alone", None), None)?;
                let erasure = erasing::begin(gateway, round, args.erased)?;
                let beside = self.turn(args, round, ("erase", None), None);
                let beside = beside.context("beside the erasure of a user")?;
                println!("       {}", erasure.end(gateway)?);
                Ok(Round {
                    alone,
                    sink: None,
                    beside,
                })
            })
            .collect()
    }

    /// Measures a turn, and prints it. `name` is that of the turn, with the server at which `others` wait if it is not
    /// the gateway.
    fn turn(
        &self,
        args: &Args,
        round: usize,
        (name, holding): (&str, Option<&Peer>),
        others: Option<&Beside>,
    ) -> anyhow::Result<Turn> {
        let got = || others.map(Beside::got).unwrap_or_default();
        let (begun, before) = (Instant::now(), got());
        let mut turn = measure(args, &self.gateway, holding)?;
        let (took, after) = (begun.elapsed().as_secs_f64(), got());
        turn.got = Got {
            ends: (after.ends - before.ends) / took,
            answers: (after.answers - before.answers) / took,
        };
        turn.say(round, name);
        Ok(turn)
    }
}

/// Starts the gateway, which asks a back end at an address.
fn gateway(args: &Args, folder: &Path, back: SocketAddr) -> anyhow::Result<Peer> {
    let secret = folder.join("secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")?;
    let flags = [
        ("callbacks-rpc", format!("=http://{back}/hang")),
        ("callbacks-secret-file", secret.display().to_string()),
        (
            "http-connections",
            (args.polls + args.streams + 64).to_string(),
        ),
        ("ping-interval", format!("{}s", sample::PING.as_secs())),
        // More than one table of descriptors: the client API has the gateway's own.
        ("max-connections", "100000".to_owned()),
    ];
    let data = folder.join("data");
    Peer::gateway_with_http(&data, args.shards, &args.durability, &flags)
}
