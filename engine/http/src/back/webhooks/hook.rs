//! A back end that is told of something: its connections, its rest after failures, and its log lines.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use tokio::runtime::Handle;
use trunkline_core::ids::UserId;

use super::super::breaker::Breaker;
use super::super::failed::{self, Failed};
use super::super::said::{self, LOG_PAUSE};
use super::super::{Back, BackUrl, Shared, signed};
use super::{Event, Told};
use crate::dial::Pool;

/// The maximum number of requests to the back end of one webhook at a time. Nothing else is tried before
/// one of them ends.
pub const TOLD_AT_ONCE: usize = 64;

/// A line of the log that comes once a minute at most, with the number of what it is about.
#[derive(Debug, Default)]
pub(super) struct Said {
    last: Option<Instant>,
    count: u64,
}

impl Said {
    /// Counts. Returns the count since the last line, if a line is to be written now.
    pub(super) fn count(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let is_early = |last| now.saturating_duration_since(last) < LOG_PAUSE;
        if self.last.is_some_and(is_early) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// The back end of one webhook.
pub(super) struct Hook {
    told: Told,
    url: BackUrl,
    pool: Arc<Pool>,
    breaker: Breaker,
    said: Arc<said::Said>,
    given_up: Said,
    shared: Arc<Shared>,
    runtime: Handle,
    results: Sender<Event>,
}

impl Hook {
    pub(super) fn new(told: Told, url: &BackUrl, back: &Back, results: Sender<Event>) -> Self {
        back.metrics().webhooks.set_circuit(told, false);
        let (webhook, shown) = (told.name(), url.shown().to_owned());
        let write = move |failures: u64, why: &str| {
            tracing::warn!(
                webhook,
                url = shown,
                failures,
                why,
                "a back end is not told: the gateway tries again; look at the log of the back end"
            );
        };
        Self {
            told,
            url: url.clone(),
            pool: Arc::new(Pool::new(url.origin(), back.trust.clone())),
            breaker: Breaker::default(),
            said: said::Said::new(LOG_PAUSE, Box::new(write)),
            given_up: Said::default(),
            shared: Arc::clone(&back.asking.shared),
            runtime: back.asking.runtime.clone(),
            results,
        }
    }

    /// Returns whether the back end is told of anything now, while it is told of `told` things.
    pub(super) fn is_open(&self, told: usize, now: Instant) -> bool {
        told < TOLD_AT_ONCE && self.breaker.would_admit(now)
    }

    /// Returns when something that is due at `due` may be told, while `told` things are: at its time or
    /// at the end of the rest. `None` if first a result has to come, which wakes the thread.
    pub(super) fn next(&self, due: Option<Instant>, told: usize, now: Instant) -> Option<Instant> {
        let opens = self.breaker.opens_at(now).filter(|_| told < TOLD_AT_ONCE)?;
        due.map(|due| due.max(opens))
    }

    /// Returns whether the back end rests, because it does not answer.
    pub(super) const fn rests(&self) -> bool {
        self.breaker.is_open()
    }

    /// Sends a request about a user. The result comes as an [`Event`].
    pub(super) fn tell(&mut self, user: UserId, id: String, body: Vec<u8>, now: Instant) {
        self.breaker.admits(now);
        let (told, pool, results) = (self.told, Arc::clone(&self.pool), self.results.clone());
        let (shared, url) = (Arc::clone(&self.shared), self.url.clone());
        self.runtime.spawn(async move {
            let request = signed(&shared.secret.read(), &url, &id, body);
            let result = match request {
                Ok(request) => {
                    let began = Instant::now();
                    let result = failed::tell(&pool, request, shared.timeout).await;
                    shared.metrics.told(&result, began.elapsed());
                    result
                }
                Err(why) => Err(why),
            };
            // Nobody is there any more when the gateway stops.
            let _ = results.send(Event::Done { told, user, result });
        });
    }

    /// Notes a result, for the rest of the back end and for the log.
    pub(super) fn take(&mut self, result: &Result<(), Failed>, now: Instant) {
        let metrics = &self.shared.metrics;
        metrics.webhooks.tried(result);
        let was_open = self.breaker.is_open();
        match result {
            // What it answers about one message must not stop the others.
            Ok(()) => self.breaker.succeeded(),
            Err(why) if why.is_answer() => self.breaker.succeeded(),
            Err(_) => {
                self.breaker.failed(now);
            }
        }
        metrics
            .webhooks
            .set_circuit(self.told, self.breaker.is_open());
        let (webhook, url) = (self.told.name(), self.url.shown());
        if let Err(why) = result {
            self.said.note(why, Some(&self.runtime));
        }
        match (was_open, self.breaker.is_open()) {
            (false, true) => metrics.rests(true),
            (true, false) => {
                metrics.rests(false);
                tracing::info!(webhook, url, "the back end is told again");
            }
            _ => {}
        }
    }

    /// Notes that something is given up.
    pub(super) fn gave_up(&mut self, now: Instant) {
        self.shared.metrics.webhooks.gave_up(self.told);
        if let Some(count) = self.given_up.count(now) {
            let (webhook, url) = (self.told.name(), self.url.shown());
            tracing::error!(
                webhook,
                url,
                count,
                "the back end could not be told in the time of webhooks.give_up: giving up"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::super::super::{Callbacks, Longest, Secret};
    use super::*;

    #[test]
    fn what_is_due_is_not_looked_at_during_a_rest_and_while_all_requests_are_out() {
        let key = "whsec_c2l4dHkgZm91ciBieXRlcyBvZiBhIHNlY3JldA==";
        let secret = Secret::parse(key).unwrap();
        let most = Longest {
            message: 64 << 10,
            text: 64 << 10,
        };
        let back = Back::start(&Callbacks::default(), secret, None, (most, || ())).unwrap();
        let url = "http://127.0.0.1:9/offline".parse().unwrap();
        let mut hook = Hook::new(Told::Offline, &url, &back, channel().0);
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(hook.next(Some(now), 0, now), Some(now));
        assert_eq!(hook.next(None, 0, now), None);
        assert_eq!(hook.next(Some(now), TOLD_AT_ONCE, now), None);
        assert!(!hook.rests());
        for _ in 0..5 {
            hook.take(&Err(Failed::Late), now);
        }
        assert!(hook.rests() && !hook.is_open(0, now));
        assert_eq!(hook.next(Some(now), 0, now), Some(now + second));
        let later = now + 7 * second;
        assert_eq!(hook.next(Some(later), 0, now), Some(later));
        // A request that finds out whether it answers wakes the thread when it ends.
        assert!(hook.breaker.admits(now + second));
        assert_eq!(hook.next(Some(now), 1, now + second), None);
        back.stop();
    }
}
