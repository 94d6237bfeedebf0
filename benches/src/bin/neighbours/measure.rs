//! Measures the honest users beside one attack.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use trunkline_benches::peer::Peer;

use crate::Args;
use crate::attack::Listed;
use crate::crew::{Crew, Tally};
use crate::gateway::Gateway;
use crate::honest::{Honest, Ledger};
use crate::judge::{Round, judge};
use crate::stage::Stage;
use crate::turns::{Board, Turn};
use crate::verdict::{Figures, Memory, Percentiles};

/// Before a control counts: what an attack has left is over by then.
const WARM: Duration = Duration::from_millis(500);

/// How much longer the first control is than the others.
const FIRST: u32 = 4;

/// The most time until the messages of the attack's turn have arrived.
const ARRIVE: Duration = Duration::from_secs(60);

/// Between two looks at whether memory has returned.
const LOOK: Duration = Duration::from_millis(500);

/// Measures one attack beside a gateway of its own.
///
/// # Errors
/// The gateway does not start, or refuses what the attack needs.
pub(crate) fn measure(args: &Args, listed: &Listed) -> anyhow::Result<Figures> {
    let gateway = Gateway::start(args)?;
    let (server, signer) = (gateway.peer.address, gateway.signer.as_ref());
    let honest = Honest::connect(server, signer, args.pairs, args.rate)?;
    let board = Board::default();
    std::thread::scope(|scope| {
        // Honest users answer pings from the beginning: a preparation can take long.
        let honest = scope.spawn(|| honest.run(&board));
        let seen = prepare(args, listed, &gateway)
            .and_then(|crew| take_turns(scope, args, &gateway, &board, crew));
        board.end();
        let ledger = joined(honest)?;
        Ok(figures(listed, &ledger, seen?))
    })
}

fn prepare(args: &Args, listed: &Listed, gateway: &Gateway) -> anyhow::Result<Crew> {
    let stages: Vec<_> = (0..args.attackers)
        .map(|number| stage(gateway, number))
        .collect();
    let crew = Crew::new(listed, &stages, args.window);
    let mut crew = crew.context("the attack cannot be prepared")?;
    crew.open()?;
    Ok(crew)
}

/// Returns where an attacker stands: each has a name and an address.
fn stage(gateway: &Gateway, number: usize) -> Stage<'_> {
    let [high, low] = (number as u16 + 1).to_be_bytes();
    Stage {
        server: gateway.peer.address,
        signer: gateway.signer.as_ref(),
        me: format!("mal{number}"),
        source: Ipv4Addr::new(127, 1, high, low),
    }
}

/// What the measuring thread sees.
struct Seen {
    tally: Tally,
    memory: Memory,
    cores: f64,
    attack: Duration,
}

/// Rounds of control, attack, and the attacker's load elsewhere if the command line says so; then the memory,
/// and a last control.
fn take_turns<'scope>(
    scope: &'scope Scope<'scope, '_>,
    args: &Args,
    gateway: &Gateway,
    board: &Board,
    mut crew: Crew,
) -> anyhow::Result<Seen> {
    let time = Duration::from_secs_f64(args.seconds);
    let (mut memory, mut index) = (Memory::default(), 0.0);
    let (mut tally, mut cpu, mut attack) = (Tally::default(), 0.0, Duration::ZERO);
    for round in 0..args.rounds {
        std::thread::sleep(WARM);
        board.begin(Turn::Before);
        // The first control has no attack before it: the others are compared with it.
        std::thread::sleep(if round == 0 { time * FIRST } else { time });
        board.begin(Turn::Between);
        if round == 0 {
            index = gateway.index();
            memory.before = gateway.memory();
        }
        crew.open()?;
        let round = one_attack(scope, args, gateway, board, crew)?;
        crew = round.crew;
        crew.leave();
        cpu += round.cpu;
        attack += round.time;
        tally.add(&round.tally);
        let peak = gateway.watch(ARRIVE, || board.waiting() == 0);
        memory.peak = memory.peak.max(round.peak).max(peak);
        if args.sink {
            crew = elsewhere(scope, args, board, crew, (&round.tally, round.time))?;
            crew.return_to(gateway.peer.address);
        }
    }
    drop(crew);
    let (left, patience) = (Instant::now(), Duration::from_secs(args.patience));
    loop {
        memory.stored = gateway.index() - index;
        memory.after = gateway.memory();
        if memory.has_returned() || left.elapsed() > patience {
            break;
        }
        std::thread::sleep(LOOK);
    }
    board.begin(Turn::After);
    std::thread::sleep(time);
    board.begin(Turn::Between);
    Ok(Seen {
        tally,
        memory,
        cores: cpu / attack.as_secs_f64(),
        attack,
    })
}

/// What the measuring thread sees of one attack.
struct Attacked {
    crew: Crew,
    tally: Tally,
    cpu: f64,
    time: Duration,
    peak: f64,
}

/// Lets the attacker attack for one turn.
fn one_attack<'scope>(
    scope: &'scope Scope<'scope, '_>,
    args: &Args,
    gateway: &Gateway,
    board: &Board,
    mut crew: Crew,
) -> anyhow::Result<Attacked> {
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let (cpu, start) = (gateway.peer.cpu_seconds(), Instant::now());
    board.begin(Turn::Attack);
    let attacking = scope.spawn(move || crew.attack(&told).map(|tally| (tally, crew)));
    let peak = gateway.watch(Duration::from_secs_f64(args.seconds), || false);
    board.begin(Turn::Between);
    let (cpu, time) = (gateway.peer.cpu_seconds() - cpu, start.elapsed());
    over.store(true, SeqCst);
    let (tally, crew) = joined(attacking)?;
    Ok(Attacked {
        crew,
        tally,
        cpu,
        time,
        peak,
    })
}

/// Lets the attacker do what it did in `done` to a server that does nothing.
fn elsewhere<'scope>(
    scope: &'scope Scope<'scope, '_>,
    args: &Args,
    board: &Board,
    mut crew: Crew,
    done: (&Tally, Duration),
) -> anyhow::Result<Crew> {
    let (tally, attack) = done;
    let bytes = tally.bytes as f64 / attack.as_secs_f64();
    let sink = Peer::sink(bytes as u64)?;
    crew.move_to(sink.address, tally, attack);
    crew.open()?;
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    board.begin(Turn::Sink);
    let attacking = scope.spawn(move || crew.attack(&told).map(|_| crew));
    std::thread::sleep(Duration::from_secs_f64(args.seconds));
    board.begin(Turn::Between);
    over.store(true, SeqCst);
    joined(attacking)
}

fn joined<T>(thread: ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    let ended = thread.join();
    ended.map_err(|_| anyhow::anyhow!("a thread panicked"))?
}

fn figures(listed: &Listed, ledger: &Ledger, seen: Seen) -> Figures {
    let [before, attack, after, sink] = &ledger.turns;
    let sinks = sink.p99_of_rounds();
    let (controls, beside) = (before.p99_of_rounds(), attack.p99_of_rounds());
    // The honest users may have had no processor for a whole turn: then nobody knows which rounds belong together.
    let is_whole = controls.len() == beside.len();
    let rounds = controls.into_iter().zip(beside).filter(|_| is_whole);
    let round = |(at, (control, beside))| Round {
        control,
        beside,
        sink: sinks.get(at).copied(),
    };
    let rounds: Vec<_> = rounds.enumerate().map(round).collect();
    Figures {
        attack: listed.name,
        about: listed.about,
        before: Percentiles::of(before),
        after: Percentiles::of(after),
        beside: Percentiles::of(attack),
        judged: judge(&rounds),
        sink: (sink.count() > 0).then(|| Percentiles::of(sink)),
        worst_second_ms: attack.worst_second(),
        in_time: attack.share_in_time(),
        harm: ledger.harm,
        memory: seen.memory,
        cores: seen.cores,
        attack_seconds: seen.attack.as_secs_f64(),
        refused: seen.tally.refused(),
        attacker: seen.tally,
    }
}
