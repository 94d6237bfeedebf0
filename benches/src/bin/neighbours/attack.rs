//! What an attacker is: how it connects, what it prepares, and what it does next.

use std::time::Duration;

use crate::pen::Pen;
use crate::stage::Stage;

/// What one attacker does to a gateway.
pub(crate) trait Attack: Send {
    /// Returns how the attacker connects and how fast it writes.
    fn manner(&self) -> Manner {
        Manner::default()
    }

    /// Returns the name of the user of a connection: by default one user for all connections.
    fn user(&self, me: &str, _at: usize) -> String {
        me.to_owned()
    }

    /// Makes what the attack needs, such as groups, before anything is measured.
    ///
    /// # Errors
    /// The gateway refuses something.
    fn prepare(&mut self, _stage: &Stage<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    /// Writes the next thing on one connection.
    fn step(&mut self, turn: &Turn<'_>, pen: &mut Pen<'_>) -> Next;
}

/// Which step of which connection an attacker is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn<'a> {
    /// The name of the attacker, which is the beginning of all names that it makes up.
    pub(crate) me: &'a str,
    /// The number of the connection among those of this attacker, from 0.
    pub(crate) at: usize,
    /// The number of steps of this connection before this one, over all its lives.
    pub(crate) step: u64,
    /// The number of steps since this connection was opened, before this one.
    pub(crate) since_open: u64,
}

/// What follows a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another step, as soon as the window and the socket have room.
    Go,
    /// Nothing: the connection only listens from now on.
    Rest,
    /// The end of the connection, by a reset. The attacker then opens it again.
    Leave,
}

/// How an attacker connects and how fast it writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// The number of connections of an attacker that is alone. Several attackers share them.
    pub(crate) connections: usize,
    /// The most commands of a connection that wait for an answer.
    pub(crate) window: usize,
    /// Whether the attacker reads what the gateway sends.
    pub(crate) reads: bool,
    /// How far a connection gets before the first step.
    pub(crate) entry: Entry,
    /// Whether the connection speaks protobuf.
    pub(crate) protobuf: bool,
    /// The shortest time between two steps of a connection.
    pub(crate) pace: Duration,
    /// Whether each opening asks for what was missed (`resume`).
    pub(crate) resumes: bool,
}

/// How far a connection gets before the first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// TCP only.
    Tcp,
    /// The upgrade.
    Upgrade,
    /// The upgrade and `connect`.
    Session,
}

/// The number of connections of an attack that does not need more.
pub(crate) const HANDFUL: usize = 8;

impl Default for Manner {
    fn default() -> Self {
        Self {
            connections: HANDFUL,
            window: 64,
            reads: true,
            entry: Entry::Session,
            protobuf: false,
            pace: Duration::ZERO,
            resumes: false,
        }
    }
}

impl Manner {
    /// Returns the number of connections of one of `attackers`: a handful if one needs no more, and
    /// a share of a larger number.
    pub(crate) fn connections_each(&self, attackers: usize) -> usize {
        if self.connections <= HANDFUL {
            self.connections
        } else {
            (self.connections / attackers).max(HANDFUL)
        }
    }
}

/// An attack of the catalogue.
pub(crate) struct Listed {
    /// The name of the attack on the command line.
    pub(crate) name: &'static str,
    /// What the attacker does, in a few words.
    pub(crate) about: &'static str,
    /// Makes the attack of one attacker.
    pub(crate) make: fn() -> Box<dyn Attack>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attackers_share_what_is_more_than_a_handful() {
        let few = Manner::default();
        assert_eq!([1, 50].map(|n| few.connections_each(n)), [8, 8]);
        let many = Manner {
            connections: 1_000,
            ..few
        };
        let each = [1, 10, 500].map(|n| many.connections_each(n));
        assert_eq!(each, [1_000, 100, 8]);
    }
}
