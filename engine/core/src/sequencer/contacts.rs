//! Contacts: whom a user has chosen. Nobody is told of them, those chosen least of all.

use trunkline_proto::ErrorCode;
use trunkline_storage::Draft;

use super::asked::Asked;
use super::refused::Refused;
use super::route::Audience;
use super::{CORRUPT, Sequencer, unreadable};
use crate::event::{Body, CONTACTS};
use crate::exchange::Outcome;
use crate::state::{self, Contacts, MAX_CONTACTS};

const TOO_MANY: Refused = Refused::new(
    ErrorCode::LimitExceeded,
    "a user has at most 1,000 contacts: none was changed",
);

impl Sequencer {
    /// Adds the first of those that the body names, and removes the others.
    pub(super) fn contacts(
        &mut self,
        command: Asked<'_>,
        now: u64,
        (added, watch): (usize, bool),
    ) -> Result<(Outcome, Audience), Refused> {
        let named = Body::read(command.body).ok_or(CORRUPT)?.members;
        let (add, remove) = named.split_at_checked(added).ok_or(CORRUPT)?;
        let key = command.conversation;
        let value = self.states.get(key).map_err(|error| unreadable(&error))?;
        let mut contacts = match value.as_deref() {
            Some(value) => state::decode(value).ok_or(CORRUPT)?,
            None => Contacts::default(),
        };
        let done = (Outcome::Contacts { watch }, Audience::Nobody);
        if !contacts.change(add, remove) {
            return Ok(done);
        }
        if contacts.users.len() > MAX_CONTACTS {
            return Err(TOO_MANY);
        }
        let left = if contacts.users.is_empty() {
            Vec::new()
        } else {
            state::encode(&contacts)
        };
        let draft = Draft {
            kind: CONTACTS,
            time: now,
            timeline: key,
            body: command.body,
            ..Draft::default()
        };
        self.append(&draft, &mut vec![(key, left)])?;
        Ok(done)
    }
}
