//! Attacks with connections: slow, half-open, too many, and coming back all the time.

use std::time::Duration;

use trunkline_benches::crowd::MASK;
use trunkline_proto::frame::{Opcode, write_frame};

use crate::attack::{Attack, Entry, Manner, Next, Turn};
use crate::attacks::text;
use crate::pen::Pen;
use crate::stage::{Stage, hello, member};

/// Sends a command on each of many sessions, byte by byte.
#[derive(Default)]
pub(crate) struct SlowBytes {
    frame: Vec<u8>,
}

impl Attack for SlowBytes {
    fn manner(&self) -> Manner {
        Manner {
            connections: 200,
            pace: Duration::from_millis(20),
            // A pong would stand in the middle of the frame.
            reads: false,
            ..Manner::default()
        }
    }

    fn user(&self, me: &str, at: usize) -> String {
        member(me, at)
    }

    fn prepare(&mut self, _stage: &Stage<'_>) -> anyhow::Result<()> {
        let command = format!(r#"{{"ping":{{"x":"{}"}}}}"#, text(60_000));
        write_frame(&mut self.frame, Opcode::Text, command.as_bytes(), MASK);
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let at = turn.since_open as usize % self.frame.len().max(1);
        if let Some(&byte) = self.frame.get(at) {
            pen.raw(&[byte], 0);
        }
        Next::Go
    }
}

/// Begins upgrades that it does not finish.
pub(crate) struct HalfOpen;

impl Attack for HalfOpen {
    fn manner(&self) -> Manner {
        Manner {
            connections: 500,
            entry: Entry::Tcp,
            ..Manner::default()
        }
    }

    fn step(&mut self, _turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        pen.raw(
            b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: webso",
            0,
        );
        Next::Rest
    }
}

/// Does nothing.
pub(crate) struct Nothing;

impl Attack for Nothing {
    fn step(&mut self, _turn: &Turn<'_>, _pen: &mut Pen<'_>) -> Next {
        Next::Rest
    }
}

/// Sends pings as fast as the gateway reads them.
pub(crate) struct Pings;

impl Attack for Pings {
    fn step(&mut self, _turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        pen.ping(&[b'p'; 125]);
        Next::Go
    }
}

/// Opens sessions and resets them at once.
pub(crate) struct ConnectStorm;

impl Attack for ConnectStorm {
    fn manner(&self) -> Manner {
        Manner {
            connections: 64,
            ..Manner::default()
        }
    }

    fn user(&self, me: &str, at: usize) -> String {
        member(me, at)
    }

    fn step(&mut self, _turn: &Turn<'_>, _pen: &mut Pen<'_>) -> Next {
        Next::Leave
    }
}

/// Connects with tokens whose signature is not valid.
pub(crate) struct BadTokens;

impl Attack for BadTokens {
    fn manner(&self) -> Manner {
        Manner {
            connections: 64,
            entry: Entry::Upgrade,
            window: 1,
            ..Manner::default()
        }
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        // {"alg":"HS256"} and claims of this number, which need not be any.
        let token = format!("eyJhbGciOiJIUzI1NiJ9.{:0>1000}.{:0>43}", turn.step, turn.at);
        pen.command("connect", &format!(r#"{{"token":"{token}"}}"#));
        Next::Go
    }
}

/// Sends to its own devices on one connection, while the others come back all the time to catch up
/// with that.
pub(crate) struct ResumeStorm;

impl Attack for ResumeStorm {
    fn manner(&self) -> Manner {
        Manner {
            connections: 24,
            resumes: true,
            ..Manner::default()
        }
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        if turn.at > 0 {
            return Next::Leave;
        }
        let (to, text) = (member(turn.me, 0), text(1_000));
        pen.command("send", &format!(r#"{{"user":"{to}","text":"{text}"}}"#));
        Next::Go
    }
}

/// Renews its sessions over and over, with a token if the gateway asks for one.
#[derive(Default)]
pub(crate) struct Renewals {
    fields: String,
}

impl Attack for Renewals {
    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        let mut fields = hello(stage.signer, &stage.me, "none");
        if let Some(fields) = fields.as_object_mut() {
            // Every connection has its own.
            fields.remove("device");
        }
        self.fields = fields.to_string();
        Ok(())
    }

    fn step(&mut self, _turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        pen.command("connect", &self.fields);
        Next::Go
    }
}
