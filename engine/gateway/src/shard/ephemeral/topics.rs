//! Subscriptions of connections of a shard.

use std::sync::Arc;

use slab::Slab;
use trunkline_core::hub::{NewPublication, Publication, Published, PushFrames, Since, TopicId};
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{Publish, PublishReply, ReplyBody, Subscribe, SubscribeReply};
use trunkline_proto::names::is_name;

use super::super::connection::Conn;
use super::super::core::Core;
use super::listeners::Listeners;
use super::tell::Worth;
use crate::auth::Act;
use crate::metrics::Limit;

/// Connections that have subscribed to a topic, each with the number of the last publication that
/// it has been told or must not be.
pub(super) type Subscribers = Listeners<u64>;

/// News of a topic for its subscribers.
#[derive(Debug)]
pub(super) enum TopicNews {
    Publication(Arc<Publication>),
    /// Publications up to this number are lost.
    Lost(TopicId, u64),
}

impl TopicNews {
    /// Returns the topic, the number of the last publication, and the frames to write, if any.
    fn parts(&self) -> (TopicId, u64, Option<&PushFrames>) {
        match self {
            Self::Publication(publication) => (
                publication.topic,
                publication.seq,
                Some(&publication.frames),
            ),
            Self::Lost(topic, seq) => (*topic, *seq, None),
        }
    }
}

type Failure = (ErrorCode, &'static str);

const BAD_TOPIC: Failure = (
    ErrorCode::BadRequest,
    "a topic is 1 to 64 bytes of [A-Za-z0-9._@-]",
);

const TOO_MANY_TOPICS: Failure = (
    ErrorCode::LimitExceeded,
    "there are as many topics as there may be: max_topics",
);

const TOO_MANY: Failure = (
    ErrorCode::LimitExceeded,
    "this connection has as many subscriptions as one may have: max_subscriptions",
);

impl Core {
    /// The topic of this name in the namespace of a connection.
    fn topic_id(&self, conn: &Conn, name: &str) -> Result<TopicId, Failure> {
        match conn.session() {
            Some(session) if is_name(name) => {
                Ok(self.parts.ids.topic(session.names.namespace(), name))
            }
            _ => Err(BAD_TOPIC),
        }
    }

    pub(super) fn subscribe(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        request: &Subscribe<'_>,
    ) -> Result<(), Failure> {
        let topic = self.topic_id(conn, &request.topic)?;
        self.may(slot, Act::Subscribe, &request.topic)?;
        let since = match &request.since {
            None => None,
            Some(since) => Some(Since::parse(since).ok_or((
                ErrorCode::BadRequest,
                "\"since\" is no position of a topic that this gateway gave out",
            ))?),
        };
        let listening = self.ephemeral.listening.get(&slot);
        let known = listening
            .and_then(|listening| listening.topics.get(&topic))
            .copied();
        let count = listening.map_or(0, |listening| listening.topics.len());
        let limits = &self.parts.limits;
        let room = self.ephemeral.has_room(1, limits.listenings);
        let full = count >= limits.subscriptions || !room;
        if known.is_none() && full {
            self.parts.metrics.limited(Limit::Subscriptions);
            return Err(TOO_MANY);
        }
        let hub = Arc::clone(&self.parts.hub);
        let begun = hub
            .topics
            .subscribe(topic, self.parts.index, since)
            .map_err(|_| {
                self.parts.metrics.limited(Limit::Topics);
                TOO_MANY_TOPICS
            })?;
        let subscribers = self.ephemeral.topics.entry(topic).or_default();
        match known.and_then(|key| subscribers.get_mut(key)) {
            None => {
                let key = subscribers.add(slot, begun.pos.seq);
                let listening = self.ephemeral.listening.entry(slot).or_default();
                listening.topics.insert(topic, key);
                if self.parts.authority.is_some() {
                    let name = || (*request.topic).into();
                    self.ephemeral.names.entry(topic).or_insert_with(name);
                }
                self.ephemeral.listenings += 1;
            }
            // What is on its way comes now, and not again.
            Some(subscriber) if begun.missed.is_some() => subscriber.note = begun.pos.seq,
            Some(_) => {}
        }
        let reply = SubscribeReply {
            pos: begun.pos.text().into(),
            recovered: begun.missed.is_some(),
        };
        self.reply(slot, conn, id, ReplyBody::Subscribe(reply));
        for missed in begun.missed.unwrap_or_default() {
            self.tell(slot, conn, &missed.frames, Worth::Asked);
        }
        Ok(())
    }

    pub(super) fn unsubscribe(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        topic: &str,
    ) -> Result<(), Failure> {
        let topic = self.topic_id(conn, topic)?;
        let listening = self.ephemeral.listening.get_mut(&slot);
        let key = listening.and_then(|listening| listening.topics.remove(&topic));
        let key = key.ok_or((ErrorCode::Unknown, "no subscription to this topic"))?;
        let pos = self.parts.hub.topics.pos(topic);
        self.unlisten_topic(topic, key);
        let reply = SubscribeReply {
            pos: pos.map(Since::text).unwrap_or_default().into(),
            recovered: false,
        };
        self.reply(slot, conn, id, ReplyBody::Unsubscribe(reply));
        Ok(())
    }

    pub(super) fn publish(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        request: &Publish<'_>,
    ) -> Result<(), Failure> {
        let topic = self.topic_id(conn, &request.topic)?;
        self.may(slot, Act::Publish, &request.topic)?;
        let Some(session) = conn.session() else {
            return Err(BAD_TOPIC);
        };
        let hub = &self.parts.hub;
        let new = NewPublication {
            topic: &request.topic,
            from: session.names.user(),
            data: &request.data,
        };
        let published = hub.topics.publish(topic, new, &hub.lanes);
        let Published { pos, refused } = published.map_err(|_| {
            self.parts.metrics.limited(Limit::Topics);
            TOO_MANY_TOPICS
        })?;
        self.refused(refused);
        let reply = PublishReply {
            pos: pos.text().into(),
        };
        self.reply(slot, conn, id, ReplyBody::Publish(reply));
        Ok(())
    }

    /// A connection has no subscription to a topic any more.
    pub(super) fn unlisten_topic(&mut self, topic: TopicId, key: u32) {
        let Some(subscribers) = self.ephemeral.topics.get_mut(&topic) else {
            return;
        };
        subscribers.remove(key);
        self.ephemeral.listenings -= 1;
        if subscribers.is_empty() {
            self.ephemeral.topics.remove(&topic);
            self.ephemeral.names.remove(&topic);
            self.parts.hub.topics.unsubscribe(topic, self.parts.index);
        }
    }

    /// Ends those subscriptions of a session that its token does not allow; their topics, ordered.
    pub(crate) fn end_subscriptions(&mut self, slot: u32) -> Vec<String> {
        let topics = self
            .ephemeral
            .listening
            .get(&slot)
            .map(|listening| &listening.topics);
        let names = &self.ephemeral.names;
        let name = |topic: &TopicId| names.get(topic).map_or("", |name| name);
        let mut ended: Vec<_> = topics
            .into_iter()
            .flatten()
            .map(|(topic, key)| (name(topic).to_owned(), *topic, *key))
            .filter(|(name, ..)| self.may(slot, Act::Subscribe, name).is_err())
            .collect();
        ended.sort_unstable();
        for (_, topic, key) in &ended {
            if let Some(listening) = self.ephemeral.listening.get_mut(&slot) {
                listening.topics.remove(topic);
            }
            self.unlisten_topic(*topic, *key);
        }
        ended.into_iter().map(|(name, ..)| name).collect()
    }

    /// Tells something to subscribers from a key on, as far as there are tellings left.
    pub(super) fn tell_subscribers(
        &mut self,
        conns: &mut Slab<Conn>,
        told: TopicNews,
        mut next: u32,
        left: &mut usize,
    ) {
        let (topic, seq, frames) = told.parts();
        loop {
            let Some(subscribers) = self.ephemeral.topics.get_mut(&topic) else {
                return;
            };
            if next >= subscribers.end() {
                return;
            }
            if *left == 0 {
                self.ephemeral.telling = Some((told, next));
                return;
            }
            *left -= 1;
            let subscriber = subscribers.get_mut(next);
            next += 1;
            // Those who came later have it behind them, or were told it when they came.
            let Some(subscriber) = subscriber.filter(|s| s.note < seq) else {
                continue;
            };
            let slot = subscriber.slot;
            // The lane had no room for those between.
            let missed = subscriber.note + 1 < seq || frames.is_none();
            subscriber.note = seq;
            let Some(conn) = conns.get_mut(slot as usize) else {
                continue;
            };
            if missed {
                self.tell_gap(slot, conn);
            }
            if let Some(frames) = frames {
                self.tell(slot, conn, frames, Worth::Asked);
            }
        }
    }
}
