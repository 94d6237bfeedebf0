//! Appends beside a bare write.

use std::path::Path;

use trunkline_benches::child::{self, BARE, Seat, TRUNKLINE};
use trunkline_benches::figures::{grouped, median, short};
use trunkline_contender::{Command, Setup};

use crate::{Args, Row};

/// Returns the targets for appends.
pub(crate) fn rows(args: &Args, dir: &Path) -> anyhow::Result<Vec<Row>> {
    let mut seats = Vec::new();
    for name in [BARE, TRUNKLINE] {
        let setup = Setup {
            dir: dir.join(name),
            timelines: args.timelines,
            // One message to each timeline, and half as many to the deep timelines.
            messages: args.timelines * 3 / 2,
            entries: 0,
            stored: 0,
        };
        let mut seat = Seat::start(&child::ours(name)?, &setup, true)?;
        if name == TRUNKLINE {
            let messages = setup.messages;
            seat.tell(Command::Load { messages })?;
        }
        seats.push(seat);
    }
    let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
    for _ in 0..args.rounds {
        for (rates, group) in rates.iter_mut().zip([64, 1000]) {
            for (rates, seat) in rates.iter_mut().zip(&mut seats) {
                let millis = args.millis;
                let reply = seat.tell(Command::Append { group, millis })?;
                rates.push(reply.get("rate")?);
            }
        }
    }
    for (seat, name) in seats.into_iter().zip([BARE, TRUNKLINE]) {
        drop(seat);
        std::fs::remove_dir_all(dir.join(name))?;
    }
    let ratio = |[bare, ours]: &[Vec<f64>; 2]| {
        median(
            ours.iter()
                .zip(bare)
                .map(|(ours, bare)| ours / bare)
                .collect(),
        )
    };
    let [small, large] = &rates;
    let (of_small, of_large) = (median(small[1].clone()), median(large[1].clone()));
    let more = format!(" ({}/s)", grouped(of_small as u64));
    let also = format!(" ({} × bare)", short(ratio(large)));
    Ok(vec![
        Row::at_least(
            "appends in groups of 64",
            ratio(small),
            0.8,
            "× bare",
            &more,
        ),
        Row::at_least("appends in groups of 1,000", of_large, 1.6e6, "/s", &also),
        Row::elsewhere(
            "appends beside other stores",
            "≥ 2 × the best",
            "store-peers",
        ),
    ])
}
