//! Measures the honest users beside one attack.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use trunkline_benches::peer::Peer;
use trunkline_benches::rounds::Verdict;

use crate::Args;
use crate::attack::Listed;
use crate::crew::{Crew, Tally};
use crate::gateway::Gateway;
use crate::honest::{Honest, Ledger};
use crate::judge::{Judged, Round, Rules, judge};
use crate::lingering::{Lingering, TURNS};
use crate::samples::Samples;
use crate::stage::Stage;
use crate::turns::{Board, Turn};
use crate::verdict::{Figures, Memory, Percentiles};

/// Before a control counts: what an attack has left is over by then.
const WARM: Duration = Duration::from_millis(500);

/// The most time until the messages of the attack's turn have arrived.
const ARRIVE: Duration = Duration::from_secs(60);

/// Between two looks at whether memory has returned.
const LOOK: Duration = Duration::from_millis(500);

/// Measures one attack beside a gateway of its own. Returns the figures, and the rounds they come from.
///
/// # Errors
/// The gateway does not start, or refuses what the attack needs.
pub(crate) fn measure(args: &Args, listed: &Listed) -> anyhow::Result<(Figures, Vec<Round>)> {
    let gateway = Gateway::start(args)?;
    let (server, signer) = (gateway.peer.address, gateway.signer.as_ref());
    let honest = Honest::connect(server, signer, args.pairs, args.rate)?;
    let (board, samples) = (Board::default(), honest.samples());
    std::thread::scope(|scope| {
        // Honest users answer pings from the beginning: a preparation can take long.
        let honest = scope.spawn(|| honest.run(&board));
        let seen = prepare(args, listed, &gateway)
            .and_then(|crew| take_turns(scope, args, &gateway, (&board, &samples), crew));
        board.end();
        let (ledger, seen) = (joined(honest)?, seen?);
        let rounds = samples.rounds();
        let rules = seen.rules(args);
        let (first, last) = (samples.of(Turn::First), samples.of(Turn::After));
        let judged = (judge(&rounds, rules), Lingering::of(&first, &rounds, &last));
        Ok((figures(listed, &ledger, seen, judged), rounds))
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
#[derive(Default)]
struct Seen {
    tally: Tally,
    memory: Memory,
    /// The seconds of a processor that the gateway took beside the attack.
    cpu: f64,
    /// The time of all attacks.
    attack: Duration,
    /// The seconds of a processor that the attacker's thread and the sink took.
    own: f64,
    /// The time of the attacker's load elsewhere.
    elsewhere: Duration,
}

impl Seen {
    /// Returns the part of a processor that the attacker's own programs take: beside the sink if there is one.
    fn own_cores(&self) -> f64 {
        let (seconds, time) = match self.elsewhere.is_zero() {
            true => (self.tally.cpu, self.attack),
            false => (self.own, self.elsewhere),
        };
        seconds / time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn rules(&self, args: &Args) -> Rules {
        Rules {
            rounds: args.rounds,
            own_cores: self.own_cores(),
        }
    }
}

/// Controls; then rounds of control, attack, and the attacker's load elsewhere if the command line says so, until a look
/// at them decides; then the memory, and controls again.
fn take_turns<'scope>(
    scope: &'scope Scope<'scope, '_>,
    args: &Args,
    gateway: &Gateway,
    (board, samples): (&Board, &Samples),
    mut crew: Crew,
) -> anyhow::Result<Seen> {
    let time = Duration::from_secs_f64(args.seconds);
    let (mut seen, mut index) = (Seen::default(), 0.0);
    let looks = seen.rules(args).looks();
    controls(board, Turn::First, time);
    for round in 1..=args.rounds {
        std::thread::sleep(WARM);
        board.begin(Turn::Before);
        std::thread::sleep(time);
        board.begin(Turn::Between);
        if round == 1 {
            index = gateway.index();
            seen.memory.before = gateway.memory();
        }
        crew.open()?;
        let attacked = one_attack(scope, args, gateway, board, crew)?;
        crew = attacked.crew;
        crew.leave();
        seen.cpu += attacked.cpu;
        seen.attack += attacked.time;
        seen.tally.add(&attacked.tally);
        let peak = gateway.watch(ARRIVE, || board.waiting() == 0);
        seen.memory.peak = seen.memory.peak.max(attacked.peak).max(peak);
        if args.sink {
            let done = (&attacked.tally, attacked.time);
            let moved = elsewhere(scope, args, board, crew, done)?;
            crew = moved.crew;
            crew.return_to(gateway.peer.address);
            seen.own += moved.cpu;
            seen.elsewhere += moved.time;
        }
        // Several attackers are judged by the share of the honest users.
        let may_end = args.attackers == 1 && args.record.is_none();
        let looks_now = may_end && looks.contains(&round);
        if looks_now && judge(&samples.rounds(), seen.rules(args)).verdict != Verdict::Undecided {
            break;
        }
    }
    drop(crew);
    let memory = &mut seen.memory;
    let (left, patience) = (Instant::now(), Duration::from_secs(args.patience));
    loop {
        memory.stored = gateway.index() - index;
        memory.after = gateway.memory();
        if memory.has_returned() || left.elapsed() > patience {
            break;
        }
        std::thread::sleep(LOOK);
    }
    controls(board, Turn::After, time);
    Ok(seen)
}

/// Turns without an attacker, before the first attack or after the last one.
fn controls(board: &Board, turn: Turn, time: Duration) {
    for _ in 0..TURNS {
        std::thread::sleep(WARM);
        board.begin(turn);
        std::thread::sleep(time);
        board.begin(Turn::Between);
    }
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

/// What the measuring thread sees of the attacker's load elsewhere.
struct Moved {
    crew: Crew,
    cpu: f64,
    time: Duration,
}

/// Lets the attacker do what it did in `done` to a server that does nothing.
fn elsewhere<'scope>(
    scope: &'scope Scope<'scope, '_>,
    args: &Args,
    board: &Board,
    mut crew: Crew,
    done: (&Tally, Duration),
) -> anyhow::Result<Moved> {
    let (tally, attack) = done;
    let bytes = tally.bytes as f64 / attack.as_secs_f64();
    let sink = Peer::sink(bytes as u64)?;
    crew.move_to(sink.address, tally, attack);
    crew.open()?;
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let (cpu, start) = (sink.cpu_seconds(), Instant::now());
    board.begin(Turn::Sink);
    let attacking = scope.spawn(move || crew.attack(&told).map(|tally| (tally, crew)));
    std::thread::sleep(Duration::from_secs_f64(args.seconds));
    board.begin(Turn::Between);
    let (cpu, time) = (sink.cpu_seconds() - cpu, start.elapsed());
    over.store(true, SeqCst);
    let (tally, crew) = joined(attacking)?;
    Ok(Moved {
        crew,
        cpu: cpu + tally.cpu,
        time,
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    let ended = thread.join();
    ended.map_err(|_| anyhow::anyhow!("a thread panicked"))?
}

fn figures(
    listed: &Listed,
    ledger: &Ledger,
    seen: Seen,
    (judged, lingering): (Judged, Lingering),
) -> Figures {
    let [_, before, attack, after, sink] = &ledger.turns;
    Figures {
        attack: listed.name,
        about: listed.about,
        before: Percentiles::of(before),
        after: Percentiles::of(after),
        beside: Percentiles::of(attack),
        judged,
        lingering,
        sink: (sink.count() > 0).then(|| Percentiles::of(sink)),
        worst_second_ms: attack.worst_second(),
        in_time: attack.share_in_time(),
        harm: ledger.harm,
        memory: seen.memory,
        cores: seen.cpu / seen.attack.as_secs_f64(),
        own_cores: seen.own_cores(),
        attack_seconds: seen.attack.as_secs_f64(),
        refused: seen.tally.refused(),
        attacker: seen.tally,
    }
}
