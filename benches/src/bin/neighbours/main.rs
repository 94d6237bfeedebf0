//! What one attacker who uses ordinary, allowed commands does to the latency of honest users.
//!
//! `cargo run --release -p trunkline-benches --bin neighbours`

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

mod attack;
mod attacks;
mod crew;
mod gateway;
mod honest;
mod judge;
mod latencies;
mod lingering;
mod measure;
mod pen;
mod power;
mod protobuf;
mod record;
mod report;
mod samples;
mod stage;
mod turns;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use trunkline_benches::peer;

use crate::attack::Listed;
use crate::judge::Rules;
use crate::verdict::{Bounds, Figures};

/// Measures the latency of honest users alone and beside an attacker, in turns, for one attack
/// after the other.
///
/// An attack takes 1 to 4 minutes: it ends after 6 or 12 of 24 rounds if they decide. It takes half as much more with
/// --sink, and up to 75 seconds (--patience) more if its memory does not return.
///
/// Each attack has a gateway of its own with an empty store. Both ends run on this machine. The
/// program fails if the gateway does not keep the honest users whole.
#[derive(Debug, Parser)]
struct Args {
    /// Only these attacks
    #[arg(long, value_delimiter = ',', num_args = 1.., value_name = "NAME")]
    only: Vec<String>,
    /// Print the names of the attacks, and what each attacker does
    #[arg(long)]
    list: bool,
    /// The most rounds of each attack: control, attack, and with --sink the load elsewhere. After a quarter of
    /// them, after half and after all, the attack ends if they decide. Fewer than 6 do not
    #[arg(long, default_value_t = 24)]
    rounds: usize,
    /// Seconds of each turn of a round
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Pairs of honest users
    #[arg(long, default_value_t = 200)]
    pairs: usize,
    /// Messages per second of all honest users together
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// How often an attack is measured until the gateway keeps the honest users whole. The other
    /// programs of a busy machine make single measurements miss
    #[arg(long, default_value_t = 1)]
    tries: usize,
    /// Attackers, each with an address of its own. Beside several, honest users have to get their
    /// share; beside one, they must notice nothing
    #[arg(long, default_value_t = 1)]
    attackers: usize,
    /// The most commands of a connection in flight, instead of the number of each attack, which is
    /// mostly 64. With 100000 only the gateway slows an attacker down
    #[arg(long, value_name = "COMMANDS")]
    window: Option<usize>,
    /// Shards of the gateway
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Users have tokens, and the gateway limits rates as it does by default. Without this it is
    /// in development mode
    #[arg(long)]
    tokens: bool,
    /// At the end, the attacker does as much to a server that does nothing: what honest users notice
    /// then, the kernel and the processors do
    #[arg(long)]
    sink: bool,
    /// Seconds until the gateway's memory has to be back after an attack. The gateway forgets unused
    /// groups after a minute
    #[arg(long, default_value_t = 75, value_name = "SECONDS")]
    patience: u64,
    /// The most memory in MiB that an attack may add
    #[arg(long, default_value_t = 512.0, value_name = "MIB")]
    memory: f64,
    /// The gateway's program, such as one of another version, instead of the gateway in this program
    #[arg(long, value_name = "PROGRAM")]
    gateway: Option<PathBuf>,
    /// Folder for the stores, instead of the one for temporary files
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// File for the figures, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// File that the latencies of all messages are added to, for --simulate. All rounds are measured
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Measure nothing: draw rounds at random from a file of --only nothing --record FILE, plant slower
    /// messages, and print what the judge finds in --rounds of them
    #[arg(long, value_name = "FILE")]
    simulate: Option<PathBuf>,
}

impl Args {
    /// Returns the attacks that are asked for.
    ///
    /// # Errors
    /// A name is no attack.
    fn attacks(&self) -> anyhow::Result<Vec<&'static Listed>> {
        if self.only.is_empty() {
            return Ok(attacks::ALL.iter().collect());
        }
        let find = |name: &String| {
            let mut all = attacks::ALL.iter().chain([attacks::NOTHING]);
            all.find(|listed| listed.name == name)
                .with_context(|| format!("{name} is no attack: --list names them all"))
        };
        self.only.iter().map(find).collect()
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            attackers: self.attackers,
            memory_mib: self.memory,
        }
    }
}

fn main() -> ExitCode {
    if let Some(code) = peer::child_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(Ending::Whole) => ExitCode::SUCCESS,
        Ok(Ending::Undecided) => ExitCode::from(UNDECIDED),
        Ok(Ending::Missed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("neighbours: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The exit code if nothing was missed and the rounds of an attack do not decide. The load lab ends with the same
/// code if a run shows nothing.
const UNDECIDED: u8 = 90;

/// The most messages of one side of an attack. All their latencies are kept.
const MOST_MESSAGES: f64 = 1e7;

/// How a measurement ends.
enum Ending {
    /// Honest users were kept whole beside each attack.
    Whole,
    /// Nothing was missed, and for some attacks the rounds do not decide.
    Undecided,
    /// Something was missed or not measured.
    Missed,
}

/// Measures the attacks that are asked for.
fn run(args: &Args) -> anyhow::Result<Ending> {
    if args.list {
        for Listed { name, about, .. } in attacks::ALL {
            println!("{name:<18}{about}");
        }
        return Ok(Ending::Whole);
    }
    if args.attackers == 0 || args.pairs == 0 || args.shards == 0 || args.rounds == 0 {
        bail!("--attackers, --pairs, --shards and --rounds take numbers from 1 on");
    }
    let messages = args.rounds as f64 * args.seconds * args.rate;
    if !(0.0..=MOST_MESSAGES).contains(&messages) {
        bail!("--rounds × --seconds × --rate is {messages:.0}, and at most {MOST_MESSAGES:.0}");
    }
    if let Some(file) = &args.simulate {
        let rules = Rules {
            rounds: args.rounds,
            own_cores: 0.0,
        };
        println!("{}", power::table(file, rules)?);
        return Ok(Ending::Whole);
    }
    raise_descriptors()?;
    let (mut all, bounds): (Vec<Figures>, _) = (Vec::new(), args.bounds());
    let mut failed = 0;
    for listed in args.attacks()? {
        match best(args, listed) {
            Ok(figures) => all.push(figures),
            Err(error) => {
                failed += 1;
                println!("{:<16} not measured: {error:#}", listed.name);
            }
        }
    }
    println!("\n{}", report::table(&all, bounds));
    if let Some(file) = &args.json {
        report::write(file, args, &all, bounds)?;
    }
    let missed = all.iter().filter(|one| !one.misses(bounds).is_empty());
    let missed = missed.count();
    let undecided = all.iter().filter(|one| one.is_undecided(bounds)).count();
    println!(
        "{} attacks: {} whole, {undecided} undecided, {missed} missed, {failed} not measured",
        all.len() + failed,
        all.len() - missed - undecided
    );
    Ok(match (missed + failed, undecided) {
        (0, 0) => Ending::Whole,
        (0, _) => Ending::Undecided,
        _ => Ending::Missed,
    })
}

/// Measures an attack until nothing is missed, as often as the command line says. Returns the figures
/// with the fewest misses.
fn best(args: &Args, listed: &Listed) -> anyhow::Result<Figures> {
    let bounds = args.bounds();
    let mut best: Option<Figures> = None;
    for _ in 0..args.tries.max(1) {
        let (figures, rounds) = measure::measure(args, listed)?;
        if let Some(file) = &args.record {
            record::append(file, listed.name, &rounds)?;
        }
        println!("{}", report::line(&figures, bounds));
        let misses = figures.misses(bounds).len();
        if best
            .as_ref()
            .is_none_or(|best| misses < best.misses(bounds).len())
        {
            best = Some(figures);
        }
        if misses == 0 {
            break;
        }
    }
    best.context("nothing was measured")
}

/// Lets this process and the gateway have as many connections as the machine allows.
fn raise_descriptors() -> anyhow::Result<()> {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        maximum: limits.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("cannot raise the number of open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_are_chosen_by_name() {
        let args = Args::parse_from(["neighbours", "--only", "sync,history", "--shards", "2"]);
        let names: Vec<_> = args.attacks().unwrap().iter().map(|one| one.name).collect();
        assert_eq!(names, ["sync", "history"]);
        let args = Args::parse_from(["neighbours", "--only", "nothing"]);
        assert!(args.attacks().is_ok());
        let args = Args::parse_from(["neighbours", "--only", "peace"]);
        assert!(args.attacks().is_err());
    }
}
