//! What goes wrong in a history: restarts, deaths, failing disks, and time that passes.

use std::collections::BTreeMap;

use rand::RngExt;
use serde_json::json;
use trunkline_tests::gateway::Gateway;
use trunkline_tests::wait;

use super::super::asks::let_windows_pass;
use super::{Device, Driver, Place, answer, essence};

/// How often each kind of fault came.
pub(in crate::model) type Faults = BTreeMap<&'static str, usize>;

const NO_SYNC: &str = "disks that do not sync";
const FULL: &str = "disks without room";
const NO_READ: &str = "disks that return nothing";
const REFUSED: &str = "refused reads";

/// The kinds of faults that strace makes, and what must come of them.
pub(in crate::model) const DISK_FAULTS: [&str; 4] = [NO_SYNC, FULL, NO_READ, REFUSED];

/// The codes of errors of a store that takes nothing now: storage unavailable, storage full.
const NO_DISK: [u64; 2] = [115, 116];

impl<P> Driver<P> {
    pub(super) fn count(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }
}

impl Driver<Gateway> {
    pub(super) fn restart(&mut self) {
        self.count("restarts");
        self.say("a restart");
        self.forget_clients();
        assert!(self.place.stop().status.success());
        self.place.start_again();
    }

    /// Kills the gateway while a command is under way, and sends the command again after the
    /// restart.
    pub(super) fn kill(&mut self, number: usize) {
        self.count("deaths");
        self.connect(number);
        self.hear(number);
        let (command, ask) = self.command(number, true);
        if command == "edit" && self.late_edits {
            let_windows_pass();
        }
        self.note(number, &format!("{command} {ask}, and the gateway dies"));
        if let Some(client) = &mut self.devices[number].client {
            client.post(command, &ask);
        }
        self.place.kill();
        self.forget_clients();
        self.place.start_again();
        let Device { user, name, .. } = self.devices[number];
        // Without `connect`, because the events on the way are not known yet.
        let mut client = self.place.dial().connect(user, name);
        client.ask(command, &ask);
        let _ = self.world.decide((user, name), command, &ask);
    }

    /// Lets the disk fail while a command is under way, and sends the command again when the disk works. A disk that
    /// does not sync ends the store for good: the gateway is started again. A disk without room does not.
    pub(super) fn lose_disk(&mut self, number: usize) {
        self.connect(number);
        self.hear(number);
        let is_full = self.random.random_bool(0.5);
        let (call, error) = match is_full {
            true => ("pwrite64", "ENOSPC"),
            false => ("fdatasync", "EIO"),
        };
        let (command, ask) = self.command(number, true);
        if command == "edit" && self.late_edits {
            let_windows_pass();
        }
        let Ok(mut strace) = crate::failing_disk::fail(&self.place, call, error) else {
            return;
        };
        self.count(if is_full { FULL } else { NO_SYNC });
        self.note(
            number,
            &format!("{command} {ask}, and the disk fails: {error}"),
        );
        if let Some(client) = &mut self.devices[number].client {
            client.ask(command, &ask);
        }
        strace.kill();
        let Device { user, name, .. } = self.devices[number];
        if !is_full {
            self.place.ask_to_stop();
            self.place.ended();
            self.forget_clients();
            self.place.start_again();
            let mut client = self.place.dial().connect(user, name);
            client.ask(command, &ask);
        } else if let Some(client) = &mut self.devices[number].client {
            wait::until("room on the disk", || {
                let code = client.ask(command, &ask)["error"]["code"].as_u64();
                (!code.is_some_and(|code| NO_DISK.contains(&code))).then_some(())
            });
        }
        let _ = self.world.decide((user, name), command, &ask);
    }

    /// Lets the disk return nothing while a device reads and then changes something. What it is told meanwhile is
    /// right, or an error. A command that failed is sent again when the disk works.
    pub(super) fn lose_reads(&mut self, number: usize) {
        self.connect(number);
        (0..self.devices.len()).for_each(|device| self.hear(device));
        let (command, ask) = self.command(number, true);
        if command == "edit" && self.late_edits {
            let_windows_pass();
        }
        let questions = self.questions(number);
        let Ok(mut strace) = crate::failing_disk::fail(&self.place, "pread64", "EIO") else {
            return;
        };
        self.count(NO_READ);
        self.is_blind = true;
        self.note(number, &format!("{command} {ask}, and no read succeeds"));
        let Device { user, name, .. } = self.devices[number];
        for (question, about) in questions {
            let expected = self.world.decide((user, name), question, &about);
            let Some(client) = &mut self.devices[number].client else {
                return;
            };
            let reply = client.ask(question, &about);
            match reply["error"]["code"] == NO_DISK[0] {
                true => self.count(REFUSED),
                false => assert_eq!(answer(&reply, question), expected, "{question} {about}"),
            }
        }
        let (since, from) = self.devices[number].since.clone();
        let missed = from..self.world.log.len();
        let missed = missed.filter_map(|event| self.world.event(event, user));
        let missed: Vec<_> = missed.collect();
        if let Some(client) = &mut self.devices[number].client {
            let reply = client.ask("sync", &json!({"since": since, "limit": 500}));
            match reply["error"]["code"] == NO_DISK[0] {
                true => self.count(REFUSED),
                false => assert_eq!(essence(&reply["sync"]["events"]), json!(missed), "{reply}"),
            }
        }
        let Some(client) = &mut self.devices[number].client else {
            return;
        };
        let mut reply = client.ask(command, &ask);
        strace.kill();
        // What was pushed meanwhile may lack what could not be read: everybody catches up.
        self.forget_clients();
        if reply["error"]["code"] == NO_DISK[0] {
            let mut client = self.place.dial().connect(user, name);
            reply = client.ask(command, &ask);
        }
        let expected = self.world.decide((user, name), command, &ask);
        assert_eq!(answer(&reply, command), expected, "{command} {ask}");
    }
}

impl<P: Place> Driver<P> {
    /// Waits until a message that has just been sent expires. Everybody has got its push.
    pub(super) fn let_expire(&mut self, number: usize, conversation: &str, seq: usize) {
        (0..self.devices.len()).for_each(|device| self.hear(device));
        if let Some(client) = &mut self.devices[number].client {
            let about = json!({"conversation": conversation, "seq": seq});
            wait::until("the message to expire", || {
                let found = client.done("get", &about);
                (found["message"]["expired"] == true).then_some(())
            });
        }
        self.world.expire(conversation, seq);
        self.note(number, &format!("{conversation} {seq} has expired"));
    }
}
