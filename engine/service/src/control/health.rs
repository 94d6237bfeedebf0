//! The answers of /healthz and /readyz.

use axum::http::StatusCode;
use trunkline_storage::{Health, Reader};

/// The condition of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) health: Health,
    /// The reason why the store cannot make or merge runs; `None` if it can.
    pub(crate) run_failure: Option<String>,
    /// The reason why the store cannot make its next segment; `None` if it can.
    pub(crate) ahead: Option<String>,
}

impl Condition {
    pub(crate) fn of(store: &Reader) -> Self {
        Self {
            health: store.health(),
            run_failure: store.run_failure(),
            ahead: store.trouble_ahead(),
        }
    }
}

/// Answers /healthz: 503 after the store has failed, and while its folder is missing.
pub(super) fn healthz(store: &Condition) -> (StatusCode, String) {
    match &store.health {
        Health::Poisoned { reason } => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "the store failed and takes no messages until the gateway is restarted: {reason}\n"
            ),
        ),
        Health::Lost { reason } => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "the store's folder is missing: no messages are taken until it is back: {reason}\n"
            ),
        ),
        Health::Full { reason } => (
            StatusCode::OK,
            format!("the disk is full: messages can be read, but not sent: {reason}\n"),
        ),
        Health::Short { reason } => (
            StatusCode::OK,
            format!(
                "the store cannot write for now: messages can be read, but not sent: {reason}\n"
            ),
        ),
        Health::Ok => (StatusCode::OK, with_warnings("ok", store)),
    }
}

/// Answers /readyz: 503 while the gateway starts or stops (not `open`), and while the store takes
/// no messages. `of_node` is what keeps a node of a cluster from taking them.
pub(super) fn readyz(
    open: bool,
    store: &Condition,
    of_node: Option<String>,
) -> (StatusCode, String) {
    const NO: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    match &store.health {
        _ if !open => (NO, "starting or stopping\n".into()),
        Health::Poisoned { reason } => (NO, format!("the store failed: {reason}\n")),
        Health::Lost { reason } => (NO, format!("the store's folder is missing: {reason}\n")),
        Health::Full { reason } => (NO, format!("the disk is full: {reason}\n")),
        Health::Short { reason } => (
            NO,
            format!("the store cannot write for now and tries again: {reason}\n"),
        ),
        Health::Ok => match of_node {
            Some(trouble) => (NO, format!("{trouble}\n")),
            None => (StatusCode::OK, with_warnings("ready", store)),
        },
    }
}

/// Adds warnings about the store. Without new runs the gateway works, while the log and the memory
/// for its index grow. Without the next segment it works until the current one is full.
fn with_warnings(state: &str, store: &Condition) -> String {
    let mut text = format!("{state}\n");
    if let Some(reason) = &store.run_failure {
        text = format!(
            "{state}, but the store cannot make runs of the log, which grows meanwhile (tried again every second): {reason}\n"
        );
    }
    if let Some(reason) = &store.ahead {
        text += &format!("warning: messages will be refused soon: {reason}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(health: Health, run_failure: Option<&str>, ahead: Option<&str>) -> Condition {
        Condition {
            health,
            run_failure: run_failure.map(Into::into),
            ahead: ahead.map(Into::into),
        }
    }

    #[test]
    fn each_state_of_the_store_is_named() {
        let reason = || "cannot do x".to_owned();
        let failure = Some("no run-1");
        for (store, health, ready, words) in [
            (condition(Health::Ok, None, None), 200, 200, ["", ""]),
            (
                condition(Health::Ok, failure, None),
                200,
                200,
                ["cannot make runs", "no run-1"],
            ),
            (
                condition(Health::Ok, None, Some("188.0 MiB are free")),
                200,
                200,
                ["will be refused", "188.0 MiB"],
            ),
            (
                condition(Health::Full { reason: reason() }, None, None),
                200,
                503,
                ["disk is full", "cannot do x"],
            ),
            (
                condition(Health::Short { reason: reason() }, failure, None),
                200,
                503,
                ["for now", "cannot do x"],
            ),
            (
                condition(Health::Lost { reason: reason() }, None, None),
                503,
                503,
                ["folder is missing", "cannot do x"],
            ),
            (
                condition(Health::Poisoned { reason: reason() }, failure, None),
                503,
                503,
                ["failed", "cannot do x"],
            ),
        ] {
            for ((status, text), expected) in [
                (healthz(&store), health),
                (readyz(true, &store, None), ready),
            ] {
                assert_eq!(status.as_u16(), expected, "{text}");
                assert!(words.iter().all(|word| text.contains(word)), "{text}");
                assert!(text.ends_with('\n'), "{text}");
            }
            let (status, text) = readyz(false, &store, None);
            assert_eq!((status.as_u16(), &*text), (503, "starting or stopping\n"));
        }
        let well = condition(Health::Ok, None, None);
        assert_eq!(healthz(&well).1, "ok\n");
        assert_eq!(readyz(true, &well, None).1, "ready\n");
    }
}
