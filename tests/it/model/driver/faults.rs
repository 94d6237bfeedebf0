//! What goes wrong in a history: restarts, deaths, failing disks, and time that passes.

use rand::RngExt;
use serde_json::json;
use trunkline_tests::wait;

use super::super::asks::let_windows_pass;
use super::{Device, Driver};

/// The codes of errors of a store that takes nothing now: storage unavailable, storage full.
const NO_DISK: [u64; 2] = [115, 116];

impl Driver {
    pub(super) fn restart(&mut self) {
        self.said.push("a restart".into());
        self.forget_clients();
        assert!(self.gateway.stop().status.success());
        self.gateway.start_again();
    }

    /// Kills the gateway while a command is under way, and sends the command again after the
    /// restart.
    pub(super) fn kill(&mut self, number: usize) {
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
        self.gateway.kill();
        self.forget_clients();
        self.gateway.start_again();
        let Device { user, name, .. } = self.devices[number];
        // Without `connect`, because the events on the way are not known yet.
        let mut client = self.gateway.dial().connect(user, name);
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
        let Ok(mut strace) = crate::failing_disk::fail(&self.gateway, call, error) else {
            return;
        };
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
            self.gateway.ask_to_stop();
            self.gateway.ended();
            self.forget_clients();
            self.gateway.start_again();
            let mut client = self.gateway.dial().connect(user, name);
            client.ask(command, &ask);
        } else if let Some(client) = &mut self.devices[number].client {
            wait::until("room on the disk", || {
                let code = client.ask(command, &ask)["error"]["code"].as_u64();
                (!code.is_some_and(|code| NO_DISK.contains(&code))).then_some(())
            });
        }
        let _ = self.world.decide((user, name), command, &ask);
    }

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
