//! Attacks that write messages, and what belongs to messages.

use crate::attack::{Attack, Manner, Next, Turn};
use crate::attacks::{GROUP_SIZE, LARGEST_TEXT, conversation, group, text};
use crate::pen::Pen;
use crate::stage::{Stage, member};

/// The number of messages that an attack reacts to, or that it deletes, again and again.
const MESSAGES: u64 = 200;

/// Sends messages of 64 KiB to a group whose members are the attacker's own.
pub(crate) struct LargeToGroup {
    /// Whether the members read what they get.
    pub(crate) is_read: bool,
}

/// The number of connected members of the group. One of four sends.
const MEMBERS: usize = 32;

impl Attack for LargeToGroup {
    fn manner(&self) -> Manner {
        Manner {
            connections: MEMBERS,
            window: 16,
            reads: self.is_read,
            ..Manner::default()
        }
    }

    fn user(&self, me: &str, at: usize) -> String {
        member(me, at)
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        stage.group(&stage.me, &group(&stage.me), GROUP_SIZE - 1)?;
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        if !turn.at.is_multiple_of(4) {
            return Next::Rest;
        }
        let (group, text) = (group(turn.me), text(LARGEST_TEXT));
        pen.command("send", &format!(r#"{{"group":"{group}","text":"{text}"}}"#));
        Next::Go
    }
}

/// Sends short messages, each with a key that the gateway has to remember.
pub(crate) struct IdleKeys;

impl Attack for IdleKeys {
    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let Turn { me, at, step, .. } = turn;
        let (to, key) = (member(me, *at), format!("{at}-{step:0>120}"));
        let body = format!(r#"{{"user":"{to}","key":"{key}","text":"k"}}"#);
        pen.command("send", &body);
        Next::Go
    }
}

/// Sends a message to a user, and takes the message back.
pub(crate) struct Recalls;

impl Attack for Recalls {
    fn user(&self, me: &str, at: usize) -> String {
        member(me, at)
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let (from, to) = (
            member(turn.me, turn.at),
            format!("{}.to{}", turn.me, turn.at),
        );
        if turn.step.is_multiple_of(2) {
            pen.command(
                "send",
                &format!(r#"{{"user":"{to}","text":"{}"}}"#, text(1_000)),
            );
        } else {
            let seq = turn.step / 2 + 1;
            let body = format!(
                r#"{{"conversation":"{}","seq":{seq}}}"#,
                conversation(&from, &to)
            );
            pen.command("recall", &body);
        }
        Next::Go
    }
}

/// Deletes messages in the own view, over and over.
pub(crate) struct Deletes;

impl Attack for Deletes {
    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        send_many(stage)
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let (with, seq) = (
            conversation(turn.me, &member(turn.me, 0)),
            turn.step % MESSAGES + 1,
        );
        pen.command(
            "delete",
            &format!(r#"{{"conversation":"{with}","seq":{seq}}}"#),
        );
        Next::Go
    }
}

/// Reacts to messages of a group: 20 different reactions of each user to each message, which the
/// next pass takes back.
pub(crate) struct Reactions;

/// The most reactions of a user to a message.
const REACTIONS: u64 = 20;

impl Attack for Reactions {
    fn user(&self, me: &str, at: usize) -> String {
        member(me, at)
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        let mut session = stage.group(&stage.me, &group(&stage.me), GROUP_SIZE - 1)?;
        for _ in 0..MESSAGES {
            session.send(("group", &group(&stage.me)), 10)?;
        }
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let (seq, number) = (turn.step / REACTIONS % MESSAGES + 1, turn.step % REACTIONS);
        let remove = turn.step / (REACTIONS * MESSAGES) % 2 == 1;
        let (group, word) = (group(turn.me), format!("{}-{number:0>60}", turn.at));
        pen.command(
            "react",
            &format!(
                r#"{{"conversation":"g:{group}","seq":{seq},"reaction":"{word}","remove":{remove}}}"#
            ),
        );
        Next::Go
    }
}

/// Adds one reaction to one message and takes it back, over and over.
pub(crate) struct ReactionToggles;

impl Attack for ReactionToggles {
    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        let mut session = stage.group(&stage.me, &group(&stage.me), GROUP_SIZE - 1)?;
        session.send(("group", &group(&stage.me)), 10)?;
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let (group, remove) = (group(turn.me), turn.step % 2 == 1);
        let body = format!(
            r#"{{"conversation":"g:{group}","seq":1,"reaction":"like","remove":{remove}}}"#
        );
        pen.command("react", &body);
        Next::Go
    }
}

/// Acknowledges the messages of a group one by one, as several members.
pub(crate) struct ReceiptStorm;

impl Attack for ReceiptStorm {
    fn user(&self, me: &str, at: usize) -> String {
        member(me, at)
    }

    fn manner(&self) -> Manner {
        Manner {
            // Acknowledgements are answered together, after a while.
            window: 1_024,
            ..Manner::default()
        }
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        let mut session = stage.group(&stage.me, &group(&stage.me), 15)?;
        for _ in 0..MESSAGES {
            session.send(("group", &group(&stage.me)), 10)?;
        }
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let (group, seq) = (group(turn.me), turn.step % MESSAGES + 1);
        let body = format!(r#"{{"conversation":"g:{group}","delivered":{seq},"read":{seq}}}"#);
        pen.command("ack", &body);
        Next::Go
    }
}

fn send_many(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut session = stage.session(&stage.me)?;
    for _ in 0..MESSAGES {
        session.send(("user", &member(&stage.me, 0)), 10)?;
    }
    Ok(())
}
