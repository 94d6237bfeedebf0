//! The servers that exchange messages, and the load of each.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use tempfile::TempDir;
use trunkline_benches::blast::{Blast, CHAT, Counts, Plan};
use trunkline_benches::metering::{self, Goal, Load, Measured, Reading};
use trunkline_benches::peer::{Peer, free_address};
use trunkline_benches::raw::Echo;
use trunkline_benches::{install, machine, nats};

use crate::Args;

/// A server beside the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// A minimal server with the gateway's structure
    Prototype,
    /// A chat on Bun (uWebSockets), in memory
    Bun,
    /// The NATS server over WebSocket, in memory
    Nats,
    /// TCP without a protocol
    Raw,
}

impl Name {
    pub(crate) const ALL: [Self; 4] = [Self::Prototype, Self::Bun, Self::Nats, Self::Raw];
}

/// A running server.
pub(crate) struct Contender {
    pub(crate) name: String,
    /// A sentence on what the server does with a message.
    pub(crate) does: String,
    pub(crate) server: Peer,
    /// The kind of the server; `None` for our gateway.
    pub(crate) kind: Option<Name>,
    /// The folder of its files.
    folder: TempDir,
}

impl Contender {
    pub(crate) fn gateway(args: &Args, shards: usize) -> anyhow::Result<Self> {
        let folder = args.folder()?;
        let flags = [("segment-bytes", format!("{}B", args.segment_bytes))];
        let durability = &args.durability;
        Ok(Self {
            name: "gateway".into(),
            does: format!("stores ({}), then acknowledges and pushes", args.durability),
            server: Peer::gateway_with(folder.path(), shards, durability, &flags)?,
            kind: None,
            folder,
        })
    }

    pub(crate) fn start(args: &Args, name: Name) -> anyhow::Result<Self> {
        let folder = args.folder()?;
        let (title, does, server) = match name {
            Name::Prototype => (
                "prototype".to_owned(),
                "writes and syncs, then acknowledges and pushes; no state".to_owned(),
                Peer::prototype(folder.path())?,
            ),
            Name::Bun => (
                "Bun chat".to_owned(),
                "in memory: acknowledges and pushes, stores nothing".to_owned(),
                bun()?,
            ),
            Name::Nats => {
                let (version, server) = nats(folder.path())?;
                (
                    format!("NATS {version}"),
                    "in memory: pushes only, no acknowledgements; the receiver of a message \
                     sends the next one"
                        .to_owned(),
                    server,
                )
            }
            Name::Raw => (
                "raw epoll".to_owned(),
                "TCP echo of as many bytes: no frames, no recipient, one answer not two".to_owned(),
                Peer::raw()?,
            ),
        };
        Ok(Self {
            name: title,
            does,
            server,
            kind: Some(name),
            folder,
        })
    }

    /// Runs the load against the server for a time, and longer until its store is steady.
    pub(crate) fn measure(
        &self,
        args: &Args,
        window: usize,
        time: Duration,
    ) -> anyhow::Result<Measured> {
        let run = |load: &mut dyn Load| {
            let read = || self.reading(args);
            metering::measure(load, Goal::warm(time), &read)?;
            metering::measure(load, Goal::steady(time), &read)
        };
        if self.kind == Some(Name::Raw) {
            // The bytes of a message to the gateway on the wire.
            let bytes = args.bytes + 48;
            let load = (args.connections, window);
            run(&mut Echo::start(self.server.address, load, bytes)?)
        } else {
            let plan = self.plan(args, window, &"x".repeat(args.bytes));
            run(&mut Blast::start(&plan)?)
        }
    }

    /// Returns the counters of the server.
    pub(crate) fn reading(&self, args: &Args) -> anyhow::Result<Reading> {
        self.server.reading(args.segment_bytes)
    }

    /// Returns an error if the disk with the server's files has no room for `bytes` more, beyond a
    /// reserve.
    pub(crate) fn has_room(&self, bytes: u64) -> anyhow::Result<()> {
        machine::require(self.folder.path(), bytes)
    }

    /// Returns the load of messages with this text.
    pub(crate) fn plan(&self, args: &Args, window: usize, text: &str) -> Plan {
        let chat = format!(r#"{{"id":{{n}},"send":{{"user":"{{peer}}","text":"{text}"}}}}"#);
        let (path, hello, message, counts) = match self.kind {
            Some(Name::Nats) => ("/", nats::HELLO, nats::message(text), Counts::Nats),
            Some(_) => ("/?u={id}", "", chat, CHAT),
            None => (
                "/v1/ws",
                r#"{"id":1,"connect":{"user":"{id}","device":"d"}}"#,
                chat,
                CHAT,
            ),
        };
        Plan {
            server: self.server.address,
            path: path.into(),
            hello: hello.into(),
            message,
            counts,
            connections: args.connections,
            window,
            others: 1,
            // The meter decides.
            duration: Duration::ZERO,
        }
    }
}

/// Returns the folder of the installed foreign servers.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/peers")
}

fn bun() -> anyhow::Result<Peer> {
    let bun = install::bun(&folder())?;
    let address = free_address()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/bun-chat.js");
    let mut command = Command::new(bun);
    Peer::other(command.arg(script).arg(address.port().to_string()), address)
}

/// Starts the NATS server. Returns its version and the server.
fn nats(scratch: &Path) -> anyhow::Result<(String, Peer)> {
    let nats = install::nats(&folder())?;
    let said = Command::new(&nats).arg("--version").output()?.stdout;
    let said = String::from_utf8_lossy(&said);
    let version = said.trim().rsplit('v').next().unwrap_or_default();
    let (clients, address): (SocketAddr, _) = (free_address()?, free_address()?);
    let config = scratch.join("nats.conf");
    std::fs::write(&config, nats::config(clients.port(), address.port()))?;
    let mut command = Command::new(&nats);
    let server = Peer::other(command.arg("-c").arg(config), address)?;
    Ok((version.to_owned(), server))
}
