//! The contacts that a user has chosen. Only the user learns of them: a contact is not told.

use trunkline_proto::ErrorCode;
use trunkline_storage::{Draft, TimelineId};

use super::asked::Asked;
use super::batch::{Changes, OpenBatch};
use super::buckets::Buckets;
use super::refused::{CORRUPT, Refused};
use crate::event::{Body, CONTACTS};
use crate::exchange::Outcome;
use crate::ids::Ids;
use crate::state::{self, Contact, Contacts, MAX_CONTACTS};
use crate::told::Decision;

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
    batch.name(named.len());
    let key = command.conversation;
    let watch = change.watch;
    let done = Decision::private(Outcome::Contacts { watch });
    let mut contacts = stored(batch, key)?;
    let mut is_changed = false;
    for wanted in wanted(batch.ids(), add, remove) {
        is_changed |= set(&mut contacts, wanted)?;
    }
    if !is_changed {
        return Ok(done);
    }
    if contacts.len() > MAX_CONTACTS {
        return Err(TOO_MANY);
    }
    let mut changes = write(contacts, key)?;
    let draft = Draft {
        kind: CONTACTS,
        timeline: key,
        body: command.body,
        ..Draft::default()
    };
    batch.append(&draft, &mut changes)?;
    Ok(done)
}

/// Returns the changes of the values of a set of users: the head under `key`, and the buckets.
///
/// # Errors
/// The store could not be read, or has contacts of another form.
pub(super) fn write(users: Buckets<'_, Contact>, key: TimelineId) -> Result<Changes, Refused> {
    let is_empty = users.len() == 0;
    let mut changes = Changes::new();
    let users = users.write(&mut changes)?;
    let head = if is_empty {
        Vec::new()
    } else {
        state::encode(&Contacts {
            users,
            gathered: Vec::new(),
        })
    };
    // The key of the record's own timeline comes first: the log leaves it out there.
    changes.insert(0, (key, head));
    Ok(changes)
}

/// Returns the users of the set under a key, as the batch leaves them.
///
/// # Errors
/// The store could not be read, or has contacts of another form.
pub(super) fn stored(batch: &OpenBatch, key: TimelineId) -> Result<Buckets<'_, Contact>, Refused> {
    let Contacts { users, gathered } = batch.decoded(key)?.unwrap_or_default();
    if gathered.is_empty() {
        Ok(Buckets::new(batch, key, users))
    } else {
        Ok(Buckets::gathered(batch, key, gathered))
    }
}

/// Adds the removal of all contacts under a key to `changes`.
///
/// # Errors
/// The store could not be read, or has contacts of another form.
pub(super) fn remove_all(
    batch: &OpenBatch,
    key: TimelineId,
    changes: &mut Changes,
) -> Result<(), Refused> {
    if batch.value(key)?.is_none() {
        return Ok(());
    }
    let mut contacts = stored(batch, key)?;
    for contact in contacts.all()? {
        let hash = Contact::hash_of(batch.ids(), &contact.0);
        contacts.take(hash, |other| other.0 == contact.0)?;
    }
    contacts.write(changes)?;
    changes.push((key, Vec::new()));
    Ok(())
}

/// A user whom a command names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted<'a> {
    pub(super) hash: u64,
    pub(super) name: &'a str,
    /// Whether the user is in the set after the command.
    pub(super) is_contact: bool,
}

/// Returns each named user once, in the order of the hashes. A user who is named in both lists is no
/// contact.
fn wanted<'a>(ids: &Ids, add: &[&'a str], remove: &[&'a str]) -> Vec<Wanted<'a>> {
    let all = add.iter().map(|name| (name, true));
    let all = all.chain(remove.iter().map(|name| (name, false)));
    let mut all: Vec<_> = all
        .map(|(name, is_contact)| Wanted {
            hash: Contact::hash_of(ids, name),
            name,
            is_contact,
        })
        .collect();
    all.sort_unstable();
    // The first of two stays: the one that is removed.
    all.dedup_by_key(|one| (one.hash, one.name));
    all
}

/// Adds or removes one user of a set. Returns whether that changed the set.
///
/// # Errors
/// The store could not be read, or has contacts of another form.
pub(super) fn set(
    contacts: &mut Buckets<'_, Contact>,
    wanted: Wanted<'_>,
) -> Result<bool, Refused> {
    let Wanted {
        hash,
        name,
        is_contact,
    } = wanted;
    let is_it = |contact: &Contact| contact.0 == name;
    if !is_contact {
        return Ok(contacts.take(hash, is_it)?.is_some());
    }
    if contacts.near(hash)?.iter().any(is_it) {
        return Ok(false);
    }
    contacts.insert(hash, Contact(name.to_owned()));
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, most};
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

    /// Returns the key of Alice's contacts.
    fn key(fixture: &Fixture) -> TimelineId {
        let request = fixture.request("alice", "", Action::Recall { seq: 0 }, Body::default());
        request.asked().conversation
    }

    /// Returns the names of Alice's contacts, in bytewise order.
    fn names(fixture: &Fixture) -> Vec<String> {
        let mut contacts = stored(&fixture.batch, key(fixture)).unwrap();
        let all = contacts.all().unwrap().into_iter();
        let mut names: Vec<_> = all.map(|contact| contact.0).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn contacts_change_within_their_limit_and_leave_no_empty_value() {
        let mut fixture = Fixture::new();
        let key = key(&fixture);
        apply(&mut fixture, &[], &["bob"]).unwrap();
        assert!(fixture.batch.is_empty(), "nothing changed");
        let most: Vec<_> = (0..MAX_CONTACTS).map(|n| format!("u{n}")).collect();
        apply(&mut fixture, &most, &[]).unwrap();
        let full = names(&fixture);
        assert_eq!(full.len(), most.len());
        let more = ["one-more".to_owned()];
        assert_eq!(apply(&mut fixture, &more, &[]), Err(TOO_MANY));
        assert_eq!(names(&fixture), full, "none was changed");
        let all: Vec<_> = most.iter().map(String::as_str).collect();
        apply(&mut fixture, &[], &all).unwrap();
        assert_eq!(fixture.batch.value(key), Ok(None));
        for number in 0..MAX_CONTACTS as u32 {
            let bucket = fixture.ids().bucket(key, number);
            assert_eq!(fixture.batch.value(bucket), Ok(None), "{number}");
        }
    }

    #[test]
    fn a_user_named_in_both_lists_is_no_contact() {
        let mut fixture = Fixture::new();
        let named = ["carol", "bob", "carol"].map(str::to_owned);
        apply(&mut fixture, &named, &[]).unwrap();
        assert_eq!(names(&fixture), ["bob", "carol"]);
        let before = fixture.batch.last_position();
        apply(&mut fixture, &["dave".to_owned()], &["dave"]).unwrap();
        apply(&mut fixture, &["bob".to_owned()], &["erin"]).unwrap();
        assert_eq!(fixture.batch.last_position(), before, "nothing changed");
        apply(&mut fixture, &["dave".to_owned()], &["dave", "carol"]).unwrap();
        assert_eq!(names(&fixture), ["bob"]);
    }

    #[test]
    fn one_contact_costs_the_same_for_users_with_many_contacts() {
        let mut fixture = Fixture::new();
        let mut work = Vec::new();
        for n in 0..MAX_CONTACTS {
            fixture.batch.take_work();
            apply(&mut fixture, &[format!("user-{n}")], &[]).unwrap();
            work.push(fixture.batch.take_work());
        }
        let ((few, few_bytes), (many, many_bytes)) = (most(&work[..20]), most(&work[980..]));
        assert!(many <= few + 2, "{few} {many}");
        assert!(many_bytes < 3 * few_bytes, "{few_bytes} {many_bytes}");
    }

    #[test]
    fn changes_of_all_sizes_leave_the_right_contacts() {
        let mut fixture = Fixture::new();
        let mut expected = std::collections::BTreeSet::new();
        let mut random = 1_u64;
        let mut next = move |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005) + 1;
            (random >> 33) % below
        };
        for step in 0..200 {
            // Long lists and short ones, which let the set grow and shrink in turn.
            let longest = [900, 20, 2][step % 3];
            let mut named = |most: u64| -> Vec<_> {
                let count = next(most + 1);
                (0..count).map(|_| format!("user-{}", next(900))).collect()
            };
            let (add, remove) = match step % 2 {
                0 => (named(longest), named(longest / 10)),
                _ => (named(longest / 10), named(longest)),
            };
            expected.extend(add.iter().cloned());
            expected.retain(|name| !remove.contains(name));
            let remove: Vec<_> = remove.iter().map(String::as_str).collect();
            apply(&mut fixture, &add, &remove).unwrap();
            let expected: Vec<_> = expected.iter().cloned().collect();
            assert_eq!(names(&fixture), expected, "{step}");
        }
    }

    #[test]
    fn contacts_of_an_earlier_version_stay_and_change() {
        let mut fixture = Fixture::new();
        let key = key(&fixture);
        let old: Vec<_> = (0..200).map(|n| format!("u{n:03}")).collect();
        let value = postcard::to_extend(&old, vec![9]).unwrap();
        fixture.batch.set(key, &value).unwrap();
        assert_eq!(names(&fixture), old);
        apply(&mut fixture, &[], &["zoe"]).unwrap();
        assert_eq!(fixture.batch.value(key), Ok(Some(value)), "no change");
        apply(&mut fixture, &["zoe".to_owned()], &["u000"]).unwrap();
        let mut expected = old[1..].to_vec();
        expected.push("zoe".to_owned());
        assert_eq!(names(&fixture), expected);
        let all: Vec<_> = expected.iter().map(String::as_str).collect();
        apply(&mut fixture, &[], &all).unwrap();
        assert_eq!(fixture.batch.value(key), Ok(None));
        assert_eq!(names(&fixture), [""; 0]);
    }
}
