//! The command line as typed. This module only parses; `settings` resolves the result.

mod agents;
mod faults;
mod gate;
mod peers;
mod plan;

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

use crate::local_gateway::doctor::{DoctorArgs, MAX_SHARDS};
use crate::local_gateway::durability;
use crate::local_gateway::manual::{CompletionsArgs, ManArgs};
use crate::scenario::chaos::Fault;
use crate::scenario::protocol::ProtocolKind;
use crate::scenario::threshold::Wanted;
use crate::scenario::variables::Variable;
use crate::units::{Compress, Rate, Share, Span};
pub(crate) use agents::{AgentArgs, ManyArgs, WantedAgents};
pub(crate) use faults::FaultsArgs;
pub(crate) use gate::GateArgs;
pub(crate) use peers::PeersArgs;
pub(crate) use plan::PlanArgs;

/// The Trunkline load lab: replay scenarios of a messaging service against a gateway, check every
/// message, and print figures that are right or refused
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// The command.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes:
    0  ok: every check passed
   90  run invalid: the generator was not healthy, so the figures may not be used
   91  integrity violation: a message was lost, repeated, reordered, changed or made up
   92  worse beyond noise (compare), or above a limit (gate)
   93  inconclusive: the figures do not decide
   94  the machine cannot carry the run; nothing was started
   99  a threshold of the scenario was missed
  104  the scenario or the command line is wrong; nothing was started
  105  aborted
If several apply, 91 goes before 90, and 90 before 99.";

/// Parses the number of shards of a gateway.
fn shards() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=MAX_SHARDS as i64)
}

/// Parses the time between pings that a gateway takes.
fn ping(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    match (100..=86_400_000).contains(&span.0.as_millis()) {
        true => Ok(span),
        false => Err(format!(
            "`{text}` is out of range: write a time from 100ms to 24h"
        )),
    }
}

/// Parses an address to listen on: `HOST:PORT`, or a port alone, which is on loopback.
///
/// # Errors
/// The text is not an address, or its host is unknown.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let found = text.to_socket_addrs().map(|mut found| found.next());
    match found {
        Ok(Some(address)) => Ok(address),
        _ => Err("write HOST:PORT, or a port alone for loopback".into()),
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a scenario and check every message
    Run(Box<RunVerb>),
    /// Play parts of runs that another machine leads (`loadgen run --agents N --nats URL`)
    Agent(AgentArgs),
    /// Bring random faults on a cluster under load, one after another, and print what each kind cost
    Faults(FaultsArgs),
    /// Find the highest message rate that holds the thresholds of a scenario
    FindMax(Box<FindMaxArgs>),
    /// Open many sessions, hold them with light traffic, and measure memory and CPU per session
    Hold(Box<HoldArgs>),
    /// Compare two runs, or two builds by pairs of runs, and tell differences from noise
    Compare(CompareArgs),
    /// Compare the servers of others that are installed with the gateway, in turns, under one load
    Peers(PeersArgs),
    /// Count instructions and bytes against the limits of a checkout, and run it in turns with another
    /// commit: for CI
    Gate(GateArgs),
    /// Judge the results of a finished run again
    Check(CheckArgs),
    /// Write plots and tables of one run, or of up to six runs together, as one HTML file
    Report(ReportArgs),
    /// Show what this machine can carry, limit by limit, with the commands that raise each limit
    Doctor(DoctorArgs),
    /// Compute the machines of a whole service: every input, formula and result on one page
    Plan(PlanArgs),
    /// List the presets, each with the load that it makes
    Presets,
    /// Write a scenario to start from, with a comment on every key
    Init {
        /// The file to write; an existing file is never replaced, and - is standard output
        #[arg(default_value = "scenario.toml")]
        file: PathBuf,
        /// The protocol of the server that the scenario is for
        #[arg(long, value_enum, value_name = "KIND", default_value_t)]
        protocol: ProtocolKind,
    },
    /// Check a scenario file, and show the load that it makes
    Validate {
        /// The name of a preset, a TOML file, or - for standard input
        scenario: String,
        /// The value of a variable in the scenario, where it has ${NAME}; may be given several times
        #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
        variables: Vec<Variable>,
    },
    /// Print the script that completes this command line in a shell
    Completions(CompletionsArgs),
    /// Write a manual page for each command into a folder
    Man(ManArgs),
}

/// The encoding of messages on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EncodingArg {
    /// Text frames, JSON
    Json,
    /// Binary frames, length-delimited protobuf
    Proto,
}

/// The options of TLS and of tokens.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TlsArgs {
    /// Connect to the local gateway with TLS; a certificate is made for this run
    #[arg(long, conflicts_with = "target")]
    pub(crate) tls: bool,
    /// A PEM file with the certificate authorities to trust for a wss:// target [default: those of
    /// the system]
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// A file with the key that signs a token for each user, for a target that asks for tokens: a
    /// private key as PEM, or the bytes of a secret (HS256)
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) token_key: Option<PathBuf>,
}

/// The command line of `run`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RunVerb {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) told: ToldArgs,
    #[command(flatten)]
    pub(crate) many: ManyArgs,
}

/// The options for what a run tells other programs.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ToldArgs {
    /// Print the results as JSON, with the content of summary.json
    #[arg(long)]
    pub(crate) json: bool,
    /// Write each check and threshold as a test into a file that CI systems read (JUnit XML)
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write a line of JSON each second; - is standard output, where nothing else is printed then
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
}

impl ToldArgs {
    /// Returns whether the lines of events take standard output.
    pub(crate) fn events_take_output(&self) -> bool {
        self.events.as_deref() == Some(Path::new("-"))
    }
}

/// The options of `run`; each overrides the scenario.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RunArgs {
    /// The name of a preset (see `loadgen presets`), a TOML file, or - for standard input
    pub(crate) scenario: String,
    /// The gateway to drive, ws://HOST:PORT/v1/ws or wss://...; or the nodes of a cluster with commas
    /// between them, over which users are spread; without this option, a local gateway is started for
    /// the run and stopped after it
    #[arg(long, value_delimiter = ',', value_name = "URL")]
    pub(crate) target: Vec<String>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// The protocol of a target that is another server: a peer (bun-chat, ws-chat, nats, jetstream,
    /// ejabberd, centrifugo, mosquitto, aedes), or a TOML file with a table [protocol]
    #[arg(long, value_name = "PEER|FILE", requires = "target")]
    pub(crate) protocol: Option<String>,
    /// The control port of the target, http://HOST:PORT: its /metrics are compared with the counts of
    /// this program; with several targets, that of each of them
    #[arg(long, value_delimiter = ',', value_name = "URL", requires = "target")]
    pub(crate) control: Vec<String>,
    /// Metrics at --control whose sum is the work that the target puts off [default: those of the
    /// gateway]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "METRIC",
        requires = "control"
    )]
    pub(crate) debt: Vec<String>,
    /// Send on until the server puts off no more work than it does, for TIME at the most
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "10m")]
    pub(crate) steady: Option<Span>,
    /// The number of sessions; the share of the population follows from it
    #[arg(long, value_name = "N", conflicts_with = "share")]
    pub(crate) connections: Option<u64>,
    /// Messages per second, such as 2000/s [default: derived from the population]
    #[arg(long, value_name = "R")]
    pub(crate) rate: Option<Rate>,
    /// The part of the population that this run plays, such as 1/10000
    #[arg(long, value_name = "PART/WHOLE")]
    pub(crate) share: Option<Share>,
    /// The time for which messages are sent, such as 20s
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<Span>,
    /// How much faster than real time the day is replayed, such as 24h=10m: rates that are derived
    /// from the population rise by that factor, and the curve of a day lasts that long
    #[arg(long, value_name = "LONG=SHORT", conflicts_with = "rate")]
    pub(crate) compress: Option<Compress>,
    /// The seed of all random numbers: the same seed gives the same schedule
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// The encoding of messages on the wire
    #[arg(long, value_enum)]
    pub(crate) encoding: Option<EncodingArg>,
    /// The network of the source addresses, such as 127.0.0.0/28: one address has ports for about
    /// 28,000 connections to a target
    #[arg(long, value_name = "NETWORK")]
    pub(crate) source: Option<String>,
    /// The number of generator threads [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<u32>,
    /// The number of shards of the local gateway, 1 to 127 [default: one per core]
    #[arg(long, value_name = "N", conflicts_with = "target", value_parser = shards())]
    pub(crate) shards: Option<u32>,
    /// Another build of loadgen, whose gateway is the local one [default: the gateway in this program]
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub(crate) gateway: Option<PathBuf>,
    /// The program of the NATS servers of a cluster that the run starts ([cluster] in the scenario)
    /// [default: TRUNKLINE_NATS_SERVER, or nats-server in PATH]
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub(crate) nats_server: Option<PathBuf>,
    /// The durability of the local gateway: sync, interval:MS or os [default: that of the gateway]
    #[arg(long, value_name = "LEVEL", conflicts_with = "target", value_parser = durability)]
    pub(crate) durability: Option<String>,
    /// The value of a variable in the scenario, where it has ${NAME}; may be given several times
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<Variable>,
    /// A further threshold, such as 'e2e=p(99)<50ms', or 'e2e=p(99)<=110%' of the run at --baseline; may be
    /// given several times
    #[arg(long, value_name = "METRIC=CONDITION")]
    pub(crate) threshold: Vec<Wanted>,
    /// The folder with the results of an earlier run, to which thresholds with a percentage are relative
    #[arg(long, value_name = "DIR")]
    pub(crate) baseline: Option<PathBuf>,
    /// Break what the run started at a time after the start of sending: kill-gateway@30s,
    /// restart-gateway@30s or pause-gateway@30s+2s; of a cluster kill-node:b@30s, stop-node:leader@30s+5s,
    /// restart-node:all@30s, pause-node:b@30s+2s, partition:b@30s+5s, full-disk:b@30s+5s, step-down@30s,
    /// kill-nats:1@30s, stop-nats:1@30s+5s or pause-nats:1@30s+2s; may be given several times
    #[arg(long, value_name = "WHAT@TIME")]
    pub(crate) chaos: Vec<Fault>,
    /// Limits of the generator's health in place of those of the scenario, such as
    /// steal_max=0.1,send_lag_p99=20ms
    #[arg(long, value_delimiter = ',', value_name = "NAME=VALUE")]
    pub(crate) health: Vec<String>,
    /// The folder of the results [default: a new folder under target/loadgen if there is a target
    /// folder, otherwise under the temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorArg {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Always, into files and pipes too
    Always,
    /// Never
    Never,
}

/// The options for showing a run while it lasts.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ViewArgs {
    /// Print plain progress lines, on a terminal too
    #[arg(long)]
    pub(crate) no_tui: bool,
    /// Print the verdict and its reasons alone: no progress and no figures
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: ColorArg,
    /// Serve the metrics of the run to Prometheus at http://ADDR/metrics; a port alone is on loopback
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub(crate) prometheus: Option<SocketAddr>,
}

/// The options of `find-max`, beside those of `run`. Population, connections and thresholds are those
/// of the scenario; `--duration` is how long each rate is tried.
#[derive(Debug, clap::Args)]
pub(crate) struct FindMaxArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) many: ManyArgs,
    /// The first rate to try [default: 1000/s, or with --compress the rate that follows from it]
    #[arg(long, value_name = "R")]
    pub(crate) from: Option<Rate>,
    /// The highest rate to try [default: no limit]
    #[arg(long, value_name = "R")]
    pub(crate) to: Option<Rate>,
    /// The precision of the result, as a part of the rate, 0.001 to 0.5
    #[arg(long, value_name = "PART", default_value_t = 0.05)]
    pub(crate) precision: f64,
    /// The number of further trials that the found rate must pass, 0 to 100
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) confirm: u32,
}

/// The options of `hold`.
#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    /// The number of sessions to open and hold, each of another user
    #[arg(long, value_name = "N")]
    pub(crate) connections: u64,
    /// The gateway to drive, ws://HOST:PORT/v1/ws or wss://...; without this option, a local gateway
    /// is started for the run and stopped after it
    #[arg(long, value_name = "URL")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// The control port of the target, http://HOST:PORT: the memory and counters of the target are
    /// read there
    #[arg(long, value_name = "URL", requires = "target")]
    pub(crate) control: Option<String>,
    /// Messages per second among the sessions [default: 40 per user and day, as in service-500m]
    #[arg(long, value_name = "R")]
    pub(crate) rate: Option<Rate>,
    /// The time for which the sessions are held while messages flow
    #[arg(
        long = "for",
        alias = "duration",
        value_name = "TIME",
        default_value = "10m"
    )]
    pub(crate) duration: Span,
    /// The time to wait for messages under way after the last send
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) drain: Span,
    /// Sessions opened per second, such as 20000/s [default: as fast as possible]
    #[arg(long, value_name = "R")]
    pub(crate) ramp: Option<Rate>,
    /// The number of generator threads [default: one per core, or more if the descriptor limit asks
    /// for it]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<u32>,
    /// The number of shards of the local gateway, 1 to 127 [default: one per core, or more if the
    /// descriptor limit asks for it]
    #[arg(long, value_name = "N", conflicts_with = "target", value_parser = shards())]
    pub(crate) shards: Option<u32>,
    /// The time for which a session may be silent before the local gateway pings it, 100ms to 24h
    #[arg(
        long,
        value_name = "TIME",
        default_value = "5m",
        value_parser = ping,
        conflicts_with = "target"
    )]
    pub(crate) ping: Span,
    /// The network of the source addresses, such as 127.0.0.0/8 [default: chosen by the number of
    /// sessions]
    #[arg(long, value_name = "NETWORK")]
    pub(crate) source: Option<String>,
    /// The encoding of messages on the wire
    #[arg(long, value_enum)]
    pub(crate) encoding: Option<EncodingArg>,
    /// The seed of all random numbers: the same seed gives the same schedule
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Limits of the generator's health in place of those of `hold`, such as
    /// steal_max=0.1,send_lag_p99=20ms
    #[arg(long, value_delimiter = ',', value_name = "NAME=VALUE")]
    pub(crate) health: Vec<String>,
    /// Print the results as JSON, with the content of hold.json
    #[arg(long)]
    pub(crate) json: bool,
    /// The folder of the results [default: a new folder under target/loadgen if there is a target
    /// folder, otherwise under the temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
}

/// The options of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The folder with the results of the run
    pub(crate) dir: PathBuf,
    /// Judge by the thresholds of another scenario: the name of a preset or a TOML file
    #[arg(long, value_name = "SCENARIO")]
    pub(crate) by: Option<String>,
    /// The folder with the results of an earlier run, to which thresholds with a percentage are relative
    #[arg(long, value_name = "DIR", requires = "by")]
    pub(crate) baseline: Option<PathBuf>,
}

/// The options of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// The runs of A and B: two folders, each with one run or with several. With --with, all are runs
    /// of A
    #[arg(required = true, num_args = 1.., value_name = "DIR")]
    pub(crate) runs: Vec<PathBuf>,
    /// The folders with the runs of B, as many as those of A
    #[arg(long, num_args = 1.., value_name = "DIR")]
    pub(crate) with: Vec<PathBuf>,
    /// The least difference that matters, as a part: 0.01 is 1 %. A smaller one is never a regression
    #[arg(long, value_name = "PART", default_value_t = 0.01)]
    pub(crate) floor: f64,
    /// A setting that differs on purpose: its name in the scenario (client.encoding), or env.NAME
    #[arg(long, value_delimiter = ',', value_name = "KEY")]
    pub(crate) vary: Vec<String>,
    /// Print the comparison as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// The folders with the results of up to six runs; the first is the baseline of the others
    #[arg(required = true, num_args = 1..)]
    pub(crate) dirs: Vec<PathBuf>,
    /// The file to write [default: report.html in the folder, or compared.html in the first folder if
    /// there are several]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
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
    fn completions_and_pages_have_every_command_and_flag() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("man");
        let line = format!("loadgen man {}", folder.display());
        let Verb::Man(args) = parse(&line).unwrap().verb else {
            panic!("not man")
        };
        args.write::<Args>().unwrap();
        let Verb::Completions(args) = parse("loadgen completions bash").unwrap().verb else {
            panic!("not completions")
        };
        let script = String::from_utf8(args.script::<Args>()).unwrap();
        for verb in Args::command().get_subcommands() {
            let name = verb.get_name();
            assert_eq!(verb.get_subcommands().count(), 0, "{name}");
            assert!(script.contains(name), "{name}");
            let page = std::fs::read_to_string(folder.join(format!("loadgen-{name}.1"))).unwrap();
            let page = page.replace('\\', "");
            let visible = verb.get_arguments().filter(|flag| !flag.is_hide_set());
            for flag in visible.filter_map(clap::Arg::get_long) {
                let flag = format!("--{flag}");
                assert!(page.contains(&flag), "{name} {flag}");
                assert!(script.contains(&flag), "{name} {flag}");
            }
        }
    }

    #[test]
    fn run_takes_its_flags() {
        let line = "loadgen run smoke --connections 100 --rate 50/s --duration 5s --no-tui";
        let Verb::Run(args) = parse(line).unwrap().verb else {
            panic!("not run")
        };
        assert_eq!(
            (
                args.run.scenario.as_str(),
                args.run.connections,
                args.run.view.no_tui
            ),
            ("smoke", Some(100), true)
        );
        assert_eq!(args.run.rate, Some(Rate(50.0)));
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
            ("run smoke --shards 127", "run smoke --shards 128"),
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
