//! Orders of operators to the owners of sessions: to list sessions, or to end them.
//!
//! An owner carries out one slice at a time: it looks at a bounded number of places from `from` on, and
//! says where to go on. So an order never holds a shard for long, however many sessions it has.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;

use trunkline_proto::CloseCode;

use crate::ids::UserId;

/// Returns the number of the first session of an owner: random above the lowest 32 bits. So a number that an
/// operator knows from before a restart of the gateway is no other session's. The highest bit is set, so all numbers
/// have as many digits, and the reply to `connect` as many bytes in each gateway.
pub fn first_number() -> u64 {
    let random = RandomState::new().hash_one(());
    random << 32 | 1 << 63
}

/// Returns the name of the device of a session whose client gave none. `kind` begins the name, and `number` is
/// the number of the session at its owner, the owner with the number `owner`. No other session of the gateway
/// has the name, and hardly one from before a restart.
pub fn unnamed_device(kind: &str, owner: usize, number: u64) -> String {
    let (start, session) = ((number >> 32) as u16, number as u32);
    format!("{kind}{start:04x}-{owner:x}-{session:x}")
}

/// The maximum number of places that an owner looks at for one order.
pub const PLACES: usize = 512;

/// The maximum number of sessions that an owner ends for one order. Ending one takes some 10 µs.
pub const ENDED: usize = 32;

/// The identity of a token, as a session keeps it: when the token was issued, and the mark of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenMark {
    /// When the token was issued, in seconds since 1970; 0 if it does not say.
    pub issued_s: u32,
    /// The mark of the token's id; `None` if it has no id. See [`TokenMark::of_id`].
    id: [u32; 2],
}

impl TokenMark {
    /// Makes the mark of a token. `id` is a part of the hash of the token's id, 0 without one.
    pub const fn new(issued_s: u32, id: u64) -> Self {
        let id = [(id >> 32) as u32, id as u32];
        Self { issued_s, id }
    }

    /// Returns the part of the hash of the token's id; 0 without one.
    pub const fn id(self) -> u64 {
        (self.id[0] as u64) << 32 | self.id[1] as u64
    }
}

/// The sessions that an operator means. A session has to fit everything that is given.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// The namespace; `None`: any.
    pub namespace: Option<Box<str>>,
    /// The user, whose id stands for the namespace too.
    pub user: Option<UserId>,
    /// The device.
    pub device: Option<Box<str>>,
    /// The number of the session at its owner.
    pub number: Option<u64>,
    /// The part of the hash of the token's id.
    pub token: Option<u64>,
    /// Sessions with a token from before this time, in seconds since 1970. A token that does not say when
    /// it was issued is from before any time.
    pub issued_before_s: Option<u64>,
}

/// A session that may be meant.
#[derive(Debug, Clone, Copy)]
pub struct Meant<'a> {
    /// The id of the user.
    pub user: UserId,
    /// The namespace.
    pub namespace: &'a str,
    /// The device.
    pub device: &'a str,
    /// The number of the session at its owner.
    pub number: u64,
    /// The identity of the token.
    pub token: TokenMark,
}

impl Which {
    /// Returns whether a session is meant.
    pub fn is(&self, session: &Meant<'_>) -> bool {
        let same = |asked: &Option<Box<str>>, is: &str| asked.as_deref().is_none_or(|it| it == is);
        let token = session.token;
        self.user.is_none_or(|asked| asked == session.user)
            && same(&self.namespace, session.namespace)
            && same(&self.device, session.device)
            && self.number.is_none_or(|asked| asked == session.number)
            && self.token.is_none_or(|asked| asked == token.id())
            && { self.issued_before_s }.is_none_or(|before| u64::from(token.issued_s) < before)
    }
}

/// What a session is told when an operator ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The code.
    pub code: CloseCode,
    /// The reason, for people.
    pub reason: &'static str,
    /// Whether the client is to connect again.
    pub reconnect: bool,
}

/// What to do with the sessions that are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Tell about at most this number of them.
    List(usize),
    /// End them.
    End(Ending),
}

/// A session, as operators see it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The number of the session at its owner.
    pub number: u64,
    /// The user.
    pub user: String,
    /// The device.
    pub device: String,
    /// The namespace.
    pub namespace: String,
    /// The address of the client; `None` if it is gone already.
    pub address: Option<String>,
    /// How the client is connected: `json`, `protobuf` or `events`.
    pub form: &'static str,
    /// Whether the client is still being sent the events that it missed.
    pub is_catching_up: bool,
    /// The bytes that wait for the client to read them.
    pub waiting: usize,
}

/// The result of one slice of an order.
#[derive(Debug, Default)]
pub struct Slice {
    /// The sessions that the task tells about.
    pub seen: Vec<Seen>,
    /// The number of sessions that were ended.
    pub ended: usize,
    /// The place at which to go on; `None` if everything was looked at.
    pub next: Option<u32>,
}

/// One slice of an order.
pub struct Order {
    /// The sessions that are meant.
    pub which: Which,
    /// The place at which to begin.
    pub from: u32,
    /// What to do with them.
    pub task: Task,
    /// Takes the result. It must not block, and must use no descriptor: a shard may have a descriptor table
    /// of its own, in which the descriptors that wake other threads are missing.
    pub tell: Box<dyn FnOnce(Slice) + Send>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order")
            .field("which", &self.which)
            .field("from", &self.from)
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;

    #[test]
    fn devices_without_a_name_have_names_of_their_own() {
        let (first, second) = (first_number(), first_number());
        let names = (0..3).flat_map(|owner| {
            let numbers = [first, first + 1, first + 2].into_iter();
            numbers.map(move |number| unnamed_device("d", owner, number))
        });
        let mut names: Vec<_> = names.collect();
        assert!(names.iter().all(|name| name.len() == "d1234-0-1".len()));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 9);
        // Of one start in 65,536 the names come again.
        let again = second >> 32 & 0xffff == first >> 32 & 0xffff;
        assert_eq!(again, names.contains(&unnamed_device("d", 0, second)));
    }

    #[test]
    fn a_session_has_to_fit_everything() {
        let token = TokenMark::new(100, 7 << 40);
        let meant = Meant {
            user: TimelineId(1),
            namespace: "acme",
            device: "phone",
            number: 9,
            token,
        };
        assert_eq!(token.id(), 7 << 40);
        let is = |which: &Which| which.is(&meant);
        assert!(is(&Which::default()));
        let all = Which {
            namespace: Some("acme".into()),
            user: Some(TimelineId(1)),
            device: Some("phone".into()),
            number: Some(9),
            token: Some(7 << 40),
            issued_before_s: Some(101),
        };
        assert!(is(&all));
        for other in [
            Which {
                namespace: Some("".into()),
                ..all.clone()
            },
            Which {
                user: Some(TimelineId(2)),
                ..all.clone()
            },
            Which {
                device: Some("tablet".into()),
                ..all.clone()
            },
            Which {
                number: Some(8),
                ..all.clone()
            },
            Which {
                token: Some(7),
                ..all.clone()
            },
            Which {
                issued_before_s: Some(100),
                ..all.clone()
            },
        ] {
            assert!(!is(&other), "{other:?}");
        }
        let before = Which {
            issued_before_s: Some(1),
            ..Which::default()
        };
        assert!(!before.is(&meant));
        let without = Meant {
            token: TokenMark::default(),
            ..meant
        };
        assert!(before.is(&without));
    }
}
