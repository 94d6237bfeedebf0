//! Measures the same load on one shard and on many.

use anyhow::Context;
use trunkline_benches::figures;
use trunkline_benches::metering::SECONDS;

use crate::Args;
use crate::contender::Contender;
use crate::messages::{WORK, per_message, work};
use crate::table::Row;
use crate::targets::Targets;

/// A million connections need 51 descriptor tables of 20,000.
const SHARDS: [usize; 3] = [1, 2, 51];

pub(crate) fn run(args: &Args, targets: &mut Targets) -> anyhow::Result<()> {
    let (rounds, time) = (args.rounds(1), args.time(SECONDS));
    println!(
        "Shards: {} connections in pairs, {} B of text, JSON; medians of {rounds} rounds in turns, \
         of {} s each and up to half as many more until the store is steady",
        args.connections,
        args.bytes,
        time.as_secs_f64()
    );
    for window in [1, 16] {
        let mut rows: [Row; SHARDS.len()] = Default::default();
        let mut works = vec![Vec::new(); SHARDS.len()];
        for _ in 0..rounds {
            for (i, shards) in SHARDS.into_iter().enumerate() {
                // A new gateway, so that the disk does not have to hold the messages of all.
                let gateway =
                    Contender::gateway(args, shards).with_context(|| format!("{shards} shards"))?;
                let before = work(&gateway)?;
                rows[i].add(gateway.measure(args, window, time)?);
                works[i] = per_message(&before, &work(&gateway)?);
            }
        }
        let flight = format!("shards, {window} in flight");
        let mut lines = Vec::new();
        let mut worked = Vec::new();
        for ((row, work), shards) in rows.iter().zip(works).zip(SHARDS) {
            let name = shards.to_string();
            lines.push(row.cells(args, &name, row.ratio(&rows[0])));
            worked.push(std::iter::once(name).chain(work).collect());
        }
        print!("{}", figures::table(&Row::head(&flight, "÷ one"), &lines));
        for (row, shards) in rows.iter().zip(SHARDS) {
            if let Some(last) = row.last() {
                targets.steady(&format!("{shards} shards"), last);
            }
        }
        let head: Vec<&str> = std::iter::once(flight.as_str())
            .chain(WORK.map(|(_, name)| name))
            .collect();
        println!("\n{}", figures::table(&head, &worked));
    }
    Ok(())
}
