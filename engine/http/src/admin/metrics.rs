//! The counters of the admin API, written by the thread of the control port.

use std::time::Duration;

use hyper::Method;
use trunkline_core::metrics::Counter;

/// The routes that are counted apart.
pub const ADMIN_ROUTES: [&str; 13] = [
    "stats",
    "events",
    "sessions",
    "users",
    "export",
    "erase",
    "as",
    "publish",
    "disconnect",
    "revoke",
    "backup",
    "copy",
    "other",
];

/// The counters of the admin API.
#[derive(Debug, Default)]
pub struct AdminMetrics {
    /// The answered requests, in the order of [`ADMIN_ROUTES`].
    pub requests: [Counter; ADMIN_ROUTES.len()],
    /// The time until the answers were ready, in nanoseconds, in the order of [`ADMIN_ROUTES`].
    pub times: [Counter; ADMIN_ROUTES.len()],
    /// The requests without a token of the file.
    pub strangers: Counter,
    /// The requests with a token that lacks the scope.
    pub forbidden: Counter,
    /// The open streams of numbers.
    pub streams: Counter,
    /// The sessions that operators ended.
    pub ended: Counter,
    /// The erasures under way.
    pub erasing: Counter,
    /// The erasures that ended.
    pub erased: Counter,
    /// The attempts to go on with an erasure that failed.
    pub erasures_failed: Counter,
    /// The readings of the file of tokens that succeeded.
    pub reloaded: Counter,
    /// The readings of the file of tokens that failed.
    pub reload_failed: Counter,
}

impl AdminMetrics {
    /// Counts an answer.
    pub(super) fn answered(&self, method: &Method, path: &str, time: Duration) {
        let word = { path.strip_prefix("/admin/v1/") }
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_default();
        let word = if path.ends_with("/export") {
            "export"
        } else if *method == Method::DELETE {
            "erase"
        } else {
            word
        };
        let known = ADMIN_ROUTES.iter().position(|route| *route == word);
        let route = known.unwrap_or(ADMIN_ROUTES.len() - 1);
        self.requests[route].one();
        self.times[route].add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}
