//! Questions about topics to other nodes, and the answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use trunkline_core::exchange::{
    Failure, Job, NO_TOPIC_NODE, Query, TOO_MANY_TOPICS, TopicAnswer, TopicAsk,
};
use trunkline_core::hub::{Hub, NodeNumber, Nodes, Publication, PushFrames, TopicState};

use super::peers::Peers;
use crate::envelope::{Answer, AsideContent, Numbered, Question, Reply};
use crate::node::{Incarnation, NodeName};

/// The time after which a question that is not answered fails.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// The bytes of the latest publications in an answer. Older ones are left out.
const KEPT: usize = 512 << 10;

/// Questions about topics to other nodes.
#[derive(Debug, Default)]
pub(super) struct Topics {
    /// The questions that wait for an answer, by their numbers. Shards and calls bound their number.
    asked: BTreeMap<u64, Asked>,
    /// The number of the last question.
    last: u64,
    /// Messages to single nodes.
    out: VecDeque<(NodeName, AsideContent)>,
    /// The questions that failed because no answer came.
    pub(super) failed: u64,
}

#[derive(Debug)]
struct Asked {
    job: Box<Job>,
    node: NodeNumber,
    until: Duration,
}

impl Topics {
    /// Returns the next message to one node.
    pub(super) fn poll(
        &mut self,
        (hub, nodes): (&Hub, &Nodes),
        peers: &Peers,
        now: Duration,
    ) -> Option<(NodeName, AsideContent)> {
        if nodes.has_questions() {
            for job in nodes.take_questions() {
                self.ask(hub, peers, job, now);
            }
        }
        self.out.pop_front()
    }

    /// Asks the node that a job names.
    fn ask(&mut self, hub: &Hub, peers: &Peers, job: Box<Job>, now: Duration) {
        let Query::Topic(query) = &job.query else {
            return;
        };
        let node = NodeNumber(query.node);
        let Some(life) = peers.named(node) else {
            self.failed += 1;
            return hub.answer(&job, Err(NO_TOPIC_NODE));
        };
        self.last += 1;
        let publish = match &query.what {
            TopicAsk::Subscribe { .. } => None,
            TopicAsk::Publish { messages } => {
                Some(messages.each_ref().map(|push| Bytes::copy_from_slice(push)))
            }
        };
        let question = Question {
            to: life.number,
            number: self.last,
            topic: query.topic,
            publish,
        };
        self.out
            .push_back((life.node, AsideContent::Question(question)));
        let until = now + ANSWERED_WITHIN;
        self.asked.insert(self.last, Asked { job, node, until });
    }

    /// Answers a question of another node.
    pub(super) fn question(&mut self, hub: &Hub, from: Incarnation, question: &Question) {
        let topic = question.topic;
        let answer = match &question.publish {
            Some([json, proto]) => hub
                .publish_for(topic, json, proto)
                .map_or(Answer::TooMany, Answer::Published),
            None => match hub.topics.state(topic) {
                None => Answer::TooMany,
                Some(state) => Answer::State(state.pos, latest(&state)),
            },
        };
        let reply = Reply {
            to: from.number,
            number: question.number,
            answer,
        };
        self.out.push_back((from.node, AsideContent::Reply(reply)));
    }

    /// Takes the answer of a node.
    pub(super) fn reply(&mut self, hub: &Hub, from: NodeNumber, reply: Reply) {
        let is_of = self.asked.get(&reply.number).map(|asked| asked.node) == Some(from);
        let Some(Asked { job, .. }) = is_of.then(|| self.asked.remove(&reply.number)).flatten()
        else {
            return;
        };
        let Query::Topic(query) = &job.query else {
            return;
        };
        let answer: Result<TopicAnswer, Failure> = match reply.answer {
            Answer::TooMany => Err(TOO_MANY_TOPICS),
            Answer::Published(pos) => Ok(TopicAnswer::Published(pos.text())),
            Answer::State(pos, kept) => {
                let kept = kept.iter().map(publication).collect();
                let state = TopicState { pos, kept };
                match hub.hear_topic(from, query.topic, &state) {
                    true => Ok(TopicAnswer::Known),
                    false => Err(TOO_MANY_TOPICS),
                }
            }
        };
        hub.answer(&job, answer);
    }

    /// Fails the questions to nodes that are gone, and those that have waited for too long.
    pub(super) fn look(&mut self, hub: &Hub, peers: &Peers, now: Duration) {
        let is_over = |asked: &Asked| asked.until <= now || peers.named(asked.node).is_none();
        let over: Vec<_> = { self.asked.iter() }
            .filter_map(|(number, asked)| is_over(asked).then_some(*number))
            .collect();
        for number in over {
            if let Some(Asked { job, .. }) = self.asked.remove(&number) {
                self.failed += 1;
                hub.answer(&job, Err(NO_TOPIC_NODE));
            }
        }
    }

    /// Returns whether [`poll`](Self::poll) has something.
    pub(super) fn is_ready(&self, nodes: &Nodes) -> bool {
        !self.out.is_empty() || nodes.has_questions()
    }
}

/// Returns a publication as another node gets it.
pub(super) fn numbered(publication: &Publication) -> Numbered {
    let [json, proto] = publication.frames.messages().map(Bytes::copy_from_slice);
    Numbered {
        topic: publication.topic,
        pos: publication.pos,
        json,
        proto,
    }
}

/// Returns a publication of another node.
pub(super) fn publication(numbered: &Numbered) -> Arc<Publication> {
    let frames = PushFrames::of_messages(&numbered.json, &numbered.proto);
    let (topic, pos) = (numbered.topic, numbered.pos);
    Arc::new(Publication::of_node(topic, pos, Arc::new(frames)))
}

/// Returns the latest publications of a topic, as many as an answer has room for.
fn latest(state: &TopicState) -> Vec<Numbered> {
    let mut left = KEPT;
    let all = state.kept.iter().rev().map(|one| numbered(one));
    let mut latest: Vec<_> = all
        .map_while(|one| {
            left = left.checked_sub(one.size())?;
            Some(one)
        })
        .collect();
    latest.reverse();
    latest
}
