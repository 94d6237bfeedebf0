//! Attacks with presence, topics, typing and signals.

use crate::attack::{Attack, HANDFUL, Manner, Next, Turn};
use crate::attacks::reading::in_pages;
use crate::attacks::{LARGEST_TEXT, group, list, text};
use crate::pen::Pen;
use crate::stage::{Stage, member};

/// Asks for the presence of 1,000 users.
#[derive(Default)]
pub(crate) struct Presence {
    users: String,
}

impl Attack for Presence {
    fn manner(&self) -> Manner {
        in_pages()
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        self.users = list(&stage.me, 0..1_000);
        Ok(())
    }

    fn step(&mut self, _turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        pen.command("presence", &format!(r#"{{"query":{}}}"#, self.users));
        Next::Go
    }
}

/// Watches 1,000 users and stops watching them, over and over.
#[derive(Default)]
pub(crate) struct Watches {
    users: String,
}

impl Attack for Watches {
    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        self.users = list(&stage.me, 0..1_000);
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let field = ["watch", "unwatch"][turn.step as usize % 2];
        pen.command("presence", &format!(r#"{{"{field}":{}}}"#, self.users));
        Next::Go
    }
}

/// The most subscriptions of a connection.
const SUBSCRIPTIONS: u64 = 100;

/// Subscribes to as many topics as a connection may, then ends these subscriptions and begins again
/// with other topics.
pub(crate) struct Subscribes;

impl Attack for Subscribes {
    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let (pass, number) = (turn.step / SUBSCRIPTIONS, turn.step % SUBSCRIPTIONS);
        let command = ["subscribe", "unsubscribe"][pass as usize % 2];
        let topic = format!("{}.{}.{}.{number}", turn.me, turn.at, pass / 2);
        pen.command(command, &format!(r#"{{"topic":"{topic}"}}"#));
        Next::Go
    }
}

/// Ends subscriptions that it does not have.
pub(crate) struct Unsubscribes;

impl Attack for Unsubscribes {
    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let topic = format!("{}.{}.{}", turn.me, turn.at, turn.step);
        pen.command("unsubscribe", &format!(r#"{{"topic":"{topic}"}}"#));
        Next::Go
    }
}

/// Publishes 64 KiB to a topic of 1,000 subscribers, which are the attacker's own.
pub(crate) struct Publications;

impl Attack for Publications {
    fn manner(&self) -> Manner {
        Manner {
            connections: 1_000,
            window: 4,
            ..Manner::default()
        }
    }

    fn user(&self, me: &str, at: usize) -> String {
        member(me, at)
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let me = turn.me;
        if turn.since_open == 0 {
            pen.command("subscribe", &format!(r#"{{"topic":"{me}"}}"#));
            return if turn.at < HANDFUL {
                Next::Go
            } else {
                Next::Rest
            };
        }
        let text = text(LARGEST_TEXT - 64);
        pen.command("publish", &format!(r#"{{"topic":"{me}","data":"{text}"}}"#));
        Next::Go
    }
}

/// Sends signals of 16 KiB to a user with several devices.
pub(crate) struct Signals;

impl Attack for Signals {
    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let (me, text) = (turn.me, text(16 << 10));
        pen.command("signal", &format!(r#"{{"user":"{me}","data":"{text}"}}"#));
        Next::Go
    }
}

/// Says that it types, to a group of 500.
pub(crate) struct Typing;

impl Attack for Typing {
    fn user(&self, me: &str, at: usize) -> String {
        member(me, at)
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        stage.group(&stage.me, &group(&stage.me), 499)?;
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let group = group(turn.me);
        pen.command("typing", &format!(r#"{{"conversation":"g:{group}"}}"#));
        Next::Go
    }
}
