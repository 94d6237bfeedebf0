//! Topics in a cluster: which node numbers the publications of which, and what goes to other nodes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::super::{
    Hub, NewPublication, Publication, Published, PushFrames, Since, TooManyTopics, TopicId,
    TopicState,
};
use super::elsewhere::NodeNumber;
use super::{Living, Nodes};
use crate::cost::Cost;
use crate::exchange::{
    Answer, AnswerKind, AskNodes, CallAnswer, Finding, Job, Mail, Query, ReplyTo, TopicAnswer,
    TopicAsk, TopicFound, TopicQuery,
};
use crate::failure::{Failure, NODES_BUSY};

/// The cost of a question to another node and of its answer, at this node.
const ASKED: Cost = Cost::micros(5);

impl Nodes {
    /// Sets the nodes that live, this one too.
    pub fn set_living(&self, living: Vec<Living>) {
        self.owners.set(living);
    }

    /// Returns the node that numbers the publications of a topic; `None` if it is this one.
    pub fn owner(&self, topic: TopicId) -> Option<NodeNumber> {
        self.owners.of(topic)
    }

    /// Returns the questions about topics that wait, in order. Each is a [`Query::Topic`].
    pub fn take_questions(&self) -> VecDeque<Box<Job>> {
        self.questions.take()
    }

    /// Returns the publications that other nodes have not been told, in order.
    pub fn take_publications(&self) -> VecDeque<Arc<Publication>> {
        self.publications.take()
    }

    /// Returns whether there may be questions about topics.
    pub fn has_questions(&self) -> bool {
        self.questions.has_some()
    }

    /// Returns whether there may be publications.
    pub fn has_publications(&self) -> bool {
        self.publications.has_some()
    }

    /// Lets other nodes have a publication that this one has numbered. If there is no room, they see by the next number that
    /// it is missing.
    pub(in super::super) fn publish(&self, publication: &Arc<Publication>) {
        let bytes = publication.frames.size();
        if let Ok(true) = self.publications.add(Arc::clone(publication), bytes) {
            self.wake.wake();
        }
    }
}

impl Publication {
    /// Returns a publication of another node, with the frames that it has numbered.
    pub const fn of_node(topic: TopicId, pos: Since, frames: Arc<PushFrames>) -> Self {
        Self { topic, pos, frames }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl AskNodes for Hub {
    fn ask(&self, job: Box<Job>) {
        let Some(nodes) = self.nodes.get() else {
            return self.answer(&job, Err(NODES_BUSY));
        };
        let bytes = job.query.held_bytes();
        match nodes.questions.add(job, bytes) {
            Ok(true) => nodes.wake.wake(),
            Ok(false) => {}
            Err(job) => self.answer(&job, Err(NODES_BUSY)),
        }
    }
}

impl Hub {
    /// Publishes to a topic. Returns the question to ask if another node numbers its publications.
    ///
    /// # Errors
    /// The limit of topics is reached.
    pub fn publish(
        self: &Arc<Self>,
        topic: TopicId,
        new: NewPublication<'_>,
    ) -> Result<Result<Published, Query>, TooManyTopics> {
        let frames = PushFrames::publication(new);
        let nodes = self.nodes.get().map(|nodes| &**nodes);
        if let Some(node) = nodes.and_then(|nodes| nodes.owner(topic)) {
            let messages = frames.messages().map(Arc::from);
            let what = TopicAsk::Publish { messages };
            return Ok(Err(self.topic_query(node, topic, what)));
        }
        let published = self.topics.publish(topic, frames, &self.lanes, nodes)?;
        Ok(Ok(published))
    }

    /// Returns the question to ask before a connection subscribes to a topic; `None` if this node knows the topic.
    pub fn before_subscribing(
        self: &Arc<Self>,
        topic: TopicId,
        name: &str,
        since: Option<&str>,
    ) -> Option<Query> {
        let node = self.nodes.get()?.owner(topic)?;
        if self.topics.is_known(topic) {
            return None;
        }
        let what = TopicAsk::Subscribe {
            name: name.to_owned(),
            since: since.map(str::to_owned),
        };
        Some(self.topic_query(node, topic, what))
    }

    fn topic_query(self: &Arc<Self>, node: NodeNumber, topic: TopicId, what: TopicAsk) -> Query {
        Query::Topic(Box::new(TopicQuery {
            nodes: Arc::clone(self) as Arc<dyn AskNodes>,
            node: node.0,
            topic,
            what,
        }))
    }

    /// Numbers a publication of another node. Returns its position; `None` if the limit of topics is reached.
    pub fn publish_for(&self, topic: TopicId, json: &[u8], proto: &[u8]) -> Option<Since> {
        let frames = PushFrames::of_messages(json, proto);
        let nodes = self.nodes.get().map(|nodes| &**nodes);
        let published = self.topics.publish(topic, frames, &self.lanes, nodes);
        published.ok().map(|published| published.pos)
    }

    /// Takes a publication that another node has numbered.
    pub fn hear_publication(&self, node: NodeNumber, publication: &Arc<Publication>) {
        self.topics.copy(node, publication, &self.lanes);
    }

    /// Takes the state of a topic that another node numbers. Returns whether there was room for the topic.
    pub fn hear_topic(&self, node: NodeNumber, topic: TopicId, state: &TopicState) -> bool {
        self.topics.install(node, topic, state, &self.lanes)
    }

    /// Notes that publications of a node may be missing.
    pub fn doubt_topics(&self, node: NodeNumber) {
        self.topics.doubt(node, &self.lanes);
    }

    /// Answers a question about a topic. Other jobs get no answer.
    pub fn answer(&self, job: &Job, answer: Result<TopicAnswer, Failure>) {
        let Query::Topic(query) = &job.query else {
            return;
        };
        let what = query.what.clone();
        let finding = Finding::Topic(TopicFound { what, answer });
        match &job.reply_to {
            ReplyTo::Conn(to) => {
                let answer = Answer {
                    conn: to.conn,
                    frames: Vec::new(),
                    error: None,
                    kind: AnswerKind::Found {
                        id: to.id,
                        finding: Box::new(finding),
                        paged: false,
                    },
                    cost: ASKED,
                };
                self.lanes.mail(to.shard.into(), Mail::Answer(answer));
            }
            ReplyTo::Call(call) => call.answer(CallAnswer::Found(finding), ASKED),
            ReplyTo::Remote(_) => {}
        }
    }
}
