//! Counts what the gateway says to an attacker.

use std::collections::BTreeMap;

use memchr::memmem;
use serde::Serialize;

/// The code of the error that asks a client to wait.
const TOO_MANY: u16 = 111;

/// What attackers did, and what the gateway said to them.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Tally {
    /// The number of steps.
    pub(crate) steps: u64,
    /// The number of answers, errors included.
    pub(crate) answers: u64,
    /// The number of pushes.
    pub(crate) pushes: u64,
    /// The number of bytes that were read.
    pub(crate) bytes: u64,
    /// The number of errors by their code.
    pub(crate) errors: BTreeMap<u16, u64>,
    /// The longest wait that an error 111 asked for, in milliseconds.
    pub(crate) retry_ms: u64,
    /// The number of connections that were opened.
    pub(crate) opened: u64,
    /// The number of connections that the gateway ended or refused.
    pub(crate) ended: u64,
    /// The seconds of a processor that the thread of the attackers took.
    pub(crate) cpu: f64,
}

impl Tally {
    /// Returns how many commands were refused for the time being (error 111).
    pub(crate) fn refused(&self) -> u64 {
        self.errors.get(&TOO_MANY).copied().unwrap_or_default()
    }

    /// Adds what another round counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.answers += other.answers;
        self.pushes += other.pushes;
        self.bytes += other.bytes;
        self.retry_ms = self.retry_ms.max(other.retry_ms);
        self.opened += other.opened;
        self.ended += other.ended;
        self.cpu += other.cpu;
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
    }

    /// Counts a message of the gateway. Returns whether it is an answer.
    pub(crate) fn message(&mut self, payload: &[u8]) -> bool {
        if payload.starts_with(br#"{"push""#) {
            self.pushes += 1;
            return false;
        }
        self.answers += 1;
        let head = &payload[..payload.len().min(64)];
        if let Some(code) = number_after(head, br#""error":{"code":"#) {
            *self.errors.entry(code as u16).or_default() += 1;
            let wait = number_after(payload, br#""retry_ms":"#);
            self.retry_ms = self.retry_ms.max(wait.unwrap_or_default());
        }
        true
    }
}

fn number_after(text: &[u8], mark: &[u8]) -> Option<u64> {
    let rest = &text[memmem::find(text, mark)? + mark.len()..];
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_with_their_longest_wait() {
        let mut tally = Tally::default();
        let refused = |ms| {
            format!(r#"{{"id":1,"error":{{"code":111,"limit":"rate_bytes","retry_ms":{ms}}}}}"#)
        };
        assert!(tally.message(refused(300).as_bytes()));
        assert!(tally.message(refused(200).as_bytes()));
        assert!(tally.message(br#"{"id":1,"error":{"code":103,"name":"permission_denied"}}"#));
        assert!(tally.message(br#"{"id":1,"ping":{}}"#));
        assert!(!tally.message(br#"{"push":{"message":{"text":"\"error\":{\"code\":111,"}}}"#));
        assert_eq!((tally.refused(), tally.retry_ms), (2, 300));
        assert_eq!((tally.answers, tally.pushes), (4, 1));
        assert_eq!(tally.errors[&103], 1);
    }
}
