//! Requests to the servers, with answers on one subscription.

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::line::Line;

/// The time in which the library must take a request. It takes none while it connects again and its queue is
/// full.
const TAKEN_WITHIN: Duration = Duration::from_millis(250);

/// Sends requests, and receives their answers on an inbox of its own.
///
/// The library's own requests keep an entry for each request that was never answered. Here each answer names
/// the number of its request, so late answers are recognised, and nothing is kept.
#[derive(Debug)]
pub(crate) struct Asker {
    client: Client,
    line: Line,
    /// The subjects of answers, up to the number.
    inbox: String,
    answers: Subscriber,
    /// The number of the last request.
    number: u64,
}

/// A failure of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unasked {
    /// The request has not left. It never will.
    NotSent(String),
    /// No answer came in time.
    Silence,
    /// The thread ends.
    Ended,
}

impl Asker {
    pub(crate) async fn new(client: &Client, line: &Line) -> Result<Self, String> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await;
        Ok(Self {
            answers: answers.map_err(|why| why.to_string())?,
            client: client.clone(),
            line: line.clone(),
            inbox,
            number: 0,
        })
    }

    /// Sends a request under the next number, and returns the number. `Err` means that the request has not
    /// left and never will.
    pub(crate) async fn send(
        &mut self,
        subject: &str,
        headers: Option<HeaderMap>,
        bytes: Bytes,
    ) -> Result<u64, String> {
        // Without a connection the request would wait in the library and leave long after it was given up.
        if !self.line.is_connected() {
            return Err(self.line.condition().trouble_or("not connected yet"));
        }
        self.number += 1;
        let (subject, reply) = (
            subject.to_owned(),
            format!("{}.{}", self.inbox, self.number),
        );
        let sending = async {
            match headers {
                Some(headers) => {
                    let send = self
                        .client
                        .publish_with_reply_and_headers(subject, reply, headers, bytes);
                    send.await
                }
                None => self.client.publish_with_reply(subject, reply, bytes).await,
            }
        };
        match timeout(TAKEN_WITHIN, sending).await {
            Ok(Ok(())) => Ok(self.number),
            Ok(Err(why)) => Err(why.to_string()),
            Err(_) => Err("the connection to the NATS server takes nothing".into()),
        }
    }

    /// Returns the number of the last request; 0 before the first.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Returns the next answer with the number of its request; `None` once the client has ended.
    pub(crate) async fn next(&mut self) -> Option<(u64, Message)> {
        loop {
            let message = self.answers.next().await?;
            let number = message.subject.strip_prefix(&*self.inbox);
            let number = number.and_then(|it| it.strip_prefix('.')?.parse().ok());
            // Another's message on this inbox is nobody's answer.
            if let Some(number) = number {
                return Some((number, message));
            }
        }
    }

    /// Sends a request and waits for its answer. Answers of earlier requests are dropped.
    pub(crate) async fn ask(
        &mut self,
        subject: &str,
        bytes: Bytes,
        until: Instant,
    ) -> Result<Message, Unasked> {
        let sent = self.send(subject, None, bytes).await;
        let number = sent.map_err(Unasked::NotSent)?;
        loop {
            match timeout_at(until, self.next()).await {
                Ok(Some((answered, message))) if answered == number => return Ok(message),
                Ok(Some(_)) => {}
                Ok(None) => return Err(Unasked::Ended),
                Err(_) => return Err(Unasked::Silence),
            }
        }
    }
}

impl super::line::Condition {
    /// Returns the trouble as a text, or another if there is none.
    fn trouble_or(self, other: &str) -> String {
        match self.trouble.is_empty() {
            true => other.into(),
            false => self.trouble,
        }
    }
}

/// Returns whether an answer says that nobody serves the subject.
pub(crate) fn is_unserved(message: &Message) -> bool {
    message.status == Some(StatusCode::NO_RESPONDERS)
}
