use trunkline_proto::Encoding;

use super::super::LaneContent;
use super::*;

struct Scene {
    topics: Topics,
    lanes: Lanes,
}

fn scene(most: usize, history: usize, topic_bytes: usize, all_bytes: usize) -> Scene {
    let limits = HubLimits {
        topics: most,
        topic_history: history,
        topic_bytes,
        topics_bytes: all_bytes,
        ..HubLimits::of_tests()
    };
    Scene {
        topics: Topics::new(&limits),
        lanes: Lanes::of_nobody(3),
    }
}

const LARGE: usize = 1 << 20;

impl Scene {
    fn publish(&self, topic: TopicId, text: &str) -> Since {
        let text = serde_json::to_string(text).unwrap();
        let data = m::Json::parse(&text).unwrap();
        let new = NewPublication {
            topic: "live",
            from: "alice",
            data: &data,
        };
        let frames = PushFrames::publication(new);
        let published = self.topics.publish(topic, frames, &self.lanes, None);
        published.unwrap().pos
    }

    /// The numbers that a subscriber has missed.
    fn missed(&self, topic: TopicId, since: Since) -> Option<Vec<u64>> {
        let begun = self.topics.subscribe(topic, 0, Some(since), true).unwrap();
        let seqs = |missed: Vec<Arc<Publication>>| missed.iter().map(|p| p.pos.seq).collect();
        begun.missed.map(seqs)
    }

    fn bytes(&self) -> usize {
        self.topics.bytes.load(Ordering::Relaxed)
    }

    fn count(&self) -> usize {
        let stripes = self.topics.stripes.iter();
        let found = stripes.map(|stripe| stripe.lock().topics.len()).sum();
        assert_eq!(self.topics.count.load(Ordering::Relaxed), found);
        let idle = |stripe: &CachePadded<Mutex<Stripe>>| {
            let stripe = stripe.lock();
            let idle = stripe.topics.iter().filter(|(_, topic)| topic.shards == 0);
            let mut listed: Vec<_> = idle.map(|(id, topic)| (topic.used, *id)).collect();
            listed.sort_unstable();
            assert!(listed.iter().copied().eq(stripe.idle.clone()));
            listed.len()
        };
        let idle: usize = self.topics.stripes.iter().map(idle).sum();
        assert_eq!(self.topics.idle.load(Ordering::Relaxed), idle);
        found
    }
}

const TOPIC: TopicId = TimelineId(7);

#[test]
fn positions_are_read_back() {
    let pos = Since {
        epoch: u64::MAX,
        seq: 0x2a,
    };
    assert_eq!(pos.text().len(), POS);
    assert_eq!(Since::parse(&pos.text()), Some(pos));
    let long = pos.text() + "0";
    for bad in ["", "-", "1-2", "p", &long, &long[..POS - 1]] {
        assert_eq!(Since::parse(bad), None, "{bad}");
    }
    let signed = pos.text().replacen('f', "+", 1);
    assert_eq!(Since::parse(&signed), None);
}

#[test]
fn each_shard_gets_what_it_asked_for_in_order() {
    let scene = scene(10, 0, LARGE, LARGE);
    for shard in [0, 2] {
        scene.topics.subscribe(TOPIC, shard, None, true).unwrap();
    }
    let pos: Vec<_> = ["a", "b"].map(|text| scene.publish(TOPIC, text)).into();
    scene.topics.unsubscribe(TOPIC, 0, true);
    scene.publish(TOPIC, "c");
    for (shard, expected) in [(0, vec![1, 2]), (1, vec![]), (2, vec![1, 2, 3])] {
        let mut taken = LaneContent::default();
        scene.lanes.take(shard, &mut taken);
        let seqs = taken.events.iter().map(|event| match event {
            EphemeralEvent::Publication(publication) => publication.pos.seq,
            EphemeralEvent::ToUsers { .. } => panic!("nobody typed"),
        });
        assert_eq!(seqs.collect::<Vec<_>>(), expected, "shard {shard}");
    }
    assert_eq!((pos[0].seq, pos[1].seq), (1, 2));
}

#[test]
fn the_position_stands_in_both_frames() {
    let scene = scene(10, 10, LARGE, LARGE);
    // Data that looks like what is filled in.
    let data = std::str::from_utf8(BLANK).unwrap();
    let first = scene.publish(TOPIC, data);
    let begun = scene
        .topics
        .subscribe(TOPIC, 0, Some(Since { seq: 0, ..first }), true);
    let missed = begun.unwrap().missed.unwrap();
    for encoding in [Encoding::Json, Encoding::Proto] {
        let mut event = None;
        let message = missed[0].frames.message(encoding);
        let read = encoding.decode_server(message, |message| {
            let m::ServerMessage::Push(push) = message else {
                panic!("{message:?}");
            };
            event = Some(push.event);
        });
        assert!(read.is_ok());
        let expected = m::Publication {
            topic: "live".into(),
            data: m::Json::parse(&format!("\"{data}\"")).unwrap().into_owned(),
            from: "alice".into(),
            pos: first.text().into(),
        };
        assert_eq!(event, Some(Event::Publication(expected)));
    }
}

#[test]
fn what_was_missed_is_told_if_all_of_it_is_known() {
    let scene = scene(10, 3, LARGE, LARGE);
    let first = scene.publish(TOPIC, "1");
    let at = |seq| Since { seq, ..first };
    for text in ["2", "3", "4", "5"] {
        scene.publish(TOPIC, text);
    }
    assert_eq!(scene.missed(TOPIC, at(5)), Some(vec![]));
    assert_eq!(scene.missed(TOPIC, at(2)), Some(vec![3, 4, 5]));
    assert_eq!(scene.missed(TOPIC, at(1)), None);
    // From the future, or of another life.
    assert_eq!(scene.missed(TOPIC, at(6)), None);
    let other = Since {
        epoch: first.epoch + 1,
        seq: 4,
    };
    assert_eq!(scene.missed(TOPIC, other), None);
}

#[test]
fn a_topic_that_was_forgotten_begins_anew() {
    let scene = scene(10, 0, LARGE, LARGE);
    scene.topics.subscribe(TOPIC, 0, None, true).unwrap();
    let first = scene.publish(TOPIC, "1");
    assert_eq!(scene.topics.pos(TOPIC), Some(first));
    scene.topics.unsubscribe(TOPIC, 0, true);
    assert_eq!((scene.topics.pos(TOPIC), scene.count()), (None, 0));
    let second = scene.publish(TOPIC, "1");
    assert_ne!(first.epoch, second.epoch);
    // Nobody listens and nothing is kept: nothing is left of it.
    assert_eq!(scene.count(), 0);
}

#[test]
fn a_publication_says_how_many_get_it() {
    let scene = scene(10, 5, LARGE, LARGE);
    let published = || {
        let data = m::Json::parse("7").unwrap();
        let new = NewPublication {
            topic: "live",
            from: "alice",
            data: &data,
        };
        let frames = PushFrames::publication(new);
        let published = scene
            .topics
            .publish(TOPIC, frames, &scene.lanes, None)
            .unwrap();
        assert!(published.bytes > 2 * POS);
        published.subscribers
    };
    assert_eq!(published(), 0);
    for (shard, new) in [(0, true), (0, true), (0, false), (2, true)] {
        scene.topics.subscribe(TOPIC, shard, None, new).unwrap();
    }
    assert_eq!(published(), 3);
    scene.topics.unsubscribe(TOPIC, 0, false);
    scene.topics.unsubscribe(TOPIC, 2, true);
    assert_eq!(published(), 1);
}

#[test]
fn a_topic_without_publications_leaves_nothing_and_its_position_stays_good() {
    let scene = scene(10, 5, LARGE, LARGE);
    let pos = scene.topics.subscribe(TOPIC, 0, None, true).unwrap().pos;
    scene.topics.unsubscribe(TOPIC, 0, true);
    assert_eq!(scene.count(), 0);
    assert_eq!(scene.missed(TimelineId(8), pos), None, "of another topic");
    scene.topics.unsubscribe(TimelineId(8), 0, true);
    // Nothing was published meanwhile, so nothing was missed.
    assert_eq!(scene.missed(TOPIC, pos), Some(vec![]));
    scene.publish(TOPIC, "1");
    assert_eq!(scene.missed(TOPIC, pos), Some(vec![1]));
    // Its publication is forgotten now: an equal topic of later is not the same.
    scene.topics.unsubscribe(TOPIC, 0, true);
    let crowd = 1..=10;
    for other in crowd.clone() {
        scene
            .topics
            .subscribe(TimelineId(100 + other), 0, None, true)
            .unwrap();
    }
    assert_eq!(scene.topics.pos(TOPIC), None);
    for other in crowd {
        scene.topics.unsubscribe(TimelineId(100 + other), 0, true);
    }
    assert_eq!(scene.missed(TOPIC, pos), None);
}

#[test]
fn topics_are_bounded_and_idle_ones_give_way() {
    // All in one part.
    let id = |n: u128| TimelineId(n);
    let scene = scene(3, 5, LARGE, LARGE);
    scene.topics.subscribe(id(1), 0, None, true).unwrap();
    scene.publish(id(2), "older");
    scene.publish(id(3), "newer");
    scene.topics.subscribe(id(4), 0, None, true).unwrap();
    assert!(scene.topics.pos(id(2)).is_none() && scene.topics.pos(id(3)).is_some());
    scene.topics.subscribe(id(5), 0, None, true).unwrap();
    assert_eq!((scene.count(), scene.bytes()), (3, 0));
    assert!(scene.topics.subscribe(id(6), 0, None, true).is_err());
    scene.topics.unsubscribe(id(1), 0, true);
    scene.topics.unsubscribe(id(1), 0, true);
    assert!(scene.topics.subscribe(id(6), 0, None, true).is_ok());
    assert_eq!(scene.count(), 3);
    // One of another part gives way too.
    scene.publish(id(4), "kept");
    scene.topics.unsubscribe(id(4), 0, true);
    assert_eq!(scene.count(), 3);
    assert!(scene.topics.subscribe(id(7 << 64), 0, None, true).is_ok());
    assert_eq!((scene.count(), scene.topics.pos(id(4))), (3, None));
    assert!(scene.topics.subscribe(id(8 << 64), 0, None, true).is_err());
}

#[test]
fn what_is_kept_is_bounded_by_bytes() {
    let size = {
        let scene = scene(10, 10, LARGE, LARGE);
        scene.publish(TOPIC, "0");
        scene.bytes()
    };
    // Two per topic, three in all.
    let scene = scene(10, 10, 2 * size, 3 * size);
    let mut last = scene.publish(TOPIC, "0");
    for text in ["1", "2", "3"] {
        last = scene.publish(TOPIC, text);
    }
    let at = |last: Since, back: u64| Since {
        seq: last.seq - back,
        ..last
    };
    assert_eq!(scene.missed(TOPIC, at(last, 2)), Some(vec![3, 4]));
    assert_eq!(scene.missed(TOPIC, at(last, 3)), None);
    let other = TimelineId(9);
    scene.publish(other, "0");
    let last = scene.publish(other, "1");
    assert_eq!(scene.missed(other, at(last, 1)), Some(vec![2]));
    assert_eq!(scene.missed(other, at(last, 2)), None);
    assert_eq!(scene.bytes(), 3 * size);
    // What is too large is not kept, nor what came before it.
    let last = scene.publish(other, &"x".repeat(2 * size));
    assert_eq!(scene.missed(other, at(last, 1)), None);
    assert_eq!(scene.missed(other, last), Some(vec![]));
    assert_eq!(scene.bytes(), 2 * size);
}

/// Returns the publications of a topic that another node numbers.
fn of_node(epoch: u64, seqs: std::ops::RangeInclusive<u64>) -> Vec<Arc<Publication>> {
    let data = m::Json::parse("1").unwrap();
    let frames = || {
        PushFrames::publication(NewPublication {
            topic: "live",
            from: "alice",
            data: &data,
        })
    };
    seqs.map(|seq| {
        let pos = Since { epoch, seq };
        Arc::new(Publication::of_node(TOPIC, pos, Arc::new(frames())))
    })
    .collect()
}

const OTHER: NodeNumber = NodeNumber(3);

#[test]
fn a_copy_has_the_publications_of_its_node_in_order() {
    let scene = scene(10, 10, LARGE, LARGE);
    scene.topics.subscribe(TOPIC, 0, None, true).unwrap();
    for publication in of_node(7, 1..=3) {
        assert!(scene.topics.copy(OTHER, &publication, &scene.lanes));
        // What comes twice changes nothing.
        assert!(scene.topics.copy(OTHER, &publication, &scene.lanes));
    }
    let mut taken = LaneContent::default();
    scene.lanes.take(0, &mut taken);
    assert_eq!(taken.events.len(), 3);
    let since = |epoch, seq| Since { epoch, seq };
    assert_eq!(scene.missed(TOPIC, since(7, 1)), Some(vec![2, 3]));
    // One is missing: what is kept begins anew.
    let later = &of_node(7, 5..=5)[0];
    scene.topics.copy(OTHER, later, &scene.lanes);
    assert_eq!(scene.missed(TOPIC, since(7, 3)), None);
    assert_eq!(scene.missed(TOPIC, since(7, 4)), Some(vec![5]));
    assert_eq!(scene.topics.pos(TOPIC), Some(since(7, 5)));
}

#[test]
fn the_next_node_to_number_a_topic_begins_a_new_epoch() {
    let scene = scene(10, 10, LARGE, LARGE);
    scene.publish(TOPIC, "own");
    let own = scene.publish(TOPIC, "own");
    for publication in of_node(7, 1..=2) {
        scene.topics.copy(OTHER, &publication, &scene.lanes);
    }
    assert_eq!(scene.missed(TOPIC, own), None);
    let next = scene.publish(TOPIC, "own again");
    assert_eq!(next.seq, 1);
    assert!(next.epoch != own.epoch && next.epoch != 7);
    assert_eq!(scene.missed(TOPIC, Since { epoch: 7, seq: 2 }), None);
    assert_eq!(scene.publish(TOPIC, "and on").epoch, next.epoch);
}

#[test]
fn a_topic_is_known_with_its_state_until_it_is_doubted() {
    let scene = scene(10, 10, LARGE, LARGE);
    assert!(!scene.topics.is_known(TOPIC));
    let state = TopicState {
        pos: Since { epoch: 7, seq: 5 },
        kept: of_node(7, 4..=5),
    };
    assert!(scene.topics.install(OTHER, TOPIC, &state, &scene.lanes));
    assert!(scene.topics.is_known(TOPIC));
    assert_eq!(
        scene.missed(TOPIC, Since { epoch: 7, seq: 3 }),
        Some(vec![4, 5])
    );
    // An earlier state takes nothing back.
    let earlier = TopicState {
        pos: Since { epoch: 7, seq: 4 },
        kept: of_node(7, 4..=4),
    };
    assert!(scene.topics.install(OTHER, TOPIC, &earlier, &scene.lanes));
    assert_eq!(scene.topics.pos(TOPIC), Some(state.pos));
    scene.topics.doubt(NodeNumber(4), &scene.lanes);
    assert!(scene.topics.is_known(TOPIC), "of another node");
    scene.topics.doubt(OTHER, &scene.lanes);
    assert!(!scene.topics.is_known(TOPIC));
    let mut taken = LaneContent::default();
    scene.lanes.take(0, &mut taken);
    assert!(taken.lost.contains_key(&TOPIC));
    // What this node numbers itself is not a copy.
    let own = scene.topics.state(TOPIC).unwrap();
    assert!(own.kept.is_empty() && own.pos.epoch != 7);
}
