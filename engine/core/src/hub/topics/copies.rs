//! Copies of the topics whose publications other nodes number.
//!
//! In a cluster one node numbers the publications of a topic, and all nodes have a copy of it: the position and the latest
//! publications. So a subscriber gets them from its own node, in the same order as all others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Publication, Since, Topic, TopicId, Topics};
use crate::hub::{EphemeralEvent, Lanes, NodeNumber};

/// The position of a topic, and its latest publications.
#[derive(Debug, Clone)]
pub struct TopicState {
    /// The position of the last publication.
    pub pos: Since,
    /// The latest publications, without a gap, up to that position. There may be none.
    pub kept: Vec<Arc<Publication>>,
}

impl Topics {
    /// Lets this node number the publications of a topic from now on. If another one did before, a new epoch begins: some
    /// of its last publications may be known to others and not here.
    pub(super) fn take_over(&self, topic: &mut Topic, id: TopicId) {
        if topic.of.take().is_some() {
            topic.keep_only(0, &self.bytes);
            self.age.fetch_add(1, Ordering::Relaxed);
            let epoch = self.epoch_of(id);
            topic.pos = Since { epoch, seq: 0 };
        }
        topic.is_doubted = false;
    }

    /// Returns whether a subscriber can begin with what is known here of a topic that another node numbers.
    pub fn is_known(&self, id: TopicId) -> bool {
        let stripe = self.stripe(id).lock();
        let topic = stripe.topics.get(&id);
        topic.is_some_and(|topic| topic.of.is_some() && !topic.is_doubted)
    }

    /// Returns the state of a topic whose publications this node numbers; `None` if the limit of topics is reached.
    pub fn state(&self, id: TopicId) -> Option<TopicState> {
        let mut stripe = self.stripe(id).lock();
        let topic = self.topic(&mut stripe, id).ok()?;
        self.take_over(topic, id);
        Some(TopicState {
            pos: topic.pos,
            kept: topic.kept.iter().cloned().collect(),
        })
    }

    /// Takes a publication that another node has numbered. Returns whether there was room for its topic.
    pub fn copy(&self, of: NodeNumber, publication: &Arc<Publication>, lanes: &Lanes) -> bool {
        let id = publication.topic;
        let mut stripe = self.stripe(id).lock();
        let Ok(topic) = self.topic(&mut stripe, id) else {
            return false;
        };
        let shards = topic.shards;
        self.append(topic, of, publication, lanes);
        if shards == 0 && self.history == 0 {
            self.forget(&mut stripe, id);
        }
        drop(stripe);
        lanes.wake(shards);
        true
    }

    fn append(
        &self,
        topic: &mut Topic,
        of: NodeNumber,
        publication: &Arc<Publication>,
        lanes: &Lanes,
    ) {
        let (before, pos) = (topic.pos, publication.pos);
        topic.of = Some(of);
        topic.is_doubted = false;
        if before.epoch == pos.epoch && pos.seq <= before.seq {
            return;
        }
        if before.epoch != pos.epoch || pos.seq != before.seq + 1 {
            // Subscribers see by the numbers that they have missed some.
            topic.keep_only(0, &self.bytes);
        }
        topic.pos = pos;
        self.keep(topic, publication);
        lanes.put(
            topic.shards,
            &EphemeralEvent::Publication(Arc::clone(publication)),
        );
    }

    /// Takes the state of a topic that another node numbers. Returns whether there was room for the topic.
    pub fn install(&self, of: NodeNumber, id: TopicId, state: &TopicState, lanes: &Lanes) -> bool {
        let mut stripe = self.stripe(id).lock();
        let Ok(topic) = self.topic(&mut stripe, id) else {
            return false;
        };
        let shards = topic.shards;
        let is_later = topic.pos.epoch == state.pos.epoch && topic.pos.seq > state.pos.seq;
        if !is_later && topic.pos != state.pos && state.kept.is_empty() {
            topic.keep_only(0, &self.bytes);
        }
        for publication in &state.kept {
            self.append(topic, of, publication, lanes);
        }
        if !is_later {
            topic.pos = state.pos;
        }
        topic.of = Some(of);
        topic.is_doubted = false;
        drop(stripe);
        lanes.wake(shards);
        true
    }

    /// Notes that publications of a node may be missing: its subscribers are told so, and the next ones ask the node.
    pub fn doubt(&self, of: NodeNumber, lanes: &Lanes) {
        for stripe in &self.stripes {
            let mut stripe = stripe.lock();
            let copies = { stripe.topics.iter_mut() }.filter(|(_, topic)| topic.of == Some(of));
            for (id, topic) in copies {
                topic.is_doubted = true;
                lanes.lose(topic.shards, *id, topic.pos);
            }
        }
    }
}
