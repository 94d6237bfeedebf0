//! Questions about topics, which other nodes of a cluster answer.

use std::fmt;
use std::sync::Arc;

use trunkline_storage::TimelineId;

use super::{Failure, Job};

/// What has the way to other nodes.
pub trait AskNodes: fmt::Debug + Send + Sync {
    /// Takes a job with a [`TopicQuery`], and sees to its answer.
    fn ask(&self, job: Box<Job>);
}

/// A question about a topic, for the node that numbers its publications.
#[derive(Debug, Clone)]
pub struct TopicQuery {
    /// The way to that node.
    pub nodes: Arc<dyn AskNodes>,
    /// The number of the node.
    pub node: u8,
    /// The topic.
    pub topic: TimelineId,
    /// What is asked.
    pub what: TopicAsk,
}

/// What is asked about a topic.
#[derive(Debug, Clone)]
pub enum TopicAsk {
    /// The state of the topic, for its first subscriber at this node.
    Subscribe {
        /// The name of the topic.
        name: String,
        /// The position after which the subscriber wants all publications.
        since: Option<String>,
    },
    /// The number of a publication.
    Publish {
        /// The push without its position, in JSON and in protobuf.
        messages: [Arc<[u8]>; 2],
    },
}

/// The answer to a question about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicAnswer {
    /// This node knows the topic now.
    Known,
    /// The publication has this position.
    Published(String),
}

/// A question about a topic, with its answer.
#[derive(Debug, Clone)]
pub struct TopicFound {
    /// What was asked.
    pub what: TopicAsk,
    /// The answer.
    pub answer: Result<TopicAnswer, Failure>,
}

impl TopicAsk {
    /// Returns the bytes that wait with the question.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Subscribe { name, .. } => name.len(),
            Self::Publish { messages } => messages.iter().map(|message| message.len()).sum(),
        }
    }
}
