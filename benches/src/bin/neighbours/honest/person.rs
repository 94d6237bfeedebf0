//! One of the honest users, as the driver sees it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};

use memchr::memmem;
use mio::net::TcpStream;
use trunkline_benches::crowd::MASK;
use trunkline_proto::connection::{Connection, Event, Role};
use trunkline_proto::frame::{Opcode, write_frame};

use crate::turns::Turn;

/// Digits of the time in a message's text.
const TIME: usize = 19;

/// Digits of the number in a message's text.
const NUMBER: usize = 10;

/// The bytes of the text of a message.
const TEXT: usize = 120;

/// The most bytes of a message of the gateway.
const MESSAGE: usize = 1 << 20;

/// A message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Its number among the messages of its sender, from 1.
    pub(crate) number: u64,
    /// When it should have been sent, in nanoseconds.
    pub(crate) due: u64,
    /// The turn that it belongs to.
    pub(crate) turn: Turn,
}

/// What a user gets from the gateway.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The reply that the message of this number is stored.
    Stored(u64),
    /// An error about the message of this number.
    Refused(u64),
    /// A message of the other user of the pair.
    Message(Sent),
    /// Pushes were dropped.
    Gap,
    /// The end of the session.
    Ended,
}

/// A session of an honest user.
#[derive(Debug)]
pub(crate) struct Person {
    /// The connection; `None` once the gateway has ended it.
    pub(crate) stream: Option<TcpStream>,
    framing: Connection,
    out: Vec<u8>,
    /// The number of messages that were sent.
    pub(crate) sent: u64,
    /// The number of messages that the gateway answered.
    pub(crate) answered: u64,
    /// The highest number of a message that arrived at the other user.
    pub(crate) arrived: u64,
    /// What was sent and has not arrived at the other user.
    pub(crate) on_the_way: VecDeque<Sent>,
}

impl Person {
    /// Makes a user of a session that is open.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream: Some(stream),
            framing: Connection::new(Role::Client),
            out: Vec::new(),
            sent: 0,
            answered: 0,
            arrived: 0,
            on_the_way: VecDeque::new(),
        }
    }

    /// Sends a message to the other user of the pair. Returns whether the session is open.
    pub(crate) fn send(&mut self, to: &str, due: u64, turn: Turn) -> bool {
        if self.stream.is_none() {
            return false;
        }
        self.sent += 1;
        let sent = Sent {
            number: self.sent,
            due,
            turn,
        };
        let command = format!(
            r#"{{"id":{},"send":{{"user":"{to}","text":"{}"}}}}"#,
            sent.number,
            text(sent)
        );
        write_frame(&mut self.out, Opcode::Text, command.as_bytes(), MASK);
        self.on_the_way.push_back(sent);
        self.flush()
    }

    /// Writes what waits. Returns whether the session is open.
    fn flush(&mut self) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        while !self.out.is_empty() {
            match stream.write(&self.out) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.stream = None;
                    return false;
                }
            }
        }
        true
    }

    /// Reads what there is.
    pub(crate) fn read(&mut self, buffer: &mut [u8], heard: &mut Vec<Heard>) {
        loop {
            self.flush();
            let Some(stream) = &mut self.stream else {
                return;
            };
            let read = match stream.read(buffer) {
                Ok(read @ 1..) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => return self.ended(heard),
            };
            let mut input = &mut buffer[..read];
            loop {
                match self.framing.receive(&mut input, MESSAGE) {
                    Ok(None) => break,
                    Ok(Some(Event::Message(_, payload))) => heard.extend(parse(&payload)),
                    Ok(Some(Event::Ping(payload))) => {
                        write_frame(&mut self.out, Opcode::Pong, &payload, MASK);
                    }
                    Ok(Some(Event::Pong(_))) => {}
                    Ok(Some(Event::Close(..))) | Err(_) => return self.ended(heard),
                }
            }
        }
    }

    fn ended(&mut self, heard: &mut Vec<Heard>) {
        self.stream = None;
        heard.push(Heard::Ended);
    }
}

/// Returns the text of a message: its turn, its time and its number, filled up.
fn text(sent: Sent) -> String {
    let Sent { number, due, turn } = sent;
    let turn = char::from(turn.digit());
    let head = format!("{turn}{due:0TIME$}{number:0NUMBER$}");
    format!("{head:x<TEXT$}")
}

/// Reads a message of the gateway. Returns nothing for a push that concerns no message.
fn parse(payload: &[u8]) -> Option<Heard> {
    if let Some(at) = memmem::find(payload, br#""text":""#) {
        return message(&payload[at + 8..]).map(Heard::Message);
    }
    if payload.starts_with(br#"{"push""#) {
        return memmem::find(payload, br#""gap""#).map(|_| Heard::Gap);
    }
    let id = payload.strip_prefix(br#"{"id":"#.as_slice())?;
    let end = id.iter().position(|byte| !byte.is_ascii_digit())?;
    let number = digits(&id[..end])?;
    match id[end..].starts_with(br#","send""#) {
        true => Some(Heard::Stored(number)),
        false => Some(Heard::Refused(number)),
    }
}

fn message(text: &[u8]) -> Option<Sent> {
    let (&turn, rest) = text.split_first()?;
    Some(Sent {
        turn: Turn::of_digit(turn)?,
        due: digits(rest.get(..TIME)?)?,
        number: digits(rest.get(TIME..TIME + NUMBER)?)?,
    })
}

fn digits(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_says_is_told_apart() {
        let sent = Sent {
            number: 17,
            due: 1_234_567_890,
            turn: Turn::Attack,
        };
        let push = format!(
            r#"{{"push":{{"pos":"1-2","message":{{"text":"{}"}}}}}}"#,
            text(sent)
        );
        assert_eq!(parse(push.as_bytes()), Some(Heard::Message(sent)));
        let said = |text: &str| parse(text.as_bytes());
        assert_eq!(
            said(r#"{"id":17,"send":{"seq":1}}"#),
            Some(Heard::Stored(17))
        );
        assert_eq!(
            said(r#"{"id":17,"error":{"code":111}}"#),
            Some(Heard::Refused(17))
        );
        assert_eq!(said(r#"{"push":{"gap":{"pos":"1-2"}}}"#), Some(Heard::Gap));
        assert_eq!(said(r#"{"push":{"receipt":{}}}"#), None);
    }

    #[test]
    fn texts_have_the_same_length() {
        for number in [1, u64::from(u32::MAX)] {
            let turn = Turn::Before;
            let sent = Sent {
                number,
                due: number,
                turn,
            };
            assert_eq!(text(sent).len(), TEXT);
        }
    }
}
