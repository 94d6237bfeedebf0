//! Appends beside a bare write.

use std::path::Path;

use anyhow::bail;
use trunkline_benches::appends::Appended;
use trunkline_benches::child::{self, BARE, Seat, TRUNKLINE};
use trunkline_benches::figures::{grouped, median, short};
use trunkline_contender::{Command, Setup};

use crate::{Args, Row};

/// Returns the targets for appends.
pub(crate) fn measure(args: &Args, dir: &Path) -> anyhow::Result<Appends> {
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
    let mut appended: [Vec<[Appended; 2]>; 2] = Default::default();
    for _ in 0..args.rounds {
        for (appended, group) in appended.iter_mut().zip([64, 1000]) {
            let millis = args.millis;
            let measure = |seat: &mut Seat| {
                let reply = seat.tell(Command::Append { group, millis })?;
                Appended::of(&reply)
            };
            let [bare, ours] = &mut seats[..] else {
                bail!("there are two seats");
            };
            appended.push([measure(bare)?, measure(ours)?]);
        }
    }
    for (seat, name) in seats.into_iter().zip([BARE, TRUNKLINE]) {
        drop(seat);
        std::fs::remove_dir_all(dir.join(name))?;
    }
    let ratio = |rounds: &[[Appended; 2]]| {
        let ratios = rounds.iter().map(|[bare, ours]| ours.rate / bare.rate);
        median(ratios.collect())
    };
    let rate = |rounds: &[[Appended; 2]]| {
        let rates = rounds.iter().map(|[_, ours]| ours.rate);
        median(rates.collect())
    };
    let [small, large] = &appended;
    let more = format!(" ({}/s)", grouped(rate(small) as u64));
    let also = format!(" ({} × bare)", short(ratio(large)));
    let rows = vec![
        Row::at_least(
            "appends in groups of 64",
            ratio(small),
            0.85,
            "× bare",
            &more,
        ),
        Row::at_least("appends in groups of 1,000", rate(large), 2e6, "/s", &also),
        Row::elsewhere(
            "appends beside other stores",
            "≥ 3 × the best",
            "store-peers",
        ),
    ];
    let mut all = small.iter().chain(large);
    Ok(Appends {
        rows,
        remarks: [("64", small), ("1,000", large)].map(|(of, rounds)| remark(of, rounds)),
        steady: all.all(|[_, ours]| ours.steady != Some(false)),
    })
}

/// The targets for appends.
pub(crate) struct Appends {
    pub(crate) rows: Vec<Row>,
    /// How even the appends in each size of groups were.
    pub(crate) remarks: [String; 2],
    /// Whether our store was steady in all measurements.
    pub(crate) steady: bool,
}

/// Returns how even the last round was, and whether our store was steady.
fn remark(group: &str, rounds: &[[Appended; 2]]) -> String {
    let Some([_, ours]) = rounds.last() else {
        return String::new();
    };
    format!(
        "groups of {group}: worst second {} of the mean, last ÷ first {}, background {} of the CPU, \
         {} bytes written per byte of text\n  {}",
        short(ours.worst_of_mean),
        short(ours.last_of_first),
        short(ours.background),
        ours.written_per_byte.map_or_else(|| "-".into(), short),
        ours.verdict.as_deref().unwrap_or_default()
    )
}
