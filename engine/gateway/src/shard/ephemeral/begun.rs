//! Watches that began with a command which is not answered yet.
//!
//! A watch that the store could not check ends with its command. It does not end if a later command of the
//! connection named the user too: the client may have the answer to that one.

use std::collections::HashMap;

use trunkline_core::ids::UserId;

/// The watches of a shard's connections that wait for the answer to the command with which they began. Each is
/// among the connection's watches, so there are no more of them.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// The number of the last command.
    last: u32,
    /// The number of the command, by the slot of the connection and the watched user.
    waiting: HashMap<(u32, UserId), u32>,
}

impl Begun {
    /// Returns the number of the next command. It is not 0.
    pub(super) fn command(&mut self) -> u32 {
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.last
    }

    /// Notes that a watch begins with a command.
    pub(super) fn begin(&mut self, slot: u32, user: UserId, command: u32) {
        self.waiting.insert((slot, user), command);
    }

    /// Notes that a command names a user whom the connection watches already.
    pub(super) fn named_again(&mut self, slot: u32, user: UserId, command: u32) {
        if self.waiting.get(&(slot, user)) != Some(&command) {
            self.forget(slot, user);
        }
    }

    /// Notes that a command is answered. Returns whether the watch depended on it.
    pub(super) fn settle(&mut self, slot: u32, user: UserId, command: u32) -> bool {
        let depends = self.waiting.get(&(slot, user)) == Some(&command);
        if depends {
            self.forget(slot, user);
        }
        depends
    }

    /// Notes that a watch has ended.
    pub(super) fn forget(&mut self, slot: u32, user: UserId) {
        self.waiting.remove(&(slot, user));
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::store::TimelineId;

    use super::*;

    const BOB: UserId = TimelineId(7);

    #[test]
    fn a_watch_depends_on_the_command_that_began_it_alone() {
        let mut begun = Begun::default();
        let first = begun.command();
        begun.begin(1, BOB, first);
        begun.named_again(1, BOB, first);
        assert!(begun.settle(1, BOB, first));
        assert!(!begun.settle(1, BOB, first), "once");
        // A later command names the user too.
        let (first, second) = (begun.command(), begun.command());
        begun.begin(1, BOB, first);
        begun.begin(2, BOB, first);
        begun.named_again(1, BOB, second);
        assert!(!begun.settle(1, BOB, first));
        assert!(!begun.settle(1, BOB, second));
        assert!(begun.settle(2, BOB, first), "of another connection");
        // It ends, and begins again with a later command.
        begun.begin(1, BOB, first);
        begun.forget(1, BOB);
        begun.begin(1, BOB, second);
        assert!(!begun.settle(1, BOB, first));
        assert!(begun.settle(1, BOB, second));
        assert!(begun.waiting.is_empty());
    }

    #[test]
    fn no_command_has_the_number_zero() {
        let mut begun = Begun {
            last: u32::MAX,
            ..Begun::default()
        };
        assert_eq!(begun.command(), 1);
    }
}
