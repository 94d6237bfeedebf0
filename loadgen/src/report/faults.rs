//! The table of faults: what each kind cost.

use serde_json::{Value, json};

use crate::clock::{Nanos, seconds};
use crate::units::grouped;
use crate::verdict::FaultRecord;

/// What faults of one kind cost.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FaultRow {
    /// The kind, such as `kill-node of the leader`.
    pub(crate) kind: String,
    /// The number of faults.
    pub(crate) trials: usize,
    /// The longest time without an acknowledgement of each fault, in order; without those after which
    /// nothing was acknowledged.
    silences: Vec<Nanos>,
    /// The number of faults after which nothing was acknowledged.
    never: usize,
    /// Sessions that broke.
    broken: u64,
    /// Sends that were answered with an error which leaves their fate open (115).
    unsure: u64,
}

/// Returns a row for each kind of fault, in the order of their names.
pub(crate) fn rows<'a>(faults: impl IntoIterator<Item = &'a FaultRecord>) -> Vec<FaultRow> {
    let mut rows: Vec<FaultRow> = Vec::new();
    for fault in faults {
        let kind = fault.kind();
        let place = rows.iter().position(|it| it.kind == kind);
        let place = place.unwrap_or_else(|| {
            rows.push(FaultRow {
                kind,
                trials: 0,
                silences: Vec::new(),
                never: 0,
                broken: 0,
                unsure: 0,
            });
            rows.len() - 1
        });
        let row = &mut rows[place];
        row.trials += 1;
        row.broken += fault.broken;
        row.unsure += fault.unsure;
        match fault.unacknowledged {
            Some(silence) => row.silences.push(silence),
            None => row.never += 1,
        }
    }
    for row in &mut rows {
        row.silences.sort_unstable();
    }
    rows.sort_by(|a, b| a.kind.cmp(&b.kind));
    rows
}

impl FaultRow {
    /// Returns the median of the times without acknowledgement.
    fn p50(&self) -> Option<Nanos> {
        let middle = self.silences.len().checked_sub(1)? / 2;
        self.silences.get(middle).copied()
    }

    fn max(&self) -> Option<Nanos> {
        self.silences.last().copied()
    }

    /// Returns the row for programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "fault": self.kind,
            "trials": self.trials,
            "unacknowledged_p50_s": self.p50().map(seconds),
            "unacknowledged_max_s": self.max().map(seconds),
            "not_acknowledged_again": self.never,
            "sessions_broken": self.broken,
            "unsure": self.unsure,
        })
    }
}

/// Returns the table for people.
pub(crate) fn lines(rows: &[FaultRow]) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let time =
        |at: Option<Nanos>| at.map_or("–".to_owned(), |at| format!("{:.3} s", seconds(at)));
    let mut lines = vec![format!(
        "{:<26} {:>6} {:>12} {:>10} {:>9} {:>12}",
        "fault", "trials", "silence p50", "max", "broken", "unsure (115)"
    )];
    lines.extend(rows.iter().map(|row| {
        let never = match row.never {
            0 => String::new(),
            never => format!("; not acknowledged again {never} times"),
        };
        format!(
            "{:<26} {:>6} {:>12} {:>10} {:>9} {:>12}{never}",
            row.kind,
            row.trials,
            time(row.p50()),
            time(row.max()),
            grouped(row.broken),
            grouped(row.unsure)
        )
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;

    fn fault(text: &str, led: bool, silence: Option<Nanos>) -> FaultRecord {
        FaultRecord {
            fault: text.parse().unwrap(),
            victims: vec!["a".into()],
            led,
            at: 0,
            down: None,
            ready: None,
            back: None,
            broken: 2,
            unacknowledged: silence,
            unsure: 1,
            began: 0,
            ended_before: 0,
            unsure_before: 0,
        }
    }

    #[test]
    fn faults_of_one_kind_are_one_row() {
        let faults = [
            fault("kill-node:a@1s", true, Some(3 * SECOND)),
            fault("kill-node:leader@2s", true, Some(SECOND)),
            fault("kill-node:b@3s", true, Some(2 * SECOND)),
            fault("kill-node:b@4s", false, Some(SECOND / 10)),
            fault("stop-nats:1@5s", false, None),
            fault("kill-node:all@6s", true, Some(4 * SECOND)),
        ];
        let rows = rows(&faults);
        let kinds: Vec<_> = rows.iter().map(|it| (&*it.kind, it.trials)).collect();
        assert_eq!(
            kinds,
            [
                ("kill-node of a follower", 1),
                ("kill-node of all", 1),
                ("kill-node of the leader", 3),
                ("stop-nats of one", 1)
            ]
        );
        let leader = rows[2].json();
        assert_eq!(leader["unacknowledged_p50_s"], 2.0);
        assert_eq!(leader["unacknowledged_max_s"], 3.0);
        assert_eq!(
            (&leader["sessions_broken"], &leader["unsure"]),
            (&json!(6), &json!(3))
        );
        assert_eq!(rows[3].json()["unacknowledged_max_s"], Value::Null);
        let text = lines(&rows).join("\n");
        assert!(text.contains("not acknowledged again 1 times"), "{text}");
        assert!(text.contains("2.000 s    3.000 s"), "{text}");
    }
}
