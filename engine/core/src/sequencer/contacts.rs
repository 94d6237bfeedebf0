//! The contacts that a user has chosen. Only the user learns of them: a contact is not told.

use trunkline_proto::ErrorCode;
use trunkline_storage::Draft;

use super::asked::Asked;
use super::batch::OpenBatch;
use super::decision::Decision;
use super::refused::{CORRUPT, Refused};
use crate::event::{Body, CONTACTS};
use crate::exchange::Outcome;
use crate::state::{self, Contacts, MAX_CONTACTS};

const TOO_MANY: Refused = Refused::new(
    ErrorCode::LimitExceeded,
    "a user has at most 1,000 contacts: none was changed",
);

/// The changes of a command in the caller's contacts.
#[derive(Debug, Clone, Copy)]
pub(super) struct ContactChange {
    /// The number of users to add. They come first in the command's body, and users to remove
    /// follow.
    pub(super) added: usize,
    /// Whether the caller watches the contacts from now on.
    pub(super) watch: bool,
}

/// Changes the caller's contacts.
///
/// # Errors
/// The caller would have too many contacts, the store could not be read, or it took no record.
pub(super) fn change(
    batch: &mut OpenBatch,
    command: Asked<'_>,
    change: ContactChange,
) -> Result<Decision, Refused> {
    let named = Body::read(command.body).ok_or(CORRUPT)?.members;
    let (add, remove) = named.split_at_checked(change.added).ok_or(CORRUPT)?;
    let key = command.conversation;
    let value = batch.value(key)?;
    let mut contacts = match value.as_deref() {
        Some(value) => state::decode(value).ok_or(CORRUPT)?,
        None => Contacts::default(),
    };
    let watch = change.watch;
    let done = Decision::private(Outcome::Contacts { watch });
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
        timeline: key,
        body: command.body,
        ..Draft::default()
    };
    batch.append(&draft, &mut vec![(key, left)])?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;
    use crate::exchange::Action;

    fn apply(fixture: &mut Fixture, add: &[String], remove: &[&str]) -> Result<(), Refused> {
        let added = add.len();
        let action = Action::Contacts {
            added,
            watch: false,
        };
        let add = add.iter().map(String::as_str);
        let body = Body {
            members: add.chain(remove.iter().copied()).collect(),
            ..Body::default()
        };
        let request = fixture.request("alice", "", action, body);
        let change = ContactChange {
            added,
            watch: false,
        };
        super::change(&mut fixture.batch, request.asked(), change).map(|_| ())
    }

    #[test]
    fn contacts_change_within_their_limit_and_leave_no_empty_value() {
        let mut fixture = Fixture::new();
        let key = fixture.request("alice", "", Action::Recall { seq: 0 }, Body::default());
        let key = key.asked().conversation;
        apply(&mut fixture, &[], &["bob"]).unwrap();
        assert!(fixture.batch.is_empty(), "nothing changed");
        let most: Vec<_> = (0..MAX_CONTACTS).map(|n| format!("u{n}")).collect();
        apply(&mut fixture, &most, &[]).unwrap();
        let full = fixture.batch.value(key).unwrap();
        let more = ["one-more".to_owned()];
        assert_eq!(apply(&mut fixture, &more, &[]), Err(TOO_MANY));
        assert_eq!(fixture.batch.value(key).unwrap(), full, "none was changed");
        let all: Vec<_> = most.iter().map(String::as_str).collect();
        apply(&mut fixture, &[], &all).unwrap();
        assert_eq!(fixture.batch.value(key), Ok(None));
    }
}
