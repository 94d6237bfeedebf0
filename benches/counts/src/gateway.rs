//! Messages through a whole gateway, one after another.

use std::path::Path;

use trunkline::config::Config;
use trunkline::gateway::Gateway;
use trunkline_proto::Encoding;

use crate::TEXT;
use crate::client::{Client, To};
use crate::folder::Folder;

/// The members of the group that are online and get each message.
pub(crate) const ONLINE: u64 = 32;

/// The messages of one frame, and of one commit. Threads that wait for each other spin for some time, so with one
/// message at a time the counts would be less exact. With more, a slow machine begins to take turns.
pub(crate) const TOGETHER: u64 = 8;

/// A gateway in this process, with a folder of its own.
pub(crate) struct Own {
    pub(crate) gateway: Gateway,
    /// The gateway is stopped before its folder is removed.
    _folder: Folder,
}

impl Own {
    /// Starts a gateway with one shard.
    ///
    /// # Errors
    /// The gateway does not start.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let gateway = Gateway::start(&config(&folder.0)?)?;
        Ok(Self {
            gateway,
            _folder: folder,
        })
    }

    /// Connects as a user.
    ///
    /// # Errors
    /// The gateway does not take the session.
    pub(crate) fn client(&self, user: &str, encoding: Encoding) -> anyhow::Result<Client> {
        Client::start(self.gateway.listen(), user, encoding)
    }
}

/// Returns the configuration of a gateway with its data in a folder.
#[cfg(not(feature = "settings-file"))]
fn config(folder: &Path) -> anyhow::Result<Config> {
    let settings = settings(folder);
    // Gateways before the client API over HTTP do not know that it can be off.
    let config = Config::of_text(&format!("{settings}http = \"off\"\n"));
    Ok(config.or_else(|why| Config::of_text(&settings).map_err(|_| why))?)
}

/// Returns the configuration of the counted gateway, for commits that lack `Config::of_text`.
#[cfg(feature = "settings-file")]
fn config(folder: &Path) -> anyhow::Result<Config> {
    use trunkline::config::Settings;

    let file = folder.join("settings.toml");
    std::fs::write(&file, settings(&folder.join("data")))?;
    Ok(Settings::default().resolve(Settings::from_file(&file)?)?)
}

fn settings(data: &Path) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\ncontrol = \"127.0.0.1:0\"\ndev_auth = true\ndata = {data:?}\n\
         shards = 1\n"
    )
}

/// Sends messages between two users who are online, eight to a commit.
pub(crate) fn sequence(messages: u64) -> anyhow::Result<()> {
    let own = Own::start()?;
    let mut alice = own.client("alice", Encoding::Json)?;
    let mut bob = own.client("bob", Encoding::Json)?;
    let text = "x".repeat(TEXT);
    for _ in 0..messages / TOGETHER {
        alice.send_often(To::User("bob"), &text, TOGETHER)?;
        for _ in 0..TOGETHER {
            bob.push()?;
        }
    }
    own.gateway.stop()
}

/// Sends messages to a group of which 32 members are online, eight to a commit. A message for one of them
/// counts as one.
pub(crate) fn push(messages: u64) -> anyhow::Result<()> {
    let own = Own::start()?;
    let mut alice = own.client("alice", Encoding::Json)?;
    let members: Vec<String> = (0..ONLINE)
        .map(|member| format!("member{member:02}"))
        .collect();
    let mut online = Vec::new();
    for member in &members {
        online.push(own.client(member, Encoding::Json)?);
    }
    alice.make_group("team", &members)?;
    for member in &mut online {
        member.push()?;
    }
    let text = "x".repeat(TEXT);
    for _ in 0..messages / ONLINE / TOGETHER {
        alice.send_often(To::Group("team"), &text, TOGETHER)?;
        for member in &mut online {
            for _ in 0..TOGETHER {
                member.push()?;
            }
        }
    }
    own.gateway.stop()
}
