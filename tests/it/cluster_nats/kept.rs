//! What a cluster keeps beside its log.

use std::time::Duration;

use trunkline_cluster::nats::{Fact, StreamError};
use trunkline_tests::nats::Servers;
use trunkline_tests::wait::until;

use super::Node;

fn pairs(facts: &[Fact]) -> Vec<(&str, &[u8])> {
    facts
        .iter()
        .map(|fact| (&*fact.key, &*fact.bytes))
        .collect()
}

#[test]
fn facts_are_kept_by_key_and_read_in_order() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let [node, other] = ["a", "b"].map(|name| Node::start(&servers, name));
    let kept = &node.ends.kept;
    let absent = StreamError::Absent("TRUNKLINE-KEPT_c".into());
    assert_eq!(
        kept.put("revoked.x.a", "1".into(), None),
        Err(absent.clone())
    );
    assert_eq!(kept.read("revoked", 1), Err(absent));
    kept.create(1).expect("a stream");
    other.ends.kept.create(1).expect("it is the same one");
    assert_eq!(kept.read("revoked", 1), Ok(Vec::new()));

    let put = |key: &str, value: &str| {
        let stored = kept.put(key, value.to_owned().into(), None);
        stored.expect("it is stored");
    };
    for (key, value) in [("x.a", "1"), ("y.a", "2"), ("x.a", "3"), ("x.b", "4")] {
        put(&format!("revoked.{key}"), value);
    }
    put("other.z", "5");
    let facts = other.ends.kept.read("revoked", 1).expect("facts");
    let wanted: [(&str, &[u8]); 3] = [
        ("revoked.y.a", b"2"),
        ("revoked.x.a", b"3"),
        ("revoked.x.b", b"4"),
    ];
    assert_eq!(pairs(&facts), wanted);
    let next = facts.last().expect("the last one").sequence + 1;
    assert_eq!(kept.read("revoked", next), Ok(Vec::new()));
    put("revoked.y.a", "6");
    let facts = kept.read("revoked", next).expect("facts");
    assert_eq!(pairs(&facts), [("revoked.y.a", &b"6"[..])]);
}

#[test]
fn many_facts_are_read_in_pieces_and_short_lived_ones_are_forgotten() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let node = Node::start(&servers, "a");
    let kept = &node.ends.kept;
    kept.create(1).expect("a stream");
    let count = 1_100;
    for number in 0..count {
        let key = format!("many.{number}");
        kept.put(&key, number.to_string().into(), None)
            .expect("it is stored");
    }
    let (mut all, mut next) = (Vec::new(), 1);
    loop {
        let facts = kept.read("many", next).expect("facts");
        let Some(last) = facts.last() else {
            break;
        };
        next = last.sequence + 1;
        all.extend(facts);
    }
    let numbers: Vec<_> = all.iter().map(|fact| fact.bytes.to_vec()).collect();
    let wanted: Vec<_> = (0..count).map(|it| it.to_string().into_bytes()).collect();
    assert!(numbers == wanted, "{} facts", numbers.len());

    let second = Some(Duration::from_secs(1));
    kept.put("short.x", "1".into(), second)
        .expect("it is stored");
    kept.put("short.y", "2".into(), None).expect("it is stored");
    until("the end of a fact", || {
        let facts = kept.read("short", 1).expect("facts");
        (pairs(&facts) == [("short.y", &b"2"[..])]).then_some(())
    });
}
