//! Topics of which one node numbers the publications and all nodes have copies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use trunkline_core::exchange::{
    AskNodes, Call, CallAnswer, Finding, Job, Pending, Query, ReplyTo, TopicAnswer, TopicAsk,
    TopicQuery,
};
use trunkline_core::hub::{EphemeralEvent, LaneContent, TopicId};
use trunkline_core::ids::NamespaceId;
use trunkline_core::turns::Flow;
use trunkline_storage::{Position, TimelineId};

use crate::presence::{NODES, Nodes};

const TOPICS: u128 = 20;

fn topic(number: u128) -> TopicId {
    TimelineId(number << 64 | (number * 0x9e37_79b9))
}

impl Nodes {
    /// Asks another node about a topic.
    fn ask(&self, at: usize, query: Query) -> Pending {
        let (call, pending) = Call::new();
        let flow = Flow {
            namespace: NamespaceId::default(),
            user: TimelineId(1),
        };
        let (reply_to, wanted) = (ReplyTo::Call(call), pending.wanted());
        let job = Job::new(flow, reply_to, Position::ZERO, wanted, query);
        self.lives[&at].hub.ask(Box::new(job));
        pending
    }

    fn subscribe(&mut self, at: usize, topic: TopicId) {
        let hub = Arc::clone(&self.lives[&at].hub);
        if let Some(query) = hub.before_subscribing(topic, "live", None) {
            let pending = self.ask(at, query);
            self.calm(Duration::from_millis(200));
            assert_eq!(answer(&pending), Ok(TopicAnswer::Known));
        }
        hub.topics.subscribe(topic, 0, None, true).expect("room");
    }

    /// Publishes at a node. What is asked of another node is answered later.
    fn publish(&self, at: usize, topic: TopicId) -> Option<Pending> {
        let life = &self.lives[&at];
        let Some(node) = life.nodes.owner(topic) else {
            life.hub.publish_for(topic, b"{}", b"").expect("room");
            return None;
        };
        let query = TopicQuery {
            nodes: Arc::clone(&life.hub) as Arc<dyn AskNodes>,
            node: node.0,
            topic,
            what: TopicAsk::Publish {
                messages: [Arc::from(&b"{}"[..]), Arc::from(&b""[..])],
            },
        };
        Some(self.ask(at, Query::Topic(Box::new(query))))
    }

    /// Takes what the shard of a node was told: the positions of publications, and the topics with losses.
    fn told(&self, at: usize) -> (Vec<(TopicId, String)>, BTreeSet<TopicId>) {
        let mut content = LaneContent::default();
        self.lives[&at].hub.lanes.take(0, &mut content);
        let told = content.events.into_iter().filter_map(|event| match event {
            EphemeralEvent::Publication(one) => Some((one.topic, one.pos.text())),
            EphemeralEvent::ToUsers { .. } => None,
        });
        (told.collect(), content.lost.into_keys().collect())
    }
}

fn answer(pending: &Pending) -> Result<TopicAnswer, trunkline_core::exchange::Failure> {
    let answered = pending.wait(Duration::ZERO).expect("an answer");
    match answered.answer {
        CallAnswer::Found(Finding::Topic(found)) => found.answer,
        other => panic!("{other:?}"),
    }
}

fn world() -> Nodes {
    let mut nodes = Nodes::new(1);
    nodes.calm(Duration::from_secs(2));
    for at in 0..NODES {
        for number in 0..TOPICS {
            nodes.subscribe(at, topic(number));
        }
    }
    nodes
}

#[test]
fn all_nodes_have_one_order() {
    let mut nodes = world();
    let mut pending = Vec::new();
    for round in 0..100u128 {
        let at = (round % 3) as usize;
        pending.extend(nodes.publish(at, topic(round * 7 % TOPICS)));
        if round % 5 == 0 {
            nodes.calm(Duration::from_millis(50));
        }
    }
    nodes.calm(Duration::from_secs(1));
    for pending in &pending {
        assert!(matches!(answer(pending), Ok(TopicAnswer::Published(_))));
    }
    assert!(pending.len() > 20, "other nodes number most topics");
    let told: Vec<_> = (0..NODES).map(|at| nodes.told(at)).collect();
    for number in 0..TOPICS {
        let of = |at: usize| {
            let all = told[at].0.iter().filter(|(id, _)| *id == topic(number));
            all.map(|(_, pos)| pos.clone()).collect::<Vec<_>>()
        };
        let first = of(0);
        assert_eq!(first.len(), 5);
        assert!(first.is_sorted() && of(1) == first && of(2) == first);
    }
    assert!(told.iter().all(|(_, lost)| lost.is_empty()));
}

#[test]
fn losses_and_deaths_are_told_to_subscribers() {
    let mut nodes = world();
    // All messages of one node are lost for a while.
    let own: Vec<_> = (0..TOPICS)
        .map(topic)
        .filter(|topic| nodes.lives[&0].nodes.owner(*topic).is_none())
        .collect();
    assert!(own.len() > 1 && own.len() < TOPICS as usize);
    nodes.publish(0, own[0]);
    nodes.send(0, 1);
    nodes.publish(0, own[1]);
    nodes.calm(Duration::from_secs(2));
    for at in [1, 2] {
        let (told, lost) = nodes.told(at);
        assert_eq!(told.len(), 1, "the second one alone");
        assert_eq!(
            lost,
            own.iter().copied().collect(),
            "all may have lost some"
        );
    }
    // The node dies: another one numbers its topics, from 1 on.
    nodes.lives.remove(&0);
    nodes.calm(Duration::from_secs(5));
    for topic in own {
        let pending = nodes.publish(1, topic);
        nodes.calm(Duration::from_millis(200));
        if let Some(pending) = pending {
            assert!(matches!(answer(&pending), Ok(TopicAnswer::Published(_))));
        }
        for at in [1, 2] {
            let (told, _) = nodes.told(at);
            let number = told[0].1.split_once('-').expect("two parts").1;
            assert_eq!((told.len(), number.trim_start_matches('0')), (1, "1"));
        }
    }
    // A question to a node that has just died is answered with an error once its end is known.
    nodes.lives.remove(&2);
    let topic = (0..TOPICS)
        .map(topic)
        .find(|topic| nodes.lives[&1].nodes.owner(*topic).is_some());
    let pending = nodes
        .publish(1, topic.expect("one of the dead node"))
        .expect("a question");
    nodes.calm(Duration::from_secs(5));
    assert_eq!(answer(&pending).expect_err("nobody answers").0 as u32, 115);
}
