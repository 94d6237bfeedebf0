//! Reads the frequent commands in their usual form, without serde.
//!
//! The usual form is the output of `JSON.stringify` or of Python's `json.dumps`: no escapes, the id first,
//! and no white space or one space behind each colon and comma. The general reader handles everything
//! else, valid or not, so this reader affects only the speed.

use crate::json_text::string::plain_prefix;
use crate::message::{Ack, Command, CommandBody, Send};
use crate::text::Str;

/// Reads a command in its usual form from the first line of `payload`. Returns the command and the
/// lines after it; `None` for another form.
pub(super) fn read(payload: &[u8]) -> Option<(Command<'_>, &[u8])> {
    let mut cursor = Cursor(payload);
    cursor.eat(b"{")?;
    let mut id = 0;
    if cursor.part(br#""id":"#).is_some() {
        id = u32::try_from(cursor.number()?).ok()?;
        cursor.part(b",")?;
    }
    let body = if cursor.part(br#""send":"#).is_some() {
        cursor.eat(b"{")?;
        CommandBody::Send(cursor.send()?)
    } else {
        cursor.part(br#""ack":"#)?;
        cursor.eat(b"{")?;
        cursor.part(br#""conversation":"#)?;
        CommandBody::Ack(cursor.ack()?)
    };
    cursor.eat(b"}")?;
    if !cursor.0.is_empty() {
        cursor.eat(b"\n")?;
    }
    Some((Command { id, body }, cursor.0))
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Consumes `expected`; `None` if the text differs. Generic in the length, so that the
    /// comparison is a few instructions instead of a call.
    fn eat<const N: usize>(&mut self, expected: &[u8; N]) -> Option<()> {
        let (start, rest) = self.0.split_first_chunk()?;
        (start == expected).then(|| self.0 = rest)
    }

    /// Consumes `expected`, which ends with a colon or a comma, and one space behind it.
    fn part<const N: usize>(&mut self, expected: &[u8; N]) -> Option<()> {
        self.eat(expected)?;
        if let [b' ', rest @ ..] = self.0 {
            self.0 = rest;
        }
        Some(())
    }

    fn string(&mut self) -> Option<Str<'a>> {
        self.eat(b"\"")?;
        let (text, rest) = self.0.split_at(plain_prefix(self.0));
        self.0 = rest.strip_prefix(b"\"")?;
        simdutf8::basic::from_utf8(text).ok().map(Str::from)
    }

    /// Consumes a comma and the field's name; nothing if another name or the end follows.
    fn field<const N: usize>(&mut self, name: &[u8; N]) -> Option<()> {
        let start = self.0;
        let found = self.part(b",").and_then(|()| self.part(name));
        if found.is_none() {
            self.0 = start;
        }
        found
    }

    fn number(&mut self) -> Option<u64> {
        // One digit fewer than u64::MAX has, so that nothing overflows.
        const MAX_DIGITS: usize = 19;
        let len = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(len);
        if len == 0 || len > MAX_DIGITS || (digits[0] == b'0' && len > 1) {
            return None;
        }
        self.0 = rest;
        let value = digits.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0'));
        Some(value)
    }

    /// Reads the fields of a send after its opening brace, including the closing one.
    fn send(&mut self) -> Option<Send<'a>> {
        let mut send = Send::default();
        loop {
            let field = if self.part(br#""user":"#).is_some() {
                &mut send.user
            } else if self.part(br#""text":"#).is_some() {
                &mut send.text
            } else if self.part(br#""key":"#).is_some() {
                &mut send.key
            } else {
                self.part(br#""group":"#)?;
                &mut send.group
            };
            // A field that stands twice is an error, which the general reader words.
            if field.is_some() {
                return None;
            }
            *field = Some(self.string()?);
            if self.part(b",").is_none() {
                self.eat(b"}")?;
                return Some(send);
            }
        }
    }

    /// Reads the fields of an ack after the conversation's name, including the closing brace.
    fn ack(&mut self) -> Option<Ack<'a>> {
        let mut ack = Ack {
            conversation: self.string()?,
            ..Ack::default()
        };
        if self.field(br#""delivered":"#).is_some() {
            ack.delivered = Some(self.number()?);
        }
        if self.field(br#""read":"#).is_some() {
            ack.read = Some(self.number()?);
        }
        self.eat(b"}")?;
        Some(ack)
    }
}
