//! The command line: `trunkline serve`, `check-config`, `settings`, `health`, `doctor`, `admin-token`, `cluster`, `store`, `completions`, `man`.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use trunkline_core::indexing::IndexMaker;
use trunkline_gateway::{auth, tls};
use trunkline_http::back::Secret;

use crate::admin::{self, AdminTokenArgs};
use crate::cluster_command::ClusterCommand;
use crate::config::{self, Config, ConfigError, Given};
use crate::doctor::{self, DoctorArgs};
use crate::file_sizes;
use crate::gateway::Gateway;
use crate::manual::{CompletionsArgs, ManArgs};
use crate::reload::Reloader;
use crate::service::{self, State};
use crate::signals::{Request, Requests};
use crate::store_command::StoreCommand;
use crate::{causes, health, heap, log, print};

/// The most time for the last sync of the store, after the connections are closed.
const LAST_SYNC: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(Debug, Parser)]
#[command(
    name = "trunkline",
    version,
    about = "A connection gateway for instant messaging"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT
    Serve(Source),
    /// Print the resolved configuration, or every error in it with its place
    CheckConfig(Source),
    /// Print every setting with its forms, default, range and meaning, as JSON
    Settings {
        /// Print the page docs/settings.md instead
        #[arg(long, conflicts_with = "toml")]
        markdown: bool,
        /// Print a file with every setting in a comment instead
        #[arg(long)]
        toml: bool,
    },
    /// Ask the control port of a running gateway whether the gateway works
    ///
    /// Takes the flags, the variables and the file of `serve`, and uses the address of the control port only.
    /// Exit codes: 0 it works, 1 it does not, 2 the address is wrong.
    Health {
        /// Ask whether clients can connect and the store takes messages, too
        #[arg(long)]
        ready: bool,
        #[command(flatten)]
        source: Source,
    },
    /// Show what this machine can carry, limit by limit, with the commands that raise each limit
    Doctor(DoctorArgs),
    /// Make a token for the admin API, and its line for the file of --admin-tokens
    AdminToken(AdminTokenArgs),
    /// Make a cluster of gateways, or show one
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Inspect, verify, print, back up or repair a store
    #[command(subcommand)]
    Store(StoreCommand),
    /// Print the script that completes this command line in a shell
    Completions(CompletionsArgs),
    /// Write a manual page for each command into a folder
    Man(ManArgs),
}

/// The file of settings, and a flag for each setting. Every setting is also an environment variable
/// (`TRUNKLINE_...`) and a key of the file. Precedence: flag, environment, file, default.
#[derive(Debug, Clone, clap::Args)]
struct Source {
    /// A TOML file of settings
    #[arg(long, env = "TRUNKLINE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Given,
}

impl Source {
    fn resolve(&self) -> Result<Config, ConfigError> {
        self.settings.resolve(self.config.as_deref())
    }
}

/// Runs the program with these arguments. The first one is the name of the program.
///
/// Exit codes: 0 done as asked, 1 it failed, 2 the arguments or the configuration are wrong.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_with(args, None)
}

/// Runs the program as [`run`] does. With the setting `search`, `maker` makes the index.
pub fn run_with_index(
    args: impl IntoIterator<Item = OsString>,
    maker: &dyn IndexMaker,
) -> ExitCode {
    run_with(args, Some(maker))
}

fn run_with(args: impl IntoIterator<Item = OsString>, maker: Option<&dyn IndexMaker>) -> ExitCode {
    if let Err(error) = file_sizes::survive() {
        return report(
            &anyhow::Error::new(error).context("cannot watch signals"),
            1,
        );
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    match cli.command {
        Command::Serve(source) => {
            heap::settle();
            // Before anything else: reading the configuration may take long, too.
            match Requests::watch().context("cannot watch signals") {
                Ok(requests) => start(&source, Some(&requests), maker),
                Err(error) => report(&error, 1),
            }
        }
        Command::CheckConfig(source) => start(&source, None, None),
        Command::Settings { markdown, toml } => {
            done(print_settings(markdown, toml).map_err(Into::into))
        }
        Command::Health { ready, source } => ask_health(&source, ready),
        Command::Cluster(command) => done(command.run()),
        Command::Doctor(args) => done(doctor::run(&args).map_err(Into::into)),
        Command::AdminToken(args) => done(args.print()),
        Command::Store(command) => command.run().unwrap_or_else(|error| report(&error, 1)),
        Command::Completions(args) => {
            let script = args.script::<Cli>();
            done(print::results(|out| out.write_all(&script)).map_err(Into::into))
        }
        Command::Man(args) => done(args.write::<Cli>()),
    }
}

/// Returns the exit code of a command. Prints the reason if the command failed.
fn done(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error, 1),
    }
}

/// Resolves the configuration and serves with it until a signal ends the gateway. Without
/// `requests` it prints the configuration instead.
fn start(source: &Source, requests: Option<&Requests>, maker: Option<&dyn IndexMaker>) -> ExitCode {
    let config = match source.resolve() {
        Ok(config) => config,
        Err(error) => return report(&error.into(), 2),
    };
    // Files that cannot be used are wrong settings.
    let warnings = match check_files(&config) {
        Ok(warnings) => warnings,
        Err(error) => return report(&error, 2),
    };
    let Some(requests) = requests else {
        for warning in warnings {
            log::say_error(&format!("trunkline: warning: {warning}\n"));
        }
        let printed = print::text(&config.to_toml()).map(|()| ExitCode::SUCCESS);
        return printed.unwrap_or_else(|error| report(&error.into(), 1));
    };
    done(serve(source, config, requests, maker))
}

/// Prints the table of settings.
fn print_settings(markdown: bool, toml: bool) -> std::io::Result<()> {
    match (markdown, toml) {
        (true, _) => print::text(&config::as_markdown()),
        (_, true) => print::text(&config::as_toml()),
        _ => print::text(&format!("{:#}\n", config::as_json())),
    }
}

/// Reads the files that a configuration names. Returns warnings about them.
fn check_files(config: &Config) -> anyhow::Result<Vec<String>> {
    let certificate = config.tls.as_ref().map(tls::check).transpose()?;
    let keys = config.auth.tokens().map(auth::check).transpose()?;
    if let Some(file) = &config.callbacks_secret {
        Secret::load(file).map_err(anyhow::Error::msg)?;
        config
            .callbacks
            .trust(&config.webhooks)
            .map_err(anyhow::Error::msg)?;
    }
    { config.admin_tokens.as_deref() }
        .map(admin::read_tokens)
        .transpose()?;
    let warnings = certificate.into_iter().chain(keys).flatten();
    Ok(warnings.collect())
}

/// Asks a running gateway whether it works, and prints what it says.
fn ask_health(source: &Source, ready: bool) -> ExitCode {
    match source.settings.control(source.config.as_deref()) {
        Ok(control) => {
            let said = health::ask(control, ready);
            done(said.and_then(|text| print::text(&text).map_err(Into::into)))
        }
        Err(error) => report(&error.into(), 2),
    }
}

/// Prints the errors in the arguments, or the help or the version that they ask for.
fn explain(error: &clap::Error) -> ExitCode {
    match error.print() {
        // Help and version are results: their reader may leave early, but has to be able to read.
        Err(failure) if !error.use_stderr() && failure.kind() != ErrorKind::BrokenPipe => {
            let failure = anyhow::Error::new(failure);
            report(&failure.context("cannot write to standard output"), 1)
        }
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
    }
}

fn report(error: &anyhow::Error, code: u8) -> ExitCode {
    log::say_error(&format!("trunkline: {}\n", causes::said_once(error)));
    ExitCode::from(code)
}

fn serve(
    source: &Source,
    config: Config,
    requests: &Requests,
    maker: Option<&dyn IndexMaker>,
) -> anyhow::Result<()> {
    let log = log::start(&config)?;
    let gateway = Gateway::start_with(&config, maker)?;
    requests.serve();
    let (ws, http) = match gateway.has_tls() {
        true => ("wss", "https"),
        false => ("ws", "http"),
    };
    let http = gateway
        .http()
        .map(|address| format!(" http={http}://{address}"));
    let node = gateway.node().map(|node| {
        let role = match node.numbers().leads {
            true => "leader",
            false => "follower",
        };
        format!(
            " cluster={} node={} role={role}",
            node.cluster(),
            node.node()
        )
    });
    let durability = match &node {
        Some(_) => "cluster".to_owned(),
        None => config.durability.to_string(),
    };
    say_ready(format!(
        "ready ws={ws}://{}/v1/ws control=http://{}{} shards={} durability={}{}\n",
        gateway.listen(),
        gateway.control(),
        http.unwrap_or_default(),
        config.shards,
        durability,
        node.unwrap_or_default()
    ))?;
    service::tell(State::Ready);
    let bound = config.limits.drain_timeout + LAST_SYNC;
    let file = source.config.is_some();
    let mut reloader = Reloader::new(file.then_some(|| source.resolve()), config);
    while requests.next() == Request::Reload {
        reloader.reload(&gateway, &log);
    }
    service::tell(State::Stopping);
    if let Err(error) = guard_the_end(bound) {
        // No reason to leave anybody without an answer.
        tracing::warn!(%error, "cannot start the thread that guards the end: stopping without");
    }
    gateway.stop()
}

/// Prints the `ready` line on standard output. A separate thread writes it, so the gateway serves
/// even if nothing reads its standard output.
fn say_ready(line: String) -> anyhow::Result<()> {
    let say = move || {
        let mut out = std::io::stdout().lock();
        let said = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        if let Err(error) = said {
            tracing::warn!(%error, "standard output did not take the line that says \"ready\"");
        }
    };
    let thread = std::thread::Builder::new().name("ready".into()).spawn(say);
    thread.map(drop).context("cannot start the thread ready")
}

/// Ends the process after `bound`, even if the store hangs. Acknowledged data is then in the log,
/// as the durability says.
fn guard_the_end(bound: std::time::Duration) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("bound".into());
    thread.spawn(move || {
        std::thread::sleep(bound);
        tracing::error!("the gateway did not stop in time: ending all the same");
        log::exit(1);
    })?;
    Ok(())
}
