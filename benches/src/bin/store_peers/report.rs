//! Prints the results as medians with ratios.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use trunkline_benches::appends::Appended;
use trunkline_benches::child::BARE;
use trunkline_benches::figures::{grouped, median, short, table};
use trunkline_contender::BODY;

use crate::Args;
use crate::contest::Entrant;

/// All results.
#[derive(Serialize)]
pub(crate) struct Report {
    messages: u64,
    timelines: u64,
    body_bytes: usize,
    rounds: usize,
    contenders: Vec<Contender>,
    missing: Vec<Missing>,
    pub(crate) sections: Vec<Section>,
}

/// Prints the stores that took part.
#[derive(Serialize)]
struct Contender {
    name: String,
    version: String,
}

/// Prints the stores that could not be built.
#[derive(Serialize)]
pub(crate) struct Missing {
    pub(crate) contender: String,
    pub(crate) reason: String,
}

/// Prints the figures for this number of index entries per message.
#[derive(Serialize)]
pub(crate) struct Section {
    fanout: usize,
    appends: Vec<Appends>,
    reads_p50_micros: Vec<Ranked>,
    reads_p99_micros: Vec<Ranked>,
    opening_seconds: Vec<Ranked>,
    sizes: Vec<Size>,
}

#[derive(Serialize)]
struct Appends {
    group: usize,
    per_second: Vec<Ranked>,
    /// How even the appends of each contender were.
    evenness: Vec<Evenness>,
}

/// How even the appends of a contender were.
#[derive(Serialize)]
struct Evenness {
    contender: String,
    #[serde(flatten)]
    appended: Appended,
}

/// A contender's median, and the medians of its ratios to others in the same round.
#[derive(Serialize)]
struct Ranked {
    contender: String,
    median: f64,
    to_bare: Option<f64>,
    /// The ratio to the best of the other stores.
    to_best_other: Option<f64>,
}

/// The disk and memory of a contender with all messages in it, before the appends.
#[derive(Clone, Serialize)]
pub(crate) struct Size {
    pub(crate) contender: String,
    pub(crate) memory_bytes: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) files: u64,
}

/// The figures of each round, by contender.
type Rounds = BTreeMap<String, Vec<f64>>;

/// All figures of all rounds.
#[derive(Default)]
pub(crate) struct Measured {
    appends: BTreeMap<usize, BTreeMap<String, Appended>>,
    openings: Rounds,
    p50: Rounds,
    p99: Rounds,
}

impl Measured {
    pub(crate) fn append(&mut self, contender: &str, group: usize, appended: Appended) {
        let group = self.appends.entry(group).or_default();
        group.insert(contender.into(), appended);
    }

    pub(crate) fn opening(&mut self, contender: &str, seconds: f64) {
        add(&mut self.openings, contender, seconds);
    }

    pub(crate) fn read(&mut self, contender: &str, p50: f64, p99: f64) {
        add(&mut self.p50, contender, p50);
        add(&mut self.p99, contender, p99);
    }

    pub(crate) fn section(&self, fanout: usize, names: &[&str], sizes: Vec<Size>) -> Section {
        let appends = self.appends.iter();
        Section {
            fanout,
            appends: appends
                .map(|(&group, appended)| appends_of(names, group, appended))
                .collect(),
            reads_p50_micros: rank(names, &self.p50, f64::min),
            reads_p99_micros: rank(names, &self.p99, f64::min),
            opening_seconds: rank(names, &self.openings, f64::min),
            sizes: names
                .iter()
                .filter_map(|name| sizes.iter().find(|size| size.contender == **name))
                .cloned()
                .collect(),
        }
    }
}

/// Returns the appends in groups of this size.
fn appends_of(names: &[&str], group: usize, appended: &BTreeMap<String, Appended>) -> Appends {
    let rates = appended
        .iter()
        .map(|(name, appended)| (name.clone(), vec![appended.rate]))
        .collect();
    let evenness = |name: &&str| {
        Some(Evenness {
            contender: (*name).to_owned(),
            appended: appended.get(*name)?.clone(),
        })
    };
    Appends {
        group,
        per_second: rank(names, &rates, f64::max),
        evenness: names.iter().filter_map(evenness).collect(),
    }
}

fn add(rounds: &mut Rounds, contender: &str, value: f64) {
    rounds.entry(contender.into()).or_default().push(value);
}

/// Ranks the contenders in the order of `names`. `better` returns the better of two medians.
fn rank(names: &[&str], rounds: &Rounds, better: fn(f64, f64) -> f64) -> Vec<Ranked> {
    let medians: BTreeMap<&str, f64> = rounds
        .iter()
        .map(|(name, values)| (&**name, median(values.clone())))
        .collect();
    let ratio = |name: &str, other: &str| {
        let (mine, theirs) = (rounds.get(name)?, rounds.get(other)?);
        Some(median(
            mine.iter().zip(theirs).map(|(a, b)| a / b).collect(),
        ))
    };
    let best_other = |name: &str| {
        let others = medians
            .iter()
            .filter(|other| ![name, BARE].contains(other.0));
        others
            .reduce(|a, b| match better(*a.1, *b.1).total_cmp(a.1).is_eq() {
                true => a,
                false => b,
            })
            .map(|best| *best.0)
    };
    let ranked = |name: &&str| {
        Some(Ranked {
            contender: (*name).to_owned(),
            median: *medians.get(name)?,
            to_bare: (*name != BARE).then(|| ratio(name, BARE)).flatten(),
            to_best_other: (*name != BARE)
                .then(|| ratio(name, best_other(name)?))
                .flatten(),
        })
    };
    names.iter().filter_map(ranked).collect()
}

impl Report {
    pub(crate) fn new(args: &Args, entrants: &[Entrant], missing: Vec<Missing>) -> Self {
        let contender = |entrant: &Entrant| Contender {
            name: entrant.name.clone(),
            version: entrant.version.clone(),
        };
        Report {
            messages: args.messages,
            timelines: args.timelines,
            body_bytes: BODY,
            rounds: args.rounds,
            contenders: entrants.iter().map(contender).collect(),
            missing,
            sections: Vec::new(),
        }
    }

    /// Returns whether all appends in groups were steady, as far as the stores tell. Appends of single
    /// messages are too slow to write enough segments.
    pub(crate) fn is_steady(&self) -> bool {
        let appends = self.sections.iter().flat_map(|section| &section.appends);
        let appends = appends.filter(|appends| appends.group > 1);
        let mut evenness = appends.flat_map(|appends| &appends.evenness);
        evenness.all(|evenness| evenness.appended.steady != Some(false))
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{} messages of {} B in {} timelines, then appends to any, store after store; openings \
             and reads are medians\nof {} rounds in turns. Ratios are medians of the ratios in a round: × bare to `write` and \
             `fdatasync` of the bytes that\nour log gets, × other to the best of the other \
             stores.\n",
            grouped(self.messages),
            self.body_bytes,
            grouped(self.timelines),
            self.rounds
        );
        for Contender { name, version } in &self.contenders {
            // Writing to a String does not fail.
            let _ = write!(text, "{name} {version}  ");
        }
        text += "\n";
        for Missing { contender, reason } in &self.missing {
            let _ = writeln!(text, "without {contender}: {reason}");
        }
        for section in &self.sections {
            section.print(&mut text);
        }
        text
    }
}

impl Section {
    fn print(&self, text: &mut String) {
        *text += match self.fanout {
            0 => {
                "\nFan-out 0: one record (ours) or one key for (timeline, sequence) (others) per \
                 message.\n"
            }
            _ => {
                "\nFan-out 2: one record with two readers (ours), or a key and two index entries \
                 (others) per message.\n"
            }
        };
        *text += "\nDurable appends, messages per second\n";
        for appends in &self.appends {
            let head = format!("groups of {}", grouped(appends.group as u64));
            *text += &ranks(&head, "msg/s", &appends.per_second, 1.0);
            *text += &even(&appends.evenness);
        }
        *text += "\nReads of 100 messages of a timeline, warm\n";
        *text += &ranks("median", "µs", &self.reads_p50_micros, 1.0);
        *text += &ranks("99th percentile", "µs", &self.reads_p99_micros, 1.0);
        *text += "\nOpening after kill -9, with the first read; the page cache is warm\n";
        *text += &ranks("", "ms", &self.opening_seconds, 1e3);
        *text += "\nBefore the appends\n";
        let row = |size: &Size| {
            vec![
                size.contender.clone(),
                grouped(size.memory_bytes >> 20),
                grouped(size.disk_bytes >> 20),
                grouped(size.files),
            ]
        };
        let rows: Vec<_> = self.sizes.iter().map(row).collect();
        *text += &table(&["", "memory MiB", "disk MiB", "files"], &rows);
    }
}

/// Returns the rows about how even appends were, and what is to be said of them.
fn even(evenness: &[Evenness]) -> String {
    let rows = evenness.iter().map(|row| {
        let mut cells = vec![row.contender.clone()];
        cells.extend(row.appended.cells());
        cells
    });
    let mut head = vec![""];
    head.extend(Appended::HEAD);
    let mut text = table(&head, &rows.collect::<Vec<_>>());
    for row in evenness {
        if let Some(verdict) = &row.appended.verdict {
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {}: {verdict}", row.contender);
        }
    }
    text
}

fn ranks(head: &str, unit: &str, ranked: &[Ranked], scale: f64) -> String {
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".into(), short);
    let row = |ranked: &Ranked| {
        vec![
            ranked.contender.clone(),
            short(ranked.median * scale),
            ratio(ranked.to_bare),
            ratio(ranked.to_best_other),
        ]
    };
    let rows: Vec<_> = ranked.iter().map(row).collect();
    // The columns have the same width for each group size.
    table(
        &[
            &format!("{head:16}"),
            &format!("{unit:>12}"),
            "× bare",
            "× other",
        ],
        &rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_other_is_neither_itself_nor_bare() {
        let mut rounds = Rounds::new();
        for (name, value) in [(BARE, 100.0), ("a", 50.0), ("b", 20.0), ("c", 10.0)] {
            add(&mut rounds, name, value);
        }
        let ratios = |better| {
            let ranked = rank(&[BARE, "a", "b", "c"], &rounds, better);
            let pairs = ranked.iter().map(|r| (r.to_bare, r.to_best_other));
            pairs.collect::<Vec<_>>()
        };
        let most = [
            (None, None),
            (Some(0.5), Some(2.5)),
            (Some(0.2), Some(0.4)),
            (Some(0.1), Some(0.2)),
        ];
        assert_eq!(ratios(f64::max), most);
        assert_eq!(ratios(f64::min)[3], (Some(0.1), Some(0.5)));
    }
}
