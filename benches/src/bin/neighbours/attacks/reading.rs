//! Attacks that ask the store.

use crate::attack::{Attack, Manner, Next, Turn};
use crate::attacks::{LARGEST_TEXT, conversation};
use crate::pen::Pen;
use crate::stage::{Stage, member};

/// The number of large messages that are asked for.
const LARGE_MESSAGES: usize = 96;

/// The number of conversations of an attacker who asks for them.
const CONVERSATIONS: usize = 500;

/// The most answers of the store that a connection may wait for (`max_pages`).
const PAGES: usize = 32;

/// Returns the manner of an attacker who waits for as many pages as allowed.
pub(super) fn in_pages() -> Manner {
    Manner {
        window: PAGES,
        ..Manner::default()
    }
}

/// Asks for the history of messages of 64 KiB.
pub(crate) struct History {
    /// Whether the attacker reads the answers.
    pub(crate) is_read: bool,
}

impl Attack for History {
    fn manner(&self) -> Manner {
        Manner {
            window: if self.is_read { PAGES } else { usize::MAX },
            reads: self.is_read,
            ..Manner::default()
        }
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        send_large(stage)
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let with = conversation(turn.me, &member(turn.me, 0));
        let body = format!(r#"{{"conversation":"{with}","after":0,"limit":500}}"#);
        pen.command("history", &body);
        Next::Go
    }
}

/// Asks for all events from the beginning.
pub(crate) struct SyncFromZero;

impl Attack for SyncFromZero {
    fn manner(&self) -> Manner {
        in_pages()
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        send_large(stage)
    }

    fn step(&mut self, _turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        pen.command("sync", r#"{"since":"0","limit":500}"#);
        Next::Go
    }
}

/// Catches up from a different position each time, in pages of small events.
#[derive(Default)]
pub(crate) struct CatchUp {
    positions: Vec<String>,
}

impl Attack for CatchUp {
    fn manner(&self) -> Manner {
        in_pages()
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        self.positions = send_to_many(stage)?;
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let count = self.positions.len().max(1);
        let at = (turn.step as usize * 7 + turn.at * 31) % count;
        let since = self.positions.get(at).map_or("0", String::as_str);
        pen.command("sync", &format!(r#"{{"since":"{since}","limit":500}}"#));
        Next::Go
    }
}

/// Lists 500 conversations.
pub(crate) struct Conversations;

impl Attack for Conversations {
    fn manner(&self) -> Manner {
        in_pages()
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        send_to_many(stage)?;
        Ok(())
    }

    fn step(&mut self, _turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        pen.command("conversations", r#"{"limit":500}"#);
        Next::Go
    }
}

/// Asks for the newest message of many conversations in turn.
pub(crate) struct ManyHistories;

impl Attack for ManyHistories {
    fn manner(&self) -> Manner {
        in_pages()
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        send_to_many(stage)?;
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let with = member(turn.me, turn.step as usize % CONVERSATIONS);
        let with = conversation(turn.me, &with);
        pen.command("history", &format!(r#"{{"conversation":"{with}"}}"#));
        Next::Go
    }
}

/// Asks for conversations and groups of others, which it may not see.
pub(crate) struct Forbidden;

impl Attack for Forbidden {
    fn manner(&self) -> Manner {
        in_pages()
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let number = turn.step as usize * 8 + turn.at;
        let (one, other) = (format!("x{number}"), format!("y{number}"));
        let with = match turn.step % 2 {
            0 => conversation(&one, &other),
            _ => format!("g:{one}"),
        };
        let (command, rest) = [
            ("get", r#","seq":1"#),
            ("history", ""),
            ("receipts", RECEIPTS),
        ][turn.step as usize % 3];
        pen.command(command, &format!(r#"{{"conversation":"{with}"{rest}}}"#));
        Next::Go
    }
}

const RECEIPTS: &str = r#","seq":1,"state":"unread""#;

/// Sends messages of 64 KiB to a user.
fn send_large(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut session = stage.session(&stage.me)?;
    for _ in 0..LARGE_MESSAGES {
        session.send(("user", &member(&stage.me, 0)), LARGEST_TEXT)?;
    }
    Ok(())
}

/// Sends a short message to each of many users. Returns the positions of the messages.
fn send_to_many(stage: &Stage<'_>) -> anyhow::Result<Vec<String>> {
    let mut session = stage.session(&stage.me)?;
    (0..CONVERSATIONS)
        .map(|n| session.send(("user", &member(&stage.me, n)), 10))
        .collect()
}
