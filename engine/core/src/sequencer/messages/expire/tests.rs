//! Tests of messages that expire.

use trunkline_storage::backend::Backend;
use trunkline_storage::backend::sim::Operation;

use super::*;
use crate::event::Extras;
use crate::exchange::Action;
use crate::sequencer::batch::Moment;
use crate::sequencer::fixture::{AB, Fixture, NOW};
use crate::sequencer::messages::SendTerms;
use crate::state;

const TTL: u64 = 5_000;

fn send(fixture: &mut Fixture) {
    say(fixture, "soon gone");
}

fn say(fixture: &mut Fixture, text: &str) {
    let extras = Extras {
        ttl: TTL,
        ..Extras::default()
    };
    let extras = extras.stored();
    let body = Body {
        text: Some(text),
        extras: extras.as_deref(),
        ..Body::default()
    };
    let action = Action::Send {
        key: None,
        names_media: false,
        has_extras: true,
    };
    let request = fixture.request("alice", AB, action, body);
    let terms = SendTerms {
        has_extras: true,
        ..SendTerms::default()
    };
    let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
    let sent = fixture.messages.send(batch, recent, request.asked(), terms);
    sent.unwrap();
}

fn pass(fixture: &mut Fixture, passed: u64) {
    fixture.batch.set_moment(Moment {
        wire: NOW + passed,
        steady: NOW + passed,
        passed,
    });
}

fn clear(fixture: &mut Fixture) -> bool {
    let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
    let is_due = fixture.messages.is_clearing_due(batch);
    let more = is_due && fixture.messages.clear_expired(batch, recent);
    fixture.commit();
    more
}

fn texts(fixture: &Fixture) -> Vec<bool> {
    let id = fixture.ids().direct("", "alice", "bob");
    let mut page = Page::default();
    let last = fixture.batch.store().try_last_seq(id).unwrap();
    let mut has_text = |seq| {
        fixture.batch.read_message(id, seq, &mut page).unwrap();
        let record = page.records().next().unwrap();
        Body::read(record.body).unwrap().text.is_some()
    };
    (1..=last).map(&mut has_text).collect()
}

#[test]
fn what_is_due_is_cleared_once_and_the_rest_stays() {
    let mut fixture = Fixture::new();
    assert!(!clear(&mut fixture), "there is none");
    let count = 2 * AT_ONCE + 1;
    for _ in 0..count {
        send(&mut fixture);
    }
    fixture.send("alice", AB).unwrap();
    fixture.commit();
    pass(&mut fixture, TTL - 1);
    assert!(!clear(&mut fixture));
    assert!(texts(&fixture).iter().all(|has| *has));
    pass(&mut fixture, TTL + SPAN);
    let before = fixture.batch.last_position();
    let mut rounds = 0;
    while clear(&mut fixture) {
        rounds += 1;
    }
    assert!(rounds >= 3, "{rounds}");
    let expected: Vec<_> = (0..=count).map(|n| n == count).collect();
    assert_eq!(texts(&fixture), expected);
    let cleared = fixture.batch.last_position();
    assert!(cleared > before);
    // After a restart nothing is cleared again.
    fixture.messages.given_up();
    while clear(&mut fixture) {}
    assert_eq!(texts(&fixture), expected);
    assert!(!fixture.messages.is_clearing_due(&fixture.batch));
}

#[test]
fn a_life_of_timelines_that_is_too_short_is_known_until_messages_are_cleared() {
    use std::time::Duration;
    let mut fixture = Fixture::new();
    let lost = |fixture: &Fixture, millis: u64| {
        let lost = crate::ephemeral::lost(fixture.batch.store(), Duration::from_millis(millis));
        lost.unwrap().map(|lost| lost.least.as_millis() as u64)
    };
    assert_eq!(lost(&fixture, 1), None, "there is none");
    // The second one has the same place, and none of what a failed commit noted.
    for _ in 0..2 {
        send(&mut fixture);
        fixture.commit();
        fixture.messages.given_up();
    }
    assert_eq!(lost(&fixture, 2 * TTL), None);
    assert_eq!(lost(&fixture, 2 * TTL - 1), Some(2 * TTL));
    // Time goes by, and what is due is cleared.
    for passed in (0..20 * 60_000).step_by(60_000) {
        pass(&mut fixture, passed);
        while clear(&mut fixture) {}
    }
    assert!(!has(&fixture, 0));
    pass(&mut fixture, 2 * NOTED * SPAN);
    while clear(&mut fixture) {}
    assert_eq!(lost(&fixture, 1), None);
}

/// Returns a store with messages that are due, whose texts are their numbers from 0 on.
fn due(count: usize) -> Fixture {
    let mut fixture = Fixture::new();
    for number in 0..count {
        say(&mut fixture, &text(number));
    }
    fixture.commit();
    pass(&mut fixture, TTL + SPAN);
    fixture
}

fn text(number: usize) -> String {
    format!("text {number:03}")
}

/// Damages the record with a text on the disk.
fn damage(fixture: &Fixture, text: &str) {
    let names = fixture.disk.list().unwrap();
    let name = names.iter().find(|name| name.ends_with(".seg")).unwrap();
    let bytes = fixture.disk.contents(name).unwrap();
    let mut windows = bytes.windows(text.len());
    let at = windows.position(|part| part == text.as_bytes()).unwrap();
    fixture.disk.flip(name, at * 8);
}

/// Returns whether the file of the log has a text.
fn has(fixture: &Fixture, number: usize) -> bool {
    let id = fixture.ids().direct("", "alice", "bob");
    let mut page = Page::default();
    let read = fixture.batch.store().get(id, number as u64 + 1, &mut page);
    read.is_err()
        || page
            .records()
            .any(|record| Body::read(record.body).unwrap().text.is_some())
}

#[test]
fn a_message_that_cannot_be_read_keeps_no_other_one() {
    let mut fixture = due(2 * AT_ONCE);
    let damaged = [0, 3, 4, AT_ONCE, 2 * AT_ONCE - 1];
    for number in damaged {
        damage(&fixture, &text(number));
    }
    let mut rounds = 0;
    while clear(&mut fixture) {
        rounds += 1;
    }
    assert!((2..10).contains(&rounds), "{rounds}");
    let left: Vec<usize> = (0..2 * AT_ONCE)
        .filter(|number| has(&fixture, *number))
        .collect();
    assert_eq!(left, damaged, "what cannot be read, and nothing else");
    assert_eq!(
        fixture.metrics.expired_unreadable.get(),
        damaged.len() as u64
    );
    assert!(!fixture.messages.is_clearing_due(&fixture.batch));
    // Later messages of other spans are cleared as ever.
    send(&mut fixture);
    fixture.commit();
    pass(&mut fixture, 2 * (TTL + SPAN));
    while clear(&mut fixture) {}
    assert!(!has(&fixture, 2 * AT_ONCE));
    assert_eq!(
        fixture.metrics.expired_unreadable.get(),
        damaged.len() as u64
    );
}

#[test]
fn after_a_failure_that_may_pass_the_next_try_waits() {
    let mut fixture = due(2);
    fixture.disk.fail_times(Operation::Read, 0, 1_000_000);
    assert!(!clear(&mut fixture));
    fixture.disk.fail_times(Operation::Read, 0, 0);
    assert!(
        !fixture.messages.is_clearing_due(&fixture.batch),
        "it rests"
    );
    assert!(has(&fixture, 0) && has(&fixture, 1));
    pass(&mut fixture, TTL + SPAN + REST);
    while clear(&mut fixture) {}
    assert!(!has(&fixture, 0) && !has(&fixture, 1));
    assert_eq!(fixture.metrics.expired_unreadable.get(), 0);
}

#[test]
fn a_value_that_cannot_be_read_keeps_no_content() {
    let mut fixture = due(2);
    let id = fixture.ids().direct("", "alice", "bob");
    let tally = state::Level::Short.key(&fixture.ids(), id, 0);
    fixture.batch.set(tally, b"?").unwrap();
    fixture.commit();
    let mut passed = TTL + SPAN;
    for _ in 0..TRIES {
        assert!(!clear(&mut fixture));
        assert!(has(&fixture, 0));
        passed += REST;
        pass(&mut fixture, passed);
    }
    // Each message has its tries.
    while has(&fixture, 1) {
        clear(&mut fixture);
        passed += REST;
        pass(&mut fixture, passed);
        assert!(passed < TTL + SPAN + 3 * u64::from(TRIES) * REST);
    }
    assert!(!has(&fixture, 0));
}
