use std::sync::Arc;

use trunkline_storage::backend::sim::SimDisk;
use trunkline_storage::{Batch, Draft, Opened, Options, StateEntry, Store};

use super::*;
use crate::state::{Entry, ROSTER_CHUNK, Role};

const GROUP: TimelineId = TimelineId(700);
const ACME: &str = "acme";

fn open() -> Opened {
    let options = Options {
        segment_bytes: 1 << 20,
        max_record_bytes: 1 << 19,
        reserve_bytes: 0,
        background: false,
        ..Options::default()
    };
    Store::open_with(Arc::new(SimDisk::new(1)), options, &mut |_| ()).unwrap()
}

/// Appends a record that sets the members of chunks, each with the first message that it sees.
fn set(opened: &mut Opened, chunks: &[(u32, &[(&str, u64)])], count: u32) {
    let ids = Ids(opened.reader.key());
    let head = state::encode(&Head {
        name: "Engineering",
        chunks: count,
        first: 1,
        ..Head::default()
    });
    let mut values = vec![(ids.head(GROUP), head)];
    for &(number, members) in chunks {
        let members = members.iter().map(|&(user, first)| Entry {
            user,
            role: Role::Member,
            since: 1_000,
            first,
        });
        let members: Vec<_> = members.collect();
        let value = match members.is_empty() {
            true => Vec::new(),
            false => state::encode(&Stored { members }),
        };
        values.push((ids.roster(GROUP, number), value));
    }
    let states: Vec<_> = values
        .iter()
        .map(|(key, value)| StateEntry { key: *key, value })
        .collect();
    append(opened, RecordKind::Group as u8, &states);
}

fn append(opened: &mut Opened, kind: u8, states: &[StateEntry<'_>]) {
    let draft = Draft {
        kind,
        timeline: GROUP,
        states,
        ..Draft::default()
    };
    opened.writer.append_next(&draft).unwrap();
}

fn commit(opened: &mut Opened) -> Arc<Batch> {
    opened.writer.commit().unwrap()
}

fn load(opened: &Opened) -> Rosters {
    let mut rosters = Rosters::new(Ids(opened.reader.key()));
    prepare(&mut rosters, opened);
    rosters
}

fn prepare(rosters: &mut Rosters, opened: &Opened) {
    assert!(rosters.prepare(&opened.reader, &[(GROUP, ACME)]).is_ok());
}

/// Checks that these users are the members who see a message.
fn check(rosters: &mut Rosters, opened: &Opened, seeing: u64, names: &[&str]) {
    let ids = Ids(opened.reader.key());
    let mut expected: Vec<_> = names.iter().map(|name| ids.user(ACME, name)).collect();
    expected.sort_by_key(|user| (Directory::place(*user), user.0));
    assert_eq!(*rosters.members(GROUP, seeing), *expected, "{names:?}");
}

#[test]
fn each_record_finds_the_members_of_its_moment() {
    let mut opened = open();
    set(&mut opened, &[(0, &[("bob", 1), ("cleo", 1)])], 1);
    commit(&mut opened);
    let mut rosters = load(&opened);
    check(&mut rosters, &opened, 0, &["bob", "cleo"]);
    append(&mut opened, RecordKind::Message as u8, &[]);
    set(&mut opened, &[(0, &[("cleo", 1)]), (1, &[("dan", 9)])], 2);
    append(&mut opened, RecordKind::Message as u8, &[]);
    set(&mut opened, &[(0, &[])], 2);
    let batch = commit(&mut opened);
    let moments: [&[&str]; 4] = [
        &["bob", "cleo"],
        &["cleo", "dan"],
        &["cleo", "dan"],
        &["dan"],
    ];
    for (record, members) in batch.records().zip(moments) {
        rosters.note(&opened.reader, &record).unwrap();
        check(&mut rosters, &opened, 0, members);
    }
    // Dan sees the messages from the ninth on.
    check(&mut rosters, &opened, 8, &[]);
    check(&mut rosters, &opened, 9, &["dan"]);
    // Who looks into the store finds the same.
    check(&mut load(&opened), &opened, 0, &["dan"]);
}

#[test]
fn members_of_many_chunks_are_found() {
    let mut opened = open();
    let names: Vec<_> = (0..3 * ROSTER_CHUNK)
        .map(|n| format!("member {n}"))
        .collect();
    let members: Vec<_> = names.iter().map(|name| (&**name, 1)).collect();
    let chunks: Vec<_> = (0..).zip(members.chunks(ROSTER_CHUNK)).collect();
    let mut rosters = load(&opened);
    check(&mut rosters, &opened, 0, &[]);
    // The values of so long a record have checksums of their own.
    set(&mut opened, &chunks, 3);
    let batch = commit(&mut opened);
    for record in batch.records() {
        rosters.note(&opened.reader, &record).unwrap();
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    check(&mut rosters, &opened, 0, &names);
    check(&mut load(&opened), &opened, 0, &names);
}

#[test]
fn what_an_earlier_version_kept_with_the_member_is_found() {
    let mut opened = open();
    let ids = Ids(opened.reader.key());
    set(&mut opened, &[(0, &[("bob", 0), ("cleo", 1)])], 1);
    let member = state::encode(&Member {
        first_seq: 5,
        ..Member::default()
    });
    let key = ids.member(GROUP, ids.user(ACME, "bob"));
    let states = [StateEntry {
        key,
        value: &member,
    }];
    append(&mut opened, RecordKind::Message as u8, &states);
    commit(&mut opened);
    let mut rosters = load(&opened);
    check(&mut rosters, &opened, 4, &["cleo"]);
    check(&mut rosters, &opened, 5, &["bob", "cleo"]);
}

#[test]
fn groups_that_were_not_used_lately_are_forgotten() {
    let mut opened = open();
    set(&mut opened, &[(0, &[("bob", 1), ("cleo", 1)])], 1);
    commit(&mut opened);
    let mut rosters = load(&opened);
    rosters.most = EMPTY + 2;
    rosters.trim();
    assert_eq!(rosters.groups.len(), 1);
    let others: Vec<_> = (0..5).map(|n| (TimelineId(n), ACME)).collect();
    assert!(rosters.prepare(&opened.reader, &others).is_ok());
    prepare(&mut rosters, &opened);
    rosters.most = 4 * EMPTY;
    rosters.trim();
    assert_eq!(rosters.groups.len(), 1, "those without members go too");
    rosters.most = 1;
    rosters.trim();
    assert_eq!(rosters.groups.len(), 0, "the last one alone is too large");
    assert!(rosters.members(GROUP, 0).is_empty());
    // A group that nobody needs is not followed.
    set(&mut opened, &[(0, &[("dan", 1)])], 1);
    let batch = commit(&mut opened);
    for record in batch.records() {
        rosters.note(&opened.reader, &record).unwrap();
    }
    prepare(&mut rosters, &opened);
    check(&mut rosters, &opened, 0, &["dan"]);
}

#[test]
fn a_value_of_another_form_is_not_taken_for_no_members() {
    let mut opened = open();
    let ids = Ids(opened.reader.key());
    set(&mut opened, &[(0, &[("bob", 1)])], 1);
    commit(&mut opened);
    let mut rosters = load(&opened);
    let states = [StateEntry {
        key: ids.roster(GROUP, 0),
        value: &[250, 1],
    }];
    append(&mut opened, RecordKind::Group as u8, &states);
    let batch = commit(&mut opened);
    let mut records = batch.records();
    assert!(
        rosters
            .note(&opened.reader, &records.next().unwrap())
            .is_err()
    );
    let mut fresh = Rosters::new(ids);
    let prepared = fresh.prepare(&opened.reader, &[(GROUP, ACME)]);
    assert!(matches!(prepared, Err(LoadError::Unknown)));
}
