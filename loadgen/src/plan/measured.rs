//! The capacity of a machine, from results instead of assumptions.
//!
//! A run gives the rates of messages and pushes, a search gives those of the highest rate that
//! held, and a hold gives the number of connections, their memory and the rate of opening them.

use std::path::Path;

use serde_json::Value;

use crate::exit::{Failure, Outcome};
use crate::scenario::plan::Assumptions;
use crate::units::{Bytes, Rate, readable};

/// The files with results.
const RUN: &str = "summary.json";
const HOLD: &str = "hold.json";
const FIND_MAX: &str = "find-max.json";

/// Replaces assumptions by the results in `folder`. Returns a sentence on what was replaced.
///
/// # Errors
/// Exit 104: there are no results, or they do not count.
pub(super) fn apply(folder: &Path, assumed: &mut Assumptions) -> Outcome<String> {
    let said = [RUN, HOLD, FIND_MAX]
        .iter()
        .find_map(|name| read(folder, name).map(|results| (*name, results)))
        .ok_or_else(|| format!("no {RUN}, {HOLD} or {FIND_MAX} is there"))
        .and_then(|(name, results)| {
            let results = results?;
            let said = match name {
                HOLD => connections(&results, assumed),
                FIND_MAX => highest_trial(folder, &results)
                    .and_then(|trial| messages(&trial, assumed))
                    .map(|said| format!("{said}, the highest rate that held")),
                _ => messages(&results, assumed)
                    .map(|said| format!("{said}: what was offered, perhaps not the limit")),
            };
            said.map_err(|why| format!("{name}: {why}"))
        });
    let said =
        said.map_err(|why| Failure::scenario(format!("--measured {}: {why}", folder.display())))?;
    Ok(format!("measured ({}): {said}", folder.display()))
}

/// Returns a JSON file of a folder; `None` if it is missing.
fn read(folder: &Path, name: &str) -> Option<Result<Value, String>> {
    let text = std::fs::read_to_string(folder.join(name)).ok()?;
    Some(serde_json::from_str(&text).map_err(|why| format!("{name}: {why}")))
}

/// Returns the results of the trial that held at the highest rate of a `find-max`, the first of
/// them.
fn highest_trial(folder: &Path, found: &Value) -> Result<Value, String> {
    let rate = found["rate"].as_f64().ok_or("no rate was found to hold")?;
    let mut trials = found["trials"].as_array().into_iter().flatten();
    let held = trials.find(|trial| trial["offered"] == rate && trial["verdict"] == "ok");
    let number = held.and_then(|trial| trial["trial"].as_u64());
    let name = format!("trial-{:02}/summary.json", number.unwrap_or(0));
    read(folder, &name).unwrap_or_else(|| Err(format!("{name} is missing")))
}

/// Returns a number of the results of a run that counts: above 0.
fn number(results: &Value, path: &str) -> Result<f64, String> {
    let value = path.split('.').fold(results, |at, key| &at[key]).as_f64();
    let value = value.filter(|value| *value > 0.0);
    value.ok_or_else(|| format!("there is no {path}"))
}

/// Returns whether the results of a run count.
fn counts(results: &Value) -> Result<(), String> {
    let verdict = results["verdict"].as_str().unwrap_or("missing");
    if ["ok", "threshold"].contains(&verdict) {
        return Ok(());
    }
    Err(format!(
        "the verdict of the run is {verdict}: its figures do not count"
    ))
}

/// Takes the rates of a run as the capacity of a machine.
fn messages(results: &Value, assumed: &mut Assumptions) -> Result<String, String> {
    counts(results)?;
    let achieved = number(results, "rates.achieved")?;
    // What came after the schedule's end was no part of the rate.
    let in_time = number(results, "counts.message_pushes_in_time");
    let pushes = in_time.or_else(|_| number(results, "counts.message_pushes"))?
        / number(results, "sending_seconds")?;
    assumed.messages_per_server = Rate(achieved);
    assumed.deliveries_per_server = Rate(pushes);
    Ok(format!(
        "{} messages/s and {} pushes/s",
        readable(achieved),
        readable(pushes)
    ))
}

/// Takes the connections of a hold, and the memory of each, as the capacity of a machine.
fn connections(results: &Value, assumed: &mut Assumptions) -> Result<String, String> {
    counts(results)?;
    let held = number(results, "hold.opened")?;
    let each = |of: &str| {
        number(
            results,
            &format!("hold.bytes_per_connection.after_messages.{of}"),
        )
    };
    // The kernel's is of both ends, which were on one machine.
    let bytes = (each("gateway")? + each("kernel")? / 2.0).ceil();
    let opened = number(results, "hold.opening.sessions_per_second")?;
    assumed.connections_per_server = held as u64;
    assumed.memory_per_connection = Bytes(bytes as u64);
    assumed.sessions_per_server = Rate(opened);
    Ok(format!(
        "{} connections of {bytes} B, {} opened per second",
        readable(held),
        readable(opened)
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
        })
    }

    #[test]
    fn a_run_tells_what_a_machine_did() {
        let mut assumed = Assumptions::default();
        let said = messages(&summary(), &mut assumed).unwrap();
        assert_eq!(said, "2,018 messages/s and 4,036 pushes/s");
        assert_eq!(assumed.messages_per_server, Rate(2018.0));
        assert_eq!(assumed.deliveries_per_server, Rate(4036.0));
        // How many connections a machine holds is another question.
        assert_eq!(assumed.connections_per_server, 50_000);
        assert_eq!(assumed.memory_per_connection, Bytes(5_000));
    }

    #[test]
    fn a_search_tells_the_rate_that_held() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, value: &Value| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value.to_string()).unwrap();
        };
        let trial = |number: u64, offered: f64, verdict: &str| json!({ "trial": number, "offered": offered, "verdict": verdict });
        write(
            "find-max.json",
            &json!({
                "rate": 2000.0,
                "trials": [trial(1, 1000.0, "ok"), trial(2, 2000.0, "threshold"), trial(3, 2000.0, "ok")],
            }),
        );
        let mut assumed = Assumptions::default();
        let missing = apply(folder.path(), &mut assumed).unwrap_err();
        assert!(missing.message.contains("trial-03"), "{missing}");
        write("trial-03/summary.json", &summary());
        let said = apply(folder.path(), &mut assumed).unwrap();
        assert!(said.contains("the highest rate that held"), "{said}");
        assert_eq!(assumed.messages_per_server, Rate(2018.0));
        write("find-max.json", &json!({ "rate": null, "trials": [] }));
        let nothing = apply(folder.path(), &mut assumed).unwrap_err();
        assert!(nothing.message.contains("no rate was found"), "{nothing}");
    }

    #[test]
    fn a_hold_tells_connections_memory_and_opening() {
        let mut results = summary();
        results["hold"] = json!({
            "opened": 1_000_000,
            "bytes_per_connection": { "after_messages": { "gateway": 433.0, "kernel": 8348.0 } },
            "opening": { "sessions_per_second": 18_704.0 },
        });
        let mut assumed = Assumptions::default();
        connections(&results, &mut assumed).unwrap();
        assert_eq!(assumed.connections_per_server, 1_000_000);
        assert_eq!(assumed.memory_per_connection, Bytes(433 + 4174));
        assert_eq!(assumed.sessions_per_server, Rate(18_704.0));
        // Its light traffic is not what a machine can do.
        assert_eq!(assumed.messages_per_server, Rate(50_000.0));
        results["hold"]["opening"] = Value::Null;
        let why = connections(&results, &mut assumed).unwrap_err();
        assert!(why.contains("hold.opening.sessions_per_second"), "{why}");
    }

    #[test]
    fn what_does_not_count_is_not_planned_with() {
        for (path, value, words) in [
            ("verdict", json!("invalid"), "invalid"),
            ("verdict", json!("violation"), "violation"),
            ("verdict", Value::Null, "missing"),
            ("rates", Value::Null, "rates.achieved"),
            ("counts", Value::Null, "counts.message_pushes"),
            ("sending_seconds", json!(0.0), "sending_seconds"),
        ] {
            let mut results = summary();
            results[path] = value;
            let why = messages(&results, &mut Assumptions::default()).unwrap_err();
            assert!(why.contains(words), "{path}: {why}");
        }
    }
}
