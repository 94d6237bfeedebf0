//! Three servers, of which one is killed at a time.

use std::collections::BTreeMap;

use trunkline_cluster::nats::Outcome;
use trunkline_tests::nats::Servers;

use super::Node;

/// Brings records into the log as a leader does: it knows nothing but what the tail has.
struct Leader {
    node: Node,
    /// The records that the servers acknowledged.
    stored: BTreeMap<u64, Vec<u8>>,
    number: u64,
}

impl Leader {
    /// Publishes a new record after the last one of the tail.
    fn go_on(&mut self) {
        self.node.take(usize::MAX);
        self.number += 1;
        let record = format!("attempt {}", self.number).into_bytes();
        let last = self.node.records.last_key_value().map_or(0, |it| *it.0);
        match self.node.publish(last, record.clone()) {
            Outcome::Stored { sequence } => {
                assert_eq!(sequence, last + 1);
                self.stored.insert(sequence, record);
                self.node.has(sequence);
            }
            Outcome::WrongLast { last: Some(last) } if last > 0 => self.node.has(last),
            _ => {}
        }
    }

    fn go_on_for(&mut self, stored: usize) {
        let enough = self.stored.len() + stored;
        let began = std::time::Instant::now();
        while self.stored.len() < enough {
            assert!(began.elapsed() < trunkline_tests::wait::LIMIT);
            self.go_on();
        }
    }
}

#[test]
fn no_acknowledged_record_is_lost_when_the_leader_of_the_stream_is_killed() {
    let Some(mut servers) = Servers::start(3) else {
        return;
    };
    let node = Node::start(&servers, "a");
    let created = node.create(3).created;
    let mut leader = Leader {
        node,
        stored: BTreeMap::new(),
        number: 0,
    };
    let mut follower = Node::start(&servers, "b");
    for node in [&mut leader.node, &mut follower] {
        node.ends.tail.follow(1, Some(created.clone()));
    }
    leader.go_on_for(50);
    for _ in 0..2 {
        let info = leader.node.until("a leader of the stream", |it| {
            let info = it.ends.streams.open().ok()?;
            let is_whole = info.followers.iter().all(|it| it.is_current);
            (is_whole && info.leader.is_some()).then_some(info)
        });
        let victim = servers.index(&info.leader.expect("a leader"));
        // In the middle of a record on its way.
        let last = *leader.node.records.last_key_value().expect("records").0;
        leader.number += 1;
        let record = format!("attempt {}", leader.number).into_bytes();
        let publisher = &mut leader.node.ends.publisher;
        let number = publisher.publish(last, record.clone().into());
        servers.kill(victim);
        let outcome = leader.node.outcome(number.expect("it is taken"));
        if let Outcome::Stored { sequence } = outcome {
            leader.stored.insert(sequence, record);
        }
        leader.go_on_for(50);
        servers.restart(victim);
    }
    let end = *leader.stored.last_key_value().expect("records").0;
    follower.has(end);
    leader.node.has(end);
    let mut fresh = Node::start(&servers, "c");
    fresh.ends.tail.follow(1, Some(created));
    fresh.has(end);
    for node in [&leader.node, &follower, &fresh] {
        for (sequence, record) in &leader.stored {
            assert_eq!(&node.records[sequence], record, "{sequence}");
        }
        let (mine, all) = (&node.records, &fresh.records);
        assert!(mine.range(..=end).eq(all.range(..=end)));
        assert_eq!(mine.keys().next(), Some(&1));
    }
}
