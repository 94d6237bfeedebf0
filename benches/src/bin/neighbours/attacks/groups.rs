//! Attacks with groups and contacts.

use crate::attack::{Attack, Manner, Next, Turn};
use crate::attacks::reading::in_pages;
use crate::attacks::{GROUP_SIZE, group, list};
use crate::pen::Pen;
use crate::stage::Stage;

/// Adds 1,000 contacts and removes them again.
#[derive(Default)]
pub(crate) struct Contacts {
    users: String,
}

impl Attack for Contacts {
    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        self.users = list(&stage.me, 0..1_000);
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let field = ["add", "remove"][turn.step as usize % 2];
        pen.command("contacts", &format!(r#"{{"{field}":{}}}"#, self.users));
        Next::Go
    }
}

/// Creates one group of 201 members behind the other, from one connection.
#[derive(Default)]
pub(crate) struct GroupCreate {
    users: String,
}

impl Attack for GroupCreate {
    fn manner(&self) -> Manner {
        Manner {
            connections: 1,
            window: 8_192,
            ..Manner::default()
        }
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        self.users = list(&stage.me, 0..GROUP_SIZE);
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let name = format!("{}-{}", group(turn.me), turn.step);
        let body = format!(r#"{{"group":"{name}","members":{}}}"#, self.users);
        pen.command("group_create", &body);
        Next::Go
    }
}

/// Removes 41 members of a group at the limit of the fan-out and adds them again.
#[derive(Default)]
pub(crate) struct GroupChurn {
    users: String,
}

impl Attack for GroupChurn {
    fn manner(&self) -> Manner {
        Manner {
            connections: 1,
            window: 2_048,
            ..Manner::default()
        }
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        // With the owner one more than events enter the timelines of.
        stage.group(&stage.me, &group(&stage.me), GROUP_SIZE)?;
        self.users = list(&stage.me, 0..41);
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let command = ["group_remove", "group_add"][turn.step as usize % 2];
        let body = format!(
            r#"{{"group":"{}","members":{}}}"#,
            group(turn.me),
            self.users
        );
        pen.command(command, &body);
        Next::Go
    }
}

/// Renames a group of 200 members over and over, with the longest names.
pub(crate) struct GroupRename;

impl Attack for GroupRename {
    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        stage.group(&stage.me, &group(&stage.me), GROUP_SIZE - 1)?;
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let (group, name) = (group(turn.me), format!("{}.{:0>250}", turn.at, turn.step));
        pen.command(
            "group_rename",
            &format!(r#"{{"group":"{group}","name":"{name}"}}"#),
        );
        Next::Go
    }
}

/// Asks for pages of the members of a group of 10,000.
pub(crate) struct GroupInfo;

/// The number of members of a large group.
pub(super) const LARGE: usize = 10_000;

impl Attack for GroupInfo {
    fn manner(&self) -> Manner {
        in_pages()
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        stage.group(&stage.me, &group(&stage.me), LARGE)?;
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let after = format!("{}.{}", turn.me, turn.step * 500 % LARGE as u64);
        let group = group(turn.me);
        let body = format!(r#"{{"group":"{group}","after":"{after}","limit":500}}"#);
        pen.command("group_info", &body);
        Next::Go
    }
}

/// Asks who of a group of 10,000 has not read a message.
pub(crate) struct Receipts;

impl Attack for Receipts {
    fn manner(&self) -> Manner {
        in_pages()
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        let mut session = stage.group(&stage.me, &group(&stage.me), LARGE)?;
        session.send(("group", &group(&stage.me)), 10)?;
        Ok(())
    }

    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next {
        let group = group(turn.me);
        let body =
            format!(r#"{{"conversation":"g:{group}","seq":1,"state":"unread","limit":500}}"#);
        pen.command("receipts", &body);
        Next::Go
    }
}
