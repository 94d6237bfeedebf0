//! The command line as typed: pure parsing, nothing looked up. `run` resolves it.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::local_gateway::doctor::{DoctorArgs, MAX_SHARDS};
use crate::local_gateway::durability;
use crate::scenario::chaos::Fault;
use crate::units::{Compress, Rate, Share, Span};

/// Replay scenarios of a messaging service against a gateway, and believe the figures.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 ok; 90 run invalid (generator not healthy); 91 integrity \
violation; 92 worse beyond noise; 93 inconclusive; 94 the machine cannot carry the run; 99 threshold missed; 104 bad scenario or command \
line; 105 aborted. 91 goes before 90, 90 before 99.";

/// Shards that a gateway may have.
fn shards() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=MAX_SHARDS as i64)
}

/// A time between pings, as the gateway takes it.
fn ping(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    match (100..=86_400_000).contains(&span.0.as_millis()) {
        true => Ok(span),
        false => Err(format!("`{text}`: from 100ms to 24h")),
    }
}

/// An address to listen on: `HOST:PORT`, or a port alone, which is one of loopback.
///
/// # Errors
/// What is wrong with it.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let found = text.to_socket_addrs().map(|mut found| found.next());
    match found {
        Ok(Some(address)) => Ok(address),
        _ => Err("write HOST:PORT, or a port of loopback".into()),
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a scenario: a preset's name or a TOML file
    Run(Box<RunArgs>),
    /// Find the highest rate that holds the thresholds of a scenario
    FindMax(Box<FindMaxArgs>),
    /// Open many sessions, hold them with light traffic, and measure what each takes
    Hold(Box<HoldArgs>),
    /// Compare two runs, or two builds by pairs of runs, and say what is more than noise
    Compare(CompareArgs),
    /// Judge the results of a run again
    Check(CheckArgs),
    /// Write the plots and tables of a run, or of several over each other, as one HTML file
    Report(ReportArgs),
    /// Say what this machine can carry, limit by limit, and which commands lift them
    Doctor(DoctorArgs),
    /// Plan the machines of a whole service: every input, formula and result on one page
    Plan(PlanArgs),
    /// List the presets with their arithmetic
    Presets,
    /// Write a scenario to start from, with a word on every key
    Init {
        /// Where to; a file that is there stays as it is, and - is standard output
        #[arg(default_value = "scenario.toml")]
        file: PathBuf,
    },
    /// Say whether a scenario file is right, and what it stands for
    Validate {
        /// A preset's name or a TOML file
        scenario: String,
    },
}

/// How messages are encoded on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EncodingArg {
    /// Text frames, JSON
    Json,
    /// Binary frames, length-delimited protobuf
    Proto,
}

/// The flags of TLS, and of tokens: how a gateway is connected to.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TlsArgs {
    /// Connect to the local gateway with TLS, with a certificate that is made for this run
    #[arg(long, conflicts_with = "target")]
    pub(crate) tls: bool,
    /// Authorities that a wss:// target is trusted by, as PEM; otherwise the system's
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Key that the target takes tokens of, and that each user's is signed with: a private key as PEM,
    /// or the bytes of a secret (HS256)
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) token_key: Option<PathBuf>,
}

/// The flags of `run`; each overrides what the scenario says.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RunArgs {
    /// A preset's name (see `loadgen presets`) or a TOML file
    pub(crate) scenario: String,
    /// The gateway to drive, ws://HOST:PORT/v1/ws or wss://...; without it a local one is started and
    /// stopped
    #[arg(long, value_name = "URL")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// The target's control port, http://HOST:PORT, to compare figures with its /metrics
    #[arg(long, value_name = "URL", requires = "target")]
    pub(crate) control: Option<String>,
    /// Sessions; the share of the population follows from it
    #[arg(long, value_name = "N", conflicts_with = "share")]
    pub(crate) connections: Option<u64>,
    /// Messages per second, "2000/s"; otherwise derived from the population
    #[arg(long, value_name = "R")]
    pub(crate) rate: Option<Rate>,
    /// The part of the population that this run stands for, 1/10000
    #[arg(long, value_name = "PART/WHOLE")]
    pub(crate) share: Option<Share>,
    /// How long messages are sent, "20s"
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<Span>,
    /// How much faster than life the day is replayed, "24h=10m": rates that follow from the
    /// population rise with it, and a day's curve lasts that long
    #[arg(long, value_name = "LONG=SHORT", conflicts_with = "rate")]
    pub(crate) compress: Option<Compress>,
    /// The source of everything random
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// How messages are encoded on the wire
    #[arg(long, value_enum)]
    pub(crate) encoding: Option<EncodingArg>,
    /// Source addresses of the connections, 127.0.0.0/28
    #[arg(long, value_name = "NETWORK")]
    pub(crate) source: Option<String>,
    /// Generator threads; one per core otherwise
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<u32>,
    /// Shards of the local gateway, 1 to 128; one per core otherwise
    #[arg(long, value_name = "N", conflicts_with = "target", value_parser = shards())]
    pub(crate) shards: Option<u32>,
    /// Durability of the local gateway: sync, interval:MS or os
    #[arg(long, value_name = "LEVEL", conflicts_with = "target", value_parser = durability)]
    pub(crate) durability: Option<String>,
    /// Do this to the local gateway, counted from the start of sending: kill-gateway@30s,
    /// restart-gateway@30s or pause-gateway@30s+2s; may be given several times
    #[arg(long, value_name = "WHAT@TIME")]
    pub(crate) chaos: Vec<Fault>,
    /// Where the results go; otherwise a new folder under target/loadgen or the temporary folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
}

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorArg {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Whatever this is written to
    Always,
    /// Nowhere
    Never,
}

/// The flags of how a run is shown while it goes on.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ViewArgs {
    /// Plain progress lines, also on a terminal
    #[arg(long)]
    pub(crate) no_tui: bool,
    /// When there are colours; NO_COLOR is heeded otherwise
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: ColorArg,
    /// Tell Prometheus how far it is: http://ADDR/metrics; a port alone is one of loopback
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub(crate) prometheus: Option<SocketAddr>,
}

/// The flags of `find-max`, beside those of `run`: its population, connections and thresholds are the
/// scenario's, `--duration` is how long a rate is tried.
#[derive(Debug, clap::Args)]
pub(crate) struct FindMaxArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// The first rate that is tried; otherwise 1000/s, or with --compress the rate that follows from it
    #[arg(long, value_name = "R")]
    pub(crate) from: Option<Rate>,
    /// The highest rate that is tried
    #[arg(long, value_name = "R")]
    pub(crate) to: Option<Rate>,
    /// How close to the limit it gets, as a part of the rate
    #[arg(long, value_name = "PART", default_value_t = 0.05)]
    pub(crate) precision: f64,
    /// How often what is found must hold again, 0 to 100
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) confirm: u32,
}

/// The flags of `hold`.
#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    /// Sessions to open and hold, each of another user
    #[arg(long, value_name = "N")]
    pub(crate) connections: u64,
    /// The gateway to drive, ws://HOST:PORT/v1/ws or wss://...; without it a local one is started and
    /// stopped
    #[arg(long, value_name = "URL")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// The target's control port, http://HOST:PORT: its memory and counters are read there
    #[arg(long, value_name = "URL", requires = "target")]
    pub(crate) control: Option<String>,
    /// Messages per second among them; otherwise 40 a day and user, as in service-500m
    #[arg(long, value_name = "R")]
    pub(crate) rate: Option<Rate>,
    /// How long they are held with messages flowing
    #[arg(
        long = "for",
        alias = "duration",
        value_name = "TIME",
        default_value = "10m"
    )]
    pub(crate) duration: Span,
    /// How long to wait for messages still on their way after that
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) drain: Span,
    /// Sessions opened per second, "20000/s"; otherwise as fast as it goes
    #[arg(long, value_name = "R")]
    pub(crate) ramp: Option<Rate>,
    /// Generator threads; otherwise one per core, or as many as the descriptor limit asks for
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<u32>,
    /// Shards of the local gateway, 1 to 128; otherwise one per core, or as many as the limit asks for
    #[arg(long, value_name = "N", conflicts_with = "target", value_parser = shards())]
    pub(crate) shards: Option<u32>,
    /// Silence after which the local gateway pings, 100ms to 24h
    #[arg(
        long,
        value_name = "TIME",
        default_value = "5m",
        value_parser = ping,
        conflicts_with = "target"
    )]
    pub(crate) ping: Span,
    /// Source addresses of the connections, 127.0.0.0/8
    #[arg(long, value_name = "NETWORK")]
    pub(crate) source: Option<String>,
    /// How messages are encoded on the wire
    #[arg(long, value_enum)]
    pub(crate) encoding: Option<EncodingArg>,
    /// The source of everything random
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Print the results as JSON, the same as in hold.json
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the results go; otherwise a new folder under target/loadgen or the temporary folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
}

/// The flags of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The folder of the run's results
    pub(crate) dir: PathBuf,
    /// Judge by the thresholds of another scenario, a preset's name or a TOML file
    #[arg(long, value_name = "SCENARIO")]
    pub(crate) by: Option<String>,
}

/// The flags of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// A and B: folders of a run each, or folders that hold several runs. With --with, all are of A
    #[arg(required = true, num_args = 1.., value_name = "DIR")]
    pub(crate) runs: Vec<PathBuf>,
    /// The runs of B, as many as of A
    #[arg(long, num_args = 1.., value_name = "DIR")]
    pub(crate) with: Vec<PathBuf>,
    /// The least difference that matters, as a part: less is no regression, however certain
    #[arg(long, value_name = "PART", default_value_t = 0.01)]
    pub(crate) floor: f64,
    /// What differs on purpose, by its name in the scenario (client.encoding) or as env.NAME
    #[arg(long, value_delimiter = ',', value_name = "KEY")]
    pub(crate) vary: Vec<String>,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The flags of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Folders of runs' results, six at most; the first is what the others are seen against
    #[arg(required = true, num_args = 1..)]
    pub(crate) dirs: Vec<PathBuf>,
    /// The file to write; otherwise report.html in the first folder, for several compared.html
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// The flags of `plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// A preset's name (see `loadgen presets`) or a TOML file
    #[arg(required_unless_present = "explain")]
    scenario: Option<String>,
    /// Take what a machine carries from results instead of the scenario's [plan]: messages from
    /// those of `run` or `find-max`, connections from those of `hold`; may be given for each
    #[arg(long, value_name = "DIR")]
    pub(crate) measured: Vec<PathBuf>,
    /// How much faster than life a run of it replays the day, "24h=10m"
    #[arg(long, value_name = "LONG=SHORT")]
    pub(crate) compress: Option<Compress>,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Compare the plan of a preset with the estimate that was published for it
    #[arg(long, value_name = "PRESET", conflicts_with_all = ["scenario", "json", "measured", "compress"])]
    pub(crate) explain: Option<String>,
}

impl PlanArgs {
    /// What is planned.
    pub(crate) fn scenario(&self) -> &str {
        let one = self.explain.as_ref().or(self.scenario.as_ref());
        one.map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn run_takes_its_flags() {
        let line = "loadgen run smoke --connections 100 --rate 50/s --duration 5s --no-tui";
        let Verb::Run(args) = parse(line).unwrap().verb else {
            panic!("not run")
        };
        assert_eq!(
            (args.scenario.as_str(), args.connections, args.view.no_tui),
            ("smoke", Some(100), true)
        );
        assert_eq!(args.rate, Some(Rate(50.0)));
    }

    #[test]
    fn a_missing_unit_is_explained() {
        let error = parse("loadgen run smoke --duration 20")
            .unwrap_err()
            .to_string();
        assert!(error.contains("no unit"), "{error}");
    }

    #[test]
    fn contradicting_flags_are_refused() {
        assert!(parse("loadgen run smoke --share 1/2 --connections 5").is_err());
        assert!(parse("loadgen run smoke --rate 5/s --compress 24h=1h").is_err());
        assert!(parse("loadgen run smoke --target ws://h:1/v1/ws --shards 2").is_err());
        assert!(parse("loadgen run smoke --target wss://h:1/v1/ws --tls").is_err());
        assert!(parse("loadgen hold --connections 9 --tls-ca f").is_err());
    }

    #[test]
    fn what_the_gateway_would_refuse_is_refused() {
        for (good, bad) in [
            ("run smoke --shards 128", "run smoke --shards 129"),
            ("run smoke --shards 1", "run smoke --shards 0"),
            (
                "hold --connections 9 --shards 1",
                "hold --connections 9 --shards 0",
            ),
            ("run smoke --durability os", "run smoke --durability ossa"),
            (
                "run smoke --durability interval:50",
                "run smoke --durability interval:0",
            ),
            (
                "hold --connections 9 --ping 100ms",
                "hold --connections 9 --ping 0s",
            ),
            (
                "find-max smoke --confirm 0",
                "find-max smoke --confirm 4294967295",
            ),
            ("doctor --connections 1", "doctor --connections 0"),
            (
                "doctor --connections 1000000000000",
                "doctor --connections 18446744073709551615",
            ),
        ] {
            assert!(parse(&format!("loadgen {good}")).is_ok(), "{good}");
            assert!(parse(&format!("loadgen {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_of_loopback_unless_said_otherwise() {
        for (text, found) in [
            ("9187", "127.0.0.1:9187"),
            (":9187", "127.0.0.1:9187"),
            ("0.0.0.0:9187", "0.0.0.0:9187"),
            ("[::1]:9187", "[::1]:9187"),
        ] {
            assert_eq!(listen_address(text).expect(text).to_string(), found);
        }
        for bad in [
            "",
            "here",
            "127.0.0.1",
            "70000",
            "127.0.0.1:70000",
            "http://127.0.0.1:1",
        ] {
            assert!(listen_address(bad).is_err(), "{bad}");
        }
    }
}
