//! The store's ids for the names of the protocol.
//!
//! Each is a keyed hash, so that no client can choose names that collide. The namespace is part
//! of every id: users of one organisation cannot name anything of another.

use trunkline_storage::{StoreKey, TimelineId};

/// A user, and the user's sync timeline.
pub(crate) type UserId = TimelineId;

const USER: u8 = 1;
const DIRECT: u8 = 2;
const GROUP: u8 = 3;
const KEY: u8 = 4;

/// Hashes names under one store's key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids(pub(crate) StoreKey);

impl Ids {
    pub(crate) fn user(&self, namespace: &str, name: &str) -> UserId {
        self.0.id(USER, &[namespace.as_bytes(), name.as_bytes()])
    }

    /// The conversation between two users, the lesser name first.
    pub(crate) fn direct(&self, namespace: &str, lesser: &str, greater: &str) -> TimelineId {
        self.0.id(
            DIRECT,
            &[namespace.as_bytes(), lesser.as_bytes(), greater.as_bytes()],
        )
    }

    /// What makes two sends of one user the same send.
    pub(crate) fn key(&self, namespace: &str, user: &str, key: &str) -> TimelineId {
        let parts = [namespace.as_bytes(), user.as_bytes(), key.as_bytes()];
        self.0.id(KEY, &parts)
    }

    pub(crate) fn group(&self, namespace: &str, name: &str) -> TimelineId {
        self.0.id(GROUP, &[namespace.as_bytes(), name.as_bytes()])
    }
}
