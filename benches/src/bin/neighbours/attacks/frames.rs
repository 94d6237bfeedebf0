//! Attacks with frames and encodings that are as awkward as allowed.

use trunkline_proto::frame::{Opcode, write_header};

use crate::attack::{Attack, Manner, Next, Turn};
use crate::attacks::reading::in_pages;
use crate::attacks::{conversation, text};
use crate::pen::{Pen, fragments};
use crate::protobuf;
use crate::stage::{Stage, member};

/// The number of fragments of a message.
const FRAGMENTS: usize = 65_000;

/// The bytes of a fragment: with the others they fill the largest message, nearly.
const FRAGMENT: usize = 16;

/// Sends messages of the largest size in 65,000 fragments each.
#[derive(Default)]
pub(crate) struct Fragments {
    message: Vec<u8>,
}

impl Attack for Fragments {
    fn manner(&self) -> Manner {
        Manner {
            window: 2,
            ..Manner::default()
        }
    }

    fn prepare(&mut self, _stage: &Stage<'_>) -> anyhow::Result<()> {
        let message = ping_with(&format!("\"{}\"", text(FRAGMENTS * FRAGMENT - 64)));
        self.message = fragments(message.as_bytes(), FRAGMENT);
        Ok(())
    }

    fn step(&mut self, _turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        pen.raw(&self.message, 1);
        Next::Go
    }
}

/// Sends JSON with the deepest nesting, with objects of many names, and with escapes only.
#[derive(Default)]
pub(crate) struct Json {
    deep: String,
    names: String,
    escapes: String,
}

/// The deepest nesting of an ignored field, whose command takes two levels.
const DEPTH: usize = 120;

impl Attack for Json {
    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        let nested = format!(
            "{}1{}",
            r#"{"a":["#.repeat(DEPTH / 2),
            "]}".repeat(DEPTH / 2)
        );
        self.deep = ping_with(&format!("[{}]", vec![nested; 200].join(",")));
        let names: Vec<_> = (0..10_000)
            .map(|n| format!(r#""\u006e{n:x}":1e-7"#))
            .collect();
        self.names = ping_with(&format!("{{{}}}", names.join(",")));
        let text = r"\u0041".repeat(10_000);
        let to = member(&stage.me, 0);
        self.escapes = format!(r#"{{"id":1,"send":{{"user":"{to}","text":"{text}"}}}}"#);
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let kinds = [&self.deep, &self.names, &self.escapes];
        pen.text(kinds[turn.step as usize % 3], 1);
        Next::Go
    }
}

/// Sends short messages in which every name and key is as long as allowed.
pub(crate) struct LongestIds;

impl Attack for LongestIds {
    fn manner(&self) -> Manner {
        in_pages()
    }

    fn user(&self, me: &str, at: usize) -> String {
        longest(me, at as u64)
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let (from, to) = (
            longest(turn.me, turn.at as u64),
            longest(turn.me, 100 + turn.step % 50),
        );
        let with = conversation(&from, &to);
        let key = format!("{:0>128}", turn.step);
        let command = match turn.step / 50 % 2 {
            0 => format!(r#""send":{{"user":"{to}","key":"{key}","text":"x"}}"#),
            _ => format!(r#""receipts":{{"conversation":"{with}","seq":1,"state":"unread"}}"#),
        };
        pen.text(&format!(r#"{{"id":4294967295,{command}}}"#), 1);
        Next::Go
    }
}

fn longest(me: &str, number: u64) -> String {
    let name = member(me, number as usize);
    format!("{name:x<64}")
}

/// Sends protobuf with very many fields that the gateway does not know.
#[derive(Default)]
pub(crate) struct UnknownFields {
    command: Vec<u8>,
}

/// The number of the field of the command `ping`.
const PING: u32 = 8;

impl Attack for UnknownFields {
    fn manner(&self) -> Manner {
        Manner {
            protobuf: true,
            ..Manner::default()
        }
    }

    fn prepare(&mut self, _stage: &Stage<'_>) -> anyhow::Result<()> {
        let mut unknown = Vec::new();
        for field in 0..50_000 {
            protobuf::number(&mut unknown, 1_000 + field, 1);
        }
        self.command = protobuf::command(PING, &[], &unknown);
        Ok(())
    }

    fn step(&mut self, _turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        pen.binary(&self.command, 1);
        Next::Go
    }
}

/// Sends 512 KiB of text of three bytes a letter in an ignored field, masked with zeros.
#[derive(Default)]
pub(crate) struct ZeroMask {
    frame: Vec<u8>,
}

impl Attack for ZeroMask {
    fn prepare(&mut self, _stage: &Stage<'_>) -> anyhow::Result<()> {
        let message = ping_with(&format!("\"{}\"", "\u{20ac}".repeat((512 << 10) / 3)));
        write_header(&mut self.frame, Opcode::Text, message.len(), Some([0; 4]));
        self.frame.extend_from_slice(message.as_bytes());
        Ok(())
    }

    fn step(&mut self, _turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        pen.raw(&self.frame, 1);
        Next::Go
    }
}

/// Sends frames that claim to be compressed, which ends each connection.
pub(crate) struct Compressed;

impl Attack for Compressed {
    fn step(&mut self, _turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        // FIN and RSV1, text, masked, no payload.
        pen.raw(&[0xc1, 0x80, 0, 0, 0, 0], 0);
        Next::Rest
    }
}

/// Sends frames of as many commands as a frame may have.
#[derive(Default)]
pub(crate) struct FullFrames {
    frame: String,
}

/// The most commands of a frame.
const COMMANDS: usize = 1_024;

impl Attack for FullFrames {
    fn manner(&self) -> Manner {
        Manner {
            window: 4 * COMMANDS,
            ..Manner::default()
        }
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        let to = member(&stage.me, 0);
        let send = format!(r#"{{"id":1,"send":{{"user":"{to}","text":"x"}}}}"#);
        self.frame = vec![send; COMMANDS].join("\n");
        Ok(())
    }

    fn step(&mut self, _turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        pen.text(&self.frame, COMMANDS);
        Next::Go
    }
}

/// Returns the command `ping` with a field that the gateway ignores.
fn ping_with(ignored: &str) -> String {
    format!(r#"{{"id":1,"ping":{{"x":{ignored}}}}}"#)
}
