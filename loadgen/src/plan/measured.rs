//! What a machine carries, from the results of a run instead of assumptions.

use std::path::Path;

use serde_json::Value;

use crate::exit::{Failure, Outcome};
use crate::scenario::plan::Assumptions;
use crate::units::{Bytes, Rate, readable};

/// Kernel memory of one end of a connection where nobody measured it: a million bare connections
/// took 3.0 KB each, with WebSocket sessions 4.2 KB.
const KERNEL_BYTES: f64 = 4_200.0;

/// Puts what the run in `folder` showed into the place of assumptions, and says what.
///
/// # Errors
/// Exit 104: no results are there, or they do not count.
pub(super) fn apply(folder: &Path, assumed: &mut Assumptions) -> Outcome<String> {
    let fail = |why: String| Failure::scenario(format!("--measured {}: {why}", folder.display()));
    let (name, results) = ["summary.json", "hold.json"]
        .iter()
        .find_map(|name| Some((*name, std::fs::read_to_string(folder.join(name)).ok()?)))
        .ok_or_else(|| fail("no summary.json or hold.json of a run is there".into()))?;
    let results: Value =
        serde_json::from_str(&results).map_err(|why| fail(format!("{name}: {why}")))?;
    let said = from_results(&results, assumed).map_err(|why| fail(format!("{name}: {why}")))?;
    Ok(format!(
        "what each carries was measured ({}): {said}",
        folder.display()
    ))
}

/// What one machine did in a run is what one machine can do: no less, and nothing is added.
fn from_results(results: &Value, assumed: &mut Assumptions) -> Result<String, String> {
    let verdict = results["verdict"].as_str().unwrap_or("missing");
    if !["ok", "threshold"].contains(&verdict) {
        return Err(format!(
            "the verdict of the run is {verdict}: its figures do not count"
        ));
    }
    let number = |path: &str| path.split('.').fold(results, |at, key| &at[key]).as_f64();
    let needed = |path: &str| {
        let value = number(path).filter(|value| *value > 0.0);
        value.ok_or_else(|| format!("there is no {path}"))
    };
    let achieved = needed("rates.achieved")?;
    let sending = needed("sending_seconds")?;
    let pushes = needed("counts.message_pushes")? / sending;
    let connections = needed("gateway.connections")?;
    let own = match number("hold.bytes_per_connection.after_messages.gateway") {
        Some(bytes) => bytes,
        // All that it has, the program itself included: more than a connection takes.
        None => needed("gateway.rss_bytes")? / connections,
    };
    // Of both ends, which are on one machine.
    let kernel = number("hold.bytes_per_connection.after_messages.kernel");
    let each = own + kernel.map_or(KERNEL_BYTES, |both| both / 2.0);
    assumed.messages_per_server = Rate(achieved);
    assumed.deliveries_per_server = Rate(pushes.max(achieved));
    assumed.connections_per_server = connections as u64;
    assumed.memory_per_connection = Bytes(each.ceil() as u64);
    if let Some(opened) = number("hold.opening.sessions_per_second").filter(|rate| *rate > 0.0) {
        assumed.sessions_per_server = Rate(opened);
    }
    Ok(format!(
        "{} connections, {} messages/s, {} pushes/s, {} B a connection; the run offered no more, so \
         a machine may carry more",
        readable(connections),
        readable(achieved),
        readable(assumed.deliveries_per_server.0),
        each.ceil()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summary() -> Value {
        json!({
            "verdict": "ok",
            "rates": { "achieved": 2018.0 },
            "sending_seconds": 20.0,
            "counts": { "message_pushes": 80_720 },
            "gateway": { "connections": 2000, "rss_bytes": 33_554_432 },
        })
    }

    #[test]
    fn a_run_tells_what_a_machine_did() {
        let mut assumed = Assumptions::default();
        let said = from_results(&summary(), &mut assumed).unwrap();
        assert!(said.contains("2,018 messages/s"), "{said}");
        assert_eq!(assumed.messages_per_server, Rate(2018.0));
        assert_eq!(assumed.deliveries_per_server, Rate(4036.0));
        assert_eq!(assumed.connections_per_server, 2000);
        // 33,554,432 / 2,000 = 16,777.2, and 4,200.
        assert_eq!(assumed.memory_per_connection, Bytes(20_978));
        assert_eq!(assumed.sessions_per_server, Rate(10_000.0));
    }

    #[test]
    fn a_hold_tells_memory_and_opening_apart() {
        let mut results = summary();
        results["hold"] = json!({
            "bytes_per_connection": { "after_messages": { "gateway": 433.0, "kernel": 8348.0 } },
            "opening": { "sessions_per_second": 18_704.0 },
        });
        let mut assumed = Assumptions::default();
        from_results(&results, &mut assumed).unwrap();
        assert_eq!(assumed.memory_per_connection, Bytes(433 + 4174));
        assert_eq!(assumed.sessions_per_server, Rate(18_704.0));
    }

    #[test]
    fn what_does_not_count_is_not_planned_with() {
        for (path, value, words) in [
            ("verdict", json!("invalid"), "invalid"),
            ("verdict", json!("violation"), "violation"),
            ("verdict", Value::Null, "missing"),
            ("rates", Value::Null, "rates.achieved"),
            ("gateway", Value::Null, "gateway.connections"),
            ("sending_seconds", json!(0.0), "sending_seconds"),
        ] {
            let mut results = summary();
            results[path] = value;
            let why = from_results(&results, &mut Assumptions::default()).unwrap_err();
            assert!(why.contains(words), "{path}: {why}");
        }
    }
}
