//! What /healthz and /readyz say.

use axum::http::StatusCode;
use trunkline_storage::Health;

/// Whether the process works: 503 once the store has failed.
pub(super) fn healthz(store: &Health, run_failure: Option<&str>) -> (StatusCode, String) {
    match store {
        Health::Poisoned { reason } => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the store failed and takes nothing more until a restart: {reason}\n"),
        ),
        Health::Full => (StatusCode::OK, "the disk is full: reads only\n".into()),
        Health::Ok => (StatusCode::OK, with_runs("ok", run_failure)),
    }
}

/// Whether clients should be sent here: 503 while starting or stopping (not `open`), and without
/// a store that takes messages.
pub(super) fn readyz(
    open: bool,
    store: &Health,
    run_failure: Option<&str>,
) -> (StatusCode, String) {
    const NO: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    match store {
        _ if !open => (NO, "starting or stopping\n".into()),
        Health::Poisoned { reason } => (NO, format!("the store failed: {reason}\n")),
        Health::Full => (NO, "the disk is full\n".into()),
        Health::Ok => (StatusCode::OK, with_runs("ready", run_failure)),
    }
}

/// Without new runs all goes on, for a while: the log and the memory for its index grow.
fn with_runs(state: &str, failure: Option<&str>) -> String {
    match failure {
        None => format!("{state}\n"),
        Some(reason) => format!(
            "{state}, but the log cannot be made into runs and grows (tried again with each full \
             segment): {reason}\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_of_the_store_is_named() {
        let poisoned = Health::Poisoned {
            reason: "cannot sync x".into(),
        };
        for (store, failure, health, ready, words) in [
            (Health::Ok, None, 200, 200, ["", ""]),
            (
                Health::Ok,
                Some("no run-1"),
                200,
                200,
                ["cannot be made", "no run-1"],
            ),
            (Health::Full, None, 200, 503, ["disk is full", ""]),
            (
                poisoned,
                Some("no run-1"),
                503,
                503,
                ["failed", "cannot sync x"],
            ),
        ] {
            for ((status, text), expected) in [
                (healthz(&store, failure), health),
                (readyz(true, &store, failure), ready),
            ] {
                assert_eq!(status.as_u16(), expected, "{text}");
                assert!(words.iter().all(|word| text.contains(word)), "{text}");
                assert!(text.ends_with('\n'), "{text}");
            }
            let (status, text) = readyz(false, &store, failure);
            assert_eq!((status.as_u16(), &*text), (503, "starting or stopping\n"));
        }
        assert_eq!(healthz(&Health::Ok, None).1, "ok\n");
        assert_eq!(readyz(true, &Health::Ok, None).1, "ready\n");
    }
}
