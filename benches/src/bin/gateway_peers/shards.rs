//! Measures the same load on one shard and on many.

use anyhow::Context;
use trunkline_benches::figures::{self, median};

use crate::Args;
use crate::contender::Contender;
use crate::messages::{WORK, per_message, work};
use crate::targets::Targets;

/// A million connections need 51 descriptor tables of 20,000.
const SHARDS: [usize; 3] = [1, 2, 51];

pub(crate) fn run(args: &Args, _: &mut Targets) -> anyhow::Result<()> {
    println!(
        "Shards: {} connections in pairs, {} B of text, JSON; medians of {} rounds of {} s in turns",
        args.connections, args.bytes, args.rounds, args.seconds
    );
    let gateways: Vec<Contender> = SHARDS
        .iter()
        .map(|&shards| Contender::gateway(args, shards).with_context(|| format!("{shards} shards")))
        .collect::<anyhow::Result<_>>()?;
    for window in [1, 16] {
        let mut rates = vec![Vec::new(); SHARDS.len()];
        let mut micros = rates.clone();
        let befores: Vec<_> = gateways.iter().map(work).collect::<Result<_, _>>()?;
        for _ in 0..args.rounds {
            for (i, gateway) in gateways.iter().enumerate() {
                let measured = gateway.measure(args, window)?;
                rates[i].push(measured.rate);
                micros[i].push(measured.micros);
            }
        }
        let mut lines = Vec::new();
        for (i, gateway) in gateways.iter().enumerate() {
            let ratios = rates[i].iter().zip(&rates[0]).map(|(a, b)| a / b);
            let mut line = vec![
                SHARDS[i].to_string(),
                figures::short(median(rates[i].clone())),
                format!("{:.2}", median(micros[i].clone())),
                format!("{:.2}", median(ratios.collect())),
            ];
            line.extend(per_message(&befores[i], &work(gateway)?));
            lines.push(line);
        }
        let flight = format!("shards, {window} in flight");
        let mut head = vec![flight.as_str(), "messages/s", "µs CPU each", "÷ one"];
        head.extend(WORK.map(|(_, name)| name));
        println!("{}", figures::table(&head, &lines));
    }
    Ok(())
}
