//! Where an attack takes place, and how it is prepared.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::{Value, json};
use trunkline_benches::talk::Talk;
use trunkline_benches::tokens::Signer;

/// The most time for one command of a preparation, refusals included.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most members that one command adds.
const PORTION: usize = 1_000;

/// A gateway, and who an attacker is to it.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// The address of the gateway.
    pub(crate) server: SocketAddr,
    /// Signs tokens, if the gateway asks for them.
    pub(crate) signer: Option<&'a Signer>,
    /// The name of the attacker, which is the beginning of all names that it makes up.
    pub(crate) me: String,
    /// The address that the attacker connects from.
    pub(crate) source: Ipv4Addr,
}

/// Returns the fields of `connect` of a user and a device.
pub(crate) fn hello(signer: Option<&Signer>, user: &str, device: &str) -> Value {
    match signer {
        Some(signer) => json!({"token": signer.token(user), "device": device}),
        None => json!({"user": user, "device": device}),
    }
}

impl Stage<'_> {
    /// Connects as a user.
    ///
    /// # Errors
    /// The gateway does not take the session.
    pub(crate) fn session(&self, user: &str) -> anyhow::Result<Session> {
        let hello = hello(self.signer, user, "preparation");
        let talk = Talk::greet(self.server, self.source, &hello)?;
        Ok(Session { talk })
    }

    /// Makes a group of a user of this name and `others`, whose names are those of [`member`].
    ///
    /// # Errors
    /// The gateway refuses the group.
    pub(crate) fn group(&self, owner: &str, group: &str, others: usize) -> anyhow::Result<Session> {
        let mut session = self.session(owner)?;
        let named = json!({"group": group, "members": [], "history": "all"});
        session.ask("group_create", &named)?;
        let others: Vec<_> = (0..others).map(|n| member(&self.me, n)).collect();
        for portion in others.chunks(PORTION) {
            let added = json!({"group": group, "members": portion});
            session.ask("group_add", &added)?;
        }
        Ok(session)
    }
}

/// Returns the name of a user that an attacker makes up.
pub(crate) fn member(me: &str, number: usize) -> String {
    format!("{me}.{number}")
}

/// A session that prepares an attack.
#[derive(Debug)]
pub(crate) struct Session {
    talk: Talk,
}

impl Session {
    /// Sends a command and returns the reply. Waits as long as the gateway asks for if it refuses
    /// the command for the time being (error 111).
    ///
    /// # Errors
    /// The gateway refuses the command for another reason, or for more than a minute.
    pub(crate) fn ask(&mut self, command: &str, request: &Value) -> anyhow::Result<Value> {
        let start = Instant::now();
        loop {
            let answer = self.talk.answer(command, request)?;
            let Some(error) = answer.get("error") else {
                return Ok(answer);
            };
            if error["code"] != 111 || start.elapsed() > PATIENCE {
                bail!("{command}: {} ({})", error["message"], error["code"]);
            }
            let wait = error["retry_ms"].as_u64().unwrap_or(100);
            std::thread::sleep(Duration::from_millis(wait.min(5_000)));
        }
    }

    /// Sends a message of `bytes` bytes to a group, or with a target of `user` to a user. Returns
    /// the position of the message.
    ///
    /// # Errors
    /// The gateway refuses the message.
    pub(crate) fn send(&mut self, to: (&str, &str), bytes: usize) -> anyhow::Result<String> {
        let (kind, name) = to;
        let reply = self.ask("send", &json!({kind: name, "text": "x".repeat(bytes)}))?;
        let pos = reply["send"]["pos"].as_str();
        Ok(pos.unwrap_or_default().to_owned())
    }
}
