//! `trunkline doctor` and `loadgen doctor`: how many connections this machine can carry. Shows each
//! limit of the machine, and the command that raises it.

mod disk;
mod limits;
mod rows;

use std::io;
use std::path::PathBuf;

use indicatif::HumanCount;
use serde_json::json;
use trunkline_gateway::shard::descriptors;

use crate::print;

pub use limits::Limits;
pub use rows::{Row, Verdict};
pub use trunkline_core::directory::MAX_SHARDS;

/// The number of connections of the average shard, divided by that of the fullest shard. The kernel
/// spreads connections by chance: of 128 shards with 18,000 connections on average, the fullest has
/// 2 % more.
const SPREAD: f64 = 0.95;

/// The flags of `doctor`.
#[derive(Debug, Clone, clap::Args)]
pub struct DoctorArgs {
    /// Number of connections that the machine is to carry
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = wanted())]
    pub connections: u64,
    /// Folder of the store, or one on the same disk: the disk's sync time is measured there
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub data: PathBuf,
    /// Count both ends of each connection, because the clients run on this machine too
    #[arg(long)]
    pub both_ends: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// The maximum number of connections that can be asked for: more than any machine carries, and
/// small enough for exact sums.
const WANTED_MAX: u64 = 1_000_000_000_000;

fn wanted() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=WANTED_MAX)
}

/// The load that the machine is to carry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    connections: u64,
    both_ends: bool,
}

impl Wish {
    /// Returns the number of ends of a connection on this machine: 1 or 2.
    fn ends(&self) -> u64 {
        if self.both_ends { 2 } else { 1 }
    }
}

/// Examines this machine and prints what it finds.
///
/// # Errors
/// Standard output does not take the result. A disk that cannot be measured is a row of the result.
pub fn run(args: &DoctorArgs) -> io::Result<()> {
    let wish = Wish {
        connections: args.connections.max(1),
        both_ends: args.both_ends,
    };
    let sync = disk::measure(&args.data);
    let mut rows = rows::rows(&Limits::read(), &wish, sync.as_ref().ok());
    if let Err(why) = sync {
        rows.push(Row {
            name: "disk sync",
            now: format!("{}: {why}", args.data.display()),
            allows: "not measured".into(),
            connections: None,
            verdict: Verdict::Low,
            fix: Some("name a folder that can be written to (--data DIR)".into()),
        });
    }
    let text = if args.json {
        format!("{:#}\n", json(&wish, &rows))
    } else {
        text(&wish, &rows)
    };
    print::text(&text)
}

/// Returns the limit that allows the fewest connections, and their number.
fn lowest(rows: &[Row]) -> Option<(&Row, u64)> {
    let limiting = rows.iter().filter_map(|row| Some((row, row.connections?)));
    limiting.min_by_key(|(_, connections)| *connections)
}

fn json(wish: &Wish, rows: &[Row]) -> serde_json::Value {
    let lowest = lowest(rows);
    json!({
        "wanted": wish.connections,
        "both_ends": wish.both_ends,
        "carries": lowest.map(|(_, connections)| connections),
        "limited_by": lowest.map(|(row, _)| row.name),
        "low": rows.iter().filter(|row| row.verdict == Verdict::Low).count(),
        "rows": rows,
    })
}

fn text(wish: &Wish, rows: &[Row]) -> String {
    let width = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max();
    let name = width(|row| row.name).unwrap_or(0);
    let now = width(|row| &row.now).unwrap_or(0);
    let mut out = format!(
        "wanted: {} connections{}\n\n{:4} {:name$}  {:now$}  {:>12}  allows\n",
        HumanCount(wish.connections),
        if wish.both_ends {
            ", both ends on this machine"
        } else {
            ""
        },
        "",
        "limit",
        "now",
        "connections",
    );
    for row in rows {
        let verdict = match row.verdict {
            Verdict::Ok => "OK",
            Verdict::Low => "LOW",
        };
        let connections = row
            .connections
            .map_or(String::new(), |n| HumanCount(n).to_string());
        out += &format!(
            "{verdict:4} {:name$}  {:now$}  {connections:>12}  {}\n",
            row.name, row.now, row.allows
        );
        if let Some(fix) = &row.fix {
            out += &format!("{:4} {:name$}  fix: {fix}\n", "", "");
        }
    }
    if let Some((row, connections)) = lowest(rows) {
        out += &format!(
            "\ncarries {} connections; the limit is {}\n",
            HumanCount(connections),
            row.name
        );
    }
    out
}

/// Returns the number of connections of one shard, if a table has `limit` descriptors and there are
/// several shards.
fn per_shard(limit: u64) -> u64 {
    (limit.saturating_sub(descriptors::RESERVED) as f64 * SPREAD) as u64
}

/// Returns the number of shards that a gateway needs to hold `connections` connections, if one
/// descriptor table has `limit` descriptors. `None` if no number of shards is enough.
pub fn shards_for(connections: u64, limit: u64) -> Option<u64> {
    if connections <= limit.saturating_sub(descriptors::RESERVED) {
        return Some(1);
    }
    (1..=MAX_SHARDS as u64).find(|shards| connections <= shards * per_shard(limit))
}

/// Returns the descriptor limit with which a gateway of `shards` shards (at least one) holds
/// `connections` connections.
pub fn limit_for(connections: u64, shards: u64) -> u64 {
    if shards <= 1 {
        return connections + descriptors::RESERVED;
    }
    let each = connections.div_ceil(shards) + 1;
    (each as f64 / SPREAD).ceil() as u64 + descriptors::RESERVED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_follow_from_the_descriptor_limit() {
        for (connections, limit, shards) in [
            (10_000, 20_000, Some(1)),
            (19_488, 20_000, Some(1)),
            (19_489, 20_000, Some(2)),
            (1_000_000, 20_000, Some(55)),
            (2_000_000, 20_000, Some(109)),
            (3_000_000, 20_000, None),
            (2_000_000, 1_048_576, Some(3)),
            (1, 100, None),
        ] {
            let found = shards_for(connections, limit);
            assert_eq!(found, shards, "{connections}, {limit}");
        }
        for connections in [1, 1_000_000, 5_000_000] {
            for shards in [1, 2, 6, MAX_SHARDS as u64] {
                let limit = limit_for(connections, shards);
                let enough = shards_for(connections, limit).is_some_and(|n| n <= shards);
                assert!(enough, "{connections}, {shards}: {limit}");
                // And not far more than that.
                let less = (limit - descriptors::RESERVED) * 9 / 10 + descriptors::RESERVED;
                let enough = shards_for(connections, less).is_some_and(|n| n <= shards);
                assert!(
                    !enough || connections == 1,
                    "{connections}, {shards}: {less}"
                );
            }
        }
    }

    #[test]
    fn every_row_is_printed_and_the_lowest_is_named() {
        let row = |name, connections, verdict, fix: Option<&str>| Row {
            name,
            now: "1".into(),
            allows: "little".into(),
            connections,
            verdict,
            fix: fix.map(str::to_owned),
        };
        let rows = [
            row("memory", Some(7), Verdict::Low, Some("buy some")),
            row("files", Some(9_000), Verdict::Ok, None),
            row("cores", None, Verdict::Ok, None),
        ];
        let wish = Wish {
            connections: 8,
            both_ends: true,
        };
        let text = text(&wish, &rows);
        for line in [
            "LOW  memory",
            "fix: buy some",
            "OK   files",
            "carries 7 conn",
        ] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
        let json = json(&wish, &rows);
        assert_eq!((&json["carries"], &json["low"]), (&7.into(), &1.into()));
        assert_eq!(json["rows"][0]["verdict"], "LOW");
    }
}
