//! The measuring: all contenders in turns, round by round.

use std::path::{Path, PathBuf};

use anyhow::Context;
use trunkline_benches::appends::Appended;
use trunkline_benches::child::{BARE, Seat};
use trunkline_benches::machine;
use trunkline_contender::{Command, Reply, Setup};

use crate::Args;
use crate::report::{Measured, Section, Size};

/// A store that takes part.
pub(crate) struct Entrant {
    pub(crate) name: String,
    pub(crate) program: Vec<String>,
    pub(crate) version: String,
}

impl Entrant {
    /// Returns whether the entrant is the bare file, which can neither be read nor opened.
    fn is_bare(&self) -> bool {
        self.name == BARE
    }
}

/// The number of messages appended between an opening and the next kill, so that there is something
/// to recover.
const BETWEEN: u64 = 1_000;

/// A contender with its store.
struct Player<'e> {
    entrant: &'e Entrant,
    setup: Setup,
    seat: Seat,
}

impl Player<'_> {
    fn tell(&mut self, command: Command) -> anyhow::Result<Reply> {
        let name = || self.entrant.name.clone();
        self.seat.tell(command).with_context(name)
    }

    fn load(&mut self, messages: u64) -> anyhow::Result<()> {
        self.tell(Command::Load { messages })?;
        self.setup.stored += messages;
        Ok(())
    }
}

/// Measures all stores with this number of index entries per message.
pub(crate) fn run(
    args: &Args,
    entrants: &[Entrant],
    fanout: usize,
    dir: &Path,
) -> anyhow::Result<Section> {
    let folder = |entrant: &Entrant| dir.join(&entrant.name);
    let mut players = Vec::new();
    for entrant in entrants {
        let setup = Setup {
            dir: folder(entrant),
            timelines: args.timelines,
            messages: args.messages,
            entries: fanout,
            stored: 0,
        };
        let seat =
            Seat::start(&entrant.program, &setup, true).with_context(|| entrant.name.clone())?;
        let mut player = Player {
            entrant,
            setup,
            seat,
        };
        if !entrant.is_bare() {
            player.load(args.messages)?;
        }
        players.push(player);
    }
    let mut measured = Measured::default();
    open(args, &mut players, &mut measured)?;
    let sizes = read(args, &mut players, &mut measured)?;
    append(args, players, &mut measured)?;
    let names: Vec<&str> = entrants.iter().map(|entrant| &*entrant.name).collect();
    Ok(measured.section(fanout, &names, sizes))
}

/// Kills each store with `kill -9`, and measures the time of its next opening.
fn open(args: &Args, players: &mut [Player<'_>], measured: &mut Measured) -> anyhow::Result<()> {
    rounds(args.rounds, players, |player| {
        if player.entrant.is_bare() {
            return Ok(());
        }
        player.load(BETWEEN)?;
        // The process must end before the next one starts, because it locks the folder.
        player.seat.kill()?;
        player.seat = Seat::start(&player.entrant.program, &player.setup, true)
            .with_context(|| player.entrant.name.clone())?;
        measured.opening(&player.entrant.name, player.seat.opening);
        Ok(())
    })
}

/// Reads ranges, after a first pass has put them into memory.
fn read(
    args: &Args,
    players: &mut [Player<'_>],
    measured: &mut Measured,
) -> anyhow::Result<Vec<Size>> {
    for player in players
        .iter_mut()
        .filter(|player| !player.entrant.is_bare())
    {
        player.tell(Command::Settle)?;
        player.tell(Command::Check)?;
    }
    rounds(args.rounds, players, |player| {
        if !player.entrant.is_bare() {
            let reply = player.tell(Command::Read { count: args.reads })?;
            measured.read(&player.entrant.name, reply.get("p50")?, reply.get("p99")?);
        }
        Ok(())
    })?;
    let readers = players.iter_mut();
    readers
        .filter(|player| !player.entrant.is_bare())
        .map(|player| {
            let memory = player.tell(Command::Cost)?.get("memory")?;
            let machine::FilesBelow {
                count: files,
                bytes,
            } = machine::files(&PathBuf::from(&player.setup.dir))?;
            Ok(Size {
                contender: player.entrant.name.clone(),
                memory_bytes: memory as u64,
                disk_bytes: bytes,
                files,
            })
        })
        .collect()
}

/// Measures appends, one store after another. Each is removed before the next one begins, because the
/// disk does not have to hold the messages of all.
fn append(args: &Args, players: Vec<Player<'_>>, measured: &mut Measured) -> anyhow::Result<()> {
    for mut player in players {
        for &group in &args.groups {
            let millis = args.millis;
            let reply = player.tell(Command::Append { group, millis })?;
            measured.append(&player.entrant.name, group, Appended::of(&reply)?);
        }
        let folder = player.setup.dir.clone();
        drop(player);
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Calls `turn` for each player in each round. Another player begins each round.
fn rounds<'e>(
    rounds: usize,
    players: &mut [Player<'e>],
    mut turn: impl FnMut(&mut Player<'e>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for _ in 0..rounds {
        players.iter_mut().try_for_each(&mut turn)?;
        players.rotate_left(1);
    }
    Ok(())
}
