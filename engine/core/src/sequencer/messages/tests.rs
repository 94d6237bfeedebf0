//! Tests of sends, recalls and reactions.

use super::super::batch::Moment;
use super::super::fixture::{AB, ENG, Fixture, NOW, RULES};
use super::*;
use crate::exchange::{Action, Change};
use crate::state;

fn recall(fixture: &mut Fixture, user: &str, seq: u64) -> Result<Outcome, Stop> {
    let body = Body {
        seq,
        ..Body::default()
    };
    let request = fixture.request(user, AB, Action::Recall { seq }, body);
    let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
    let recalled = fixture.messages.recall(batch, recent, request.asked(), seq);
    recalled.map(|decision| decision.outcome)
}

fn react(fixture: &mut Fixture, reaction: &str, remove: bool) -> Result<bool, Refused> {
    react_in(fixture, AB, reaction, remove)
}

fn react_in(
    fixture: &mut Fixture,
    conversation: &str,
    reaction: &str,
    remove: bool,
) -> Result<bool, Refused> {
    let body = Body {
        seq: 1,
        reaction: Some(reaction),
        ..Body::default()
    };
    let action = Action::React { seq: 1, remove };
    let request = fixture.request("bob", conversation, action, body);
    let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
    let change = ReactionChange { seq: 1, remove };
    let reacted = fixture
        .messages
        .react(batch, recent, request.asked(), change);
    reacted.map(|decision| decision.outcome.position().is_some())
}

#[test]
fn a_send_gets_the_next_sequence_and_enters_both_inboxes_once() {
    let mut fixture = Fixture::new();
    for seq in 1..=3 {
        let before = fixture.batch.last_position();
        let sent = fixture.send("alice", AB).unwrap();
        let position = sent.outcome.position().unwrap();
        assert!(position > before);
        assert_eq!(fixture.batch.record(position).unwrap().seq, seq);
    }
    for name in ["alice", "bob"] {
        let key = fixture.ids().inbox(fixture.user(name));
        let value = fixture.batch.value(key).unwrap().unwrap();
        let inbox: state::Inbox<'_> = state::decode(&value).unwrap();
        assert_eq!(inbox.places.len(), 1, "{name}");
    }
    assert_eq!(fixture.metrics.messages.get(), 3);
}

#[test]
fn who_sees_a_message_is_looked_up_only_for_what_happens_and_is_paid_for() {
    let mut fixture = Fixture::new();
    fixture.create_group(&["alice", "bob"]);
    fixture.send("alice", ENG).unwrap();
    let carol = fixture.change_group("alice", Change::Add, &["carol"]);
    carol.unwrap();
    fixture.commit();
    fixture.recent.forget_all();
    let id = fixture.ids().group("", "eng");
    let is_listed = |fixture: &mut Fixture| {
        let group = fixture.recent.group(&fixture.batch, "", id).unwrap();
        group.is_listed()
    };
    // It is in memory from here on.
    assert!(!is_listed(&mut fixture));
    fixture.batch.take_work();
    assert_eq!(react_in(&mut fixture, ENG, "like", true), Ok(false));
    let body = Body {
        seq: 1,
        ..Body::default()
    };
    let request = fixture.request("bob", ENG, Action::Recall { seq: 1 }, body);
    let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
    let recalled = fixture.messages.recall(batch, recent, request.asked(), 1);
    assert_eq!(recalled.err(), Some(NOT_THE_SENDER.into()));
    assert!(!is_listed(&mut fixture), "nothing happened");
    assert_eq!(fixture.batch.take_work().names, 0);
    assert_eq!(react_in(&mut fixture, ENG, "like", false), Ok(true));
    assert!(is_listed(&mut fixture));
    assert_eq!(
        fixture.batch.take_work().names,
        3,
        "each member is paid for"
    );
}

#[test]
fn a_send_that_ends_a_stretch_asks_for_a_commit_if_memory_has_not_counted() {
    let mut fixture = Fixture::new();
    for _ in 1..state::STRETCH {
        fixture.send("alice", AB).unwrap();
    }
    fixture.commit();
    fixture.recent.forget_all();
    // A record of another conversation is enough: the store may not show all records.
    fixture.send("carol", "u:carol:dave").unwrap();
    assert_eq!(fixture.send("bob", AB).err(), Some(Stop::CommitFirst));
    fixture.commit();
    fixture.send("bob", AB).unwrap();
    let id = fixture.ids().direct("", "alice", "bob");
    let level = state::Level::Short;
    let key = level.key(&fixture.ids(), id, level.stretch(state::STRETCH));
    let tally: state::Tally = fixture.batch.decoded(key).unwrap().unwrap();
    assert_eq!(tally.of_others(fixture.user("bob")), state::STRETCH - 1);
    assert_eq!(tally.of_others(fixture.user("alice")), 1);
}

#[test]
fn recalls_share_a_batch_and_wait_only_for_their_own_message() {
    let mut fixture = Fixture::new();
    for _ in 0..3 {
        fixture.send("alice", AB).unwrap();
    }
    fixture.commit();
    fixture.send("alice", AB).unwrap();
    let is_done = |recalled: Outcome| recalled.position().is_some();
    for seq in [1, 2] {
        assert!(is_done(recall(&mut fixture, "alice", seq).unwrap()));
        let again = recall(&mut fixture, "alice", seq).unwrap();
        assert!(matches!(again, Outcome::Done(Done::Recall, None)));
        let of_other = recall(&mut fixture, "bob", seq).err();
        assert_eq!(of_other, Some(Stop::Refused(NOT_THE_SENDER)));
    }
    let of_batch = recall(&mut fixture, "alice", 4).err();
    assert_eq!(of_batch, Some(Stop::CommitFirst));
    fixture.commit();
    assert!(is_done(recall(&mut fixture, "alice", 4).unwrap()));
    let unknown = recall(&mut fixture, "alice", 5).err();
    assert_eq!(unknown, Some(Stop::Refused(NO_MESSAGE)));
    fixture.commit();
    let mut page = Page::default();
    let id = fixture.ids().direct("", "alice", "bob");
    for (seq, is_recalled) in [(1, true), (2, true), (3, false), (4, true)] {
        fixture.batch.read_message(id, seq, &mut page).unwrap();
        let record = page.records().next().unwrap();
        let body = Body::read(record.body).unwrap();
        assert_eq!(body.recalled, is_recalled, "{seq}");
    }
}

#[test]
fn the_sender_recalls_a_message_in_time_and_once() {
    let mut fixture = Fixture::new();
    fixture.send("alice", AB).unwrap();
    fixture.commit();
    let refused = recall(&mut fixture, "bob", 1).err();
    assert_eq!(refused, Some(Stop::Refused(NOT_THE_SENDER)));
    let window = RULES.recall_window.as_millis() as u64;
    for (passed, is_late) in [(window + 1, true), (window, false)] {
        fixture.batch.set_moment(Moment {
            wire: NOW + passed,
            steady: NOW + passed,
            passed,
        });
        let recalled = recall(&mut fixture, "alice", 1);
        assert_eq!(recalled.is_err(), is_late, "{recalled:?}");
    }
    assert_eq!(react(&mut fixture, "like", false), Err(RECALLED));
    fixture.commit();
    assert_eq!(react(&mut fixture, "like", false), Err(RECALLED));
    let again = recall(&mut fixture, "alice", 1).unwrap();
    assert!(matches!(again, Outcome::Done(Done::Recall, None)));
}

#[test]
fn reactions_and_deletions_change_something_once() {
    let mut fixture = Fixture::new();
    fixture.send("alice", AB).unwrap();
    for (reaction, remove, changes) in [
        ("like", true, false),
        ("like", false, true),
        ("like", false, false),
        ("like", true, true),
    ] {
        assert_eq!(react(&mut fixture, reaction, remove), Ok(changes));
    }
    let key = fixture.ids().direct("", "alice", "bob");
    let key = fixture.ids().reactions(key, 1);
    assert_eq!(fixture.batch.value(key), Ok(None), "no empty value is left");
    for changes in [true, false] {
        let action = Action::Delete { seq: 1 };
        let request = fixture.request("bob", AB, action, Body::default());
        let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
        let deleted = fixture.messages.delete(batch, recent, request.asked(), 1);
        let position = deleted.unwrap().outcome.position();
        assert_eq!(position.is_some(), changes);
    }
}
