//! Compares both modes and finds the group size at which the cheaper one changes.

use std::time::Instant;

use anyhow::{Context, bail};
use trunkline_benches::figures::{grouped, short, table};
use trunkline_benches::metering::remark_between;
use trunkline_benches::talk::Talk;

use crate::catching_up::{self, Caught};
use crate::sending::{self, Sent};
use crate::{Args, Gateway};

/// The numbers of groups that missed messages are spread over.
const SPREADS: [usize; 2] = [1, 20];

/// The shares of online members for which the cheaper mode is computed.
const SHARES: [f64; 4] = [0.01, 0.1, 0.5, 1.0];

/// The costs of one mode at one group size.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    size: usize,
    /// The costs with few members online, and with all.
    sent: [Sent; 2],
    caught: [Caught; 2],
    /// The time to make the group in milliseconds.
    made: f64,
}

impl Cost {
    /// Returns the CPU time in microseconds per message, if a share of the members is online, and
    /// all others catch up later, together with 19 other groups.
    fn total(&self, share: f64, missed: usize) -> f64 {
        let members = (self.size - 1) as f64;
        let [few, all] = self.sent;
        let each = if all.online > few.online {
            (all.micros - few.micros) / (all.online - few.online) as f64
        } else {
            0.0
        };
        let online = share * members;
        let sending = few.micros + each * (online - few.online as f64);
        sending + (members - online) * self.caught[1].cpu * 1e3 / missed as f64
    }
}

struct Mode {
    name: &'static str,
    gateway: Gateway,
    owner: Talk,
    costs: Vec<Cost>,
}

impl Mode {
    fn start(args: &Args, name: &'static str, limit: usize) -> anyhow::Result<Self> {
        let gateway = Gateway::start(args, &[("fanout-limit", limit)])?;
        let owner = Talk::start(gateway.peer.address, "owner")?;
        Ok(Self {
            name,
            gateway,
            owner,
            costs: Vec::new(),
        })
    }

    fn measure(&mut self, args: &Args, size: usize) -> anyhow::Result<()> {
        // This session did not answer pings while the other mode was measured.
        self.owner = Talk::start(self.gateway.peer.address, "owner")?;
        let (peer, owner) = (&self.gateway.peer, &mut self.owner);
        let group = format!("g{size}");
        let names: Vec<String> = (0..size - 1).map(|i| format!("m{i}")).collect();
        let start = Instant::now();
        owner.make_group(&group, &names)?;
        let mut cost = Cost {
            size,
            made: start.elapsed().as_secs_f64() * 1e3,
            ..Cost::default()
        };
        for (sent, online) in cost.sent.iter_mut().zip([(size / 100).max(1), size - 1]) {
            *sent = sending::run(args, peer, owner, &group, online)?;
        }
        for (caught, groups) in cost.caught.iter_mut().zip(SPREADS) {
            *caught = catching_up::run(args, peer, owner, size, groups)?;
        }
        self.costs.push(cost);
        Ok(())
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut modes = [
        Mode::start(args, "push", 10_000)?,
        Mode::start(args, "pull", 1)?,
    ];
    let reading = |mode: &Mode| mode.gateway.peer.reading(args.segment_bytes);
    let before: Vec<_> = modes.iter().map(reading).collect::<Result<_, _>>()?;
    for &size in &args.sizes {
        for mode in &mut modes {
            mode.measure(args, size)?;
        }
    }
    println!(
        "Modes: groups whose events enter every member's timeline (push), or the group's (pull); \
         {} B of text, {} shard(s), {} s each",
        args.bytes, args.shards, args.seconds
    );
    print_sending(&modes);
    print_catching_up(args, &modes);
    print_totals(args, &modes);
    let mut steady = true;
    for (mode, before) in modes.iter().zip(&before) {
        let remark = remark_between(before, &reading(mode)?).context("no store")?;
        println!("{}, all sizes: {}", mode.name, remark.text);
        steady &= remark.steady;
    }
    if args.steady_or_fail && !steady {
        bail!("a store was not steady");
    }
    Ok(())
}

/// Returns a row for every mode at every size, and one that divides them.
fn rows(modes: &[Mode; 2], figures: impl Fn(&Cost) -> Vec<f64>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (push, pull) in modes[0].costs.iter().zip(&modes[1].costs) {
        let both = [figures(push), figures(pull)];
        for (mode, figures) in modes.iter().zip(&both) {
            let name = format!("{} {}", grouped(push.size as u64), mode.name);
            let cells = figures.iter().map(|&figure| short(figure));
            rows.push([name].into_iter().chain(cells).collect());
        }
        let ratios = both[0].iter().zip(&both[1]).map(|(push, pull)| push / pull);
        let cells = ratios.map(|ratio| match ratio.is_finite() {
            true => format!("×{}", short(ratio)),
            false => "-".to_owned(),
        });
        rows.push(
            ["  push:pull".to_owned()]
                .into_iter()
                .chain(cells)
                .collect(),
        );
    }
    rows
}

fn print_sending(modes: &[Mode; 2]) {
    println!("\nSending, with 1 % of the members online and with all:");
    let rows = rows(modes, |cost| {
        let [few, all] = &cost.sent;
        vec![
            cost.made,
            few.log_bytes,
            few.merged_bytes,
            few.per_second,
            few.micros,
            all.per_second,
            all.micros,
            all.micros / all.online as f64,
        ]
    });
    let head = [
        "members",
        "to make, ms",
        "log B/msg",
        "merged B/msg",
        "1 %: msg/s",
        "CPU µs/msg",
        "all: msg/s",
        "CPU µs/msg",
        "CPU µs/push",
    ];
    println!("{}", table(&head, &rows));
}

fn print_catching_up(args: &Args, modes: &[Mode; 2]) {
    println!(
        "Catching up on {} messages of 1 group, and of 20, in pages of 500:",
        grouped(args.missed as u64)
    );
    let rows = rows(modes, |cost| {
        let each = cost.caught.iter();
        each.flat_map(|c| [c.page, c.whole, c.cpu, c.nothing * 1e3])
            .collect()
    });
    let head = [
        "members",
        "1: page ms",
        "all ms",
        "CPU ms",
        "nothing, CPU µs",
        "20: page ms",
        "all ms",
        "CPU ms",
        "nothing, CPU µs",
    ];
    println!("{}", table(&head, &rows));
}

fn print_totals(args: &Args, modes: &[Mode; 2]) {
    println!("CPU µs per message until all members have it, by the share of them online:");
    let rows = rows(modes, |cost| {
        SHARES.map(|share| cost.total(share, args.missed)).to_vec()
    });
    let head = ["members", "1 %", "10 %", "50 %", "100 %"];
    println!("{}", table(&head, &rows));
    for share in SHARES {
        let both = modes[0].costs.iter().zip(&modes[1].costs);
        let within = both.filter(|(push, pull)| {
            push.total(share, args.missed) <= pull.total(share, args.missed)
        });
        let limit = within.map(|(push, _)| push.size).max();
        let limit = limit.map_or("none".to_owned(), |size| grouped(size as u64));
        println!(
            "  largest size with push the cheaper, {:3.0} % online: {limit}",
            share * 100.0
        );
    }
    println!();
}
