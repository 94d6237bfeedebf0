//! What couriers sent and got, compared: messages that are missing, and latencies between agents as far as
//! the clocks are known.

use serde::Serialize;

use super::letters::{CourierReport, EVERY, Inbox, Seat};
use crate::check::Violation;
use crate::clock::{Nanos, SECOND, seconds};
use crate::foreign::safe_line;
use crate::stats::{Percentiles, empty};
use crate::units::micros;

/// A pair of agents counts if the uncertainty of its clocks, so many times, is at most half of its messages
/// took. The latencies of a pair that counts are true to half of themselves at the worst.
const TIMES: u64 = 2;

/// The time for which a session must have been open before messages to it are owed, beside the
/// uncertainty of the clocks.
const SETTLED_IN: Nanos = SECOND;

/// The courier of an agent, as the lead knows it.
#[derive(Debug)]
pub(crate) struct Known {
    /// The name of the agent.
    pub(crate) name: String,
    /// What its courier did; `None` if that is lost.
    pub(crate) report: Option<CourierReport>,
    /// How far the clock of the agent may be off during the run, in microseconds.
    pub(crate) uncertainty_us: u64,
}

/// The messages of one agent to another one.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) came: u64,
    /// The median of their latencies in microseconds; `None` if none came.
    #[serde(rename = "p50_us")]
    pub(crate) p50: Option<u64>,
    /// How far the latencies may be off, in microseconds.
    #[serde(rename = "uncertainty_us")]
    pub(crate) uncertainty: u64,
    /// Whether the latencies count.
    pub(crate) counts: bool,
}

/// The messages between the agents of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Between {
    pub(crate) messages: u64,
    pub(crate) acknowledged: u64,
    /// Messages that were refused, or whose fate is not known.
    pub(crate) unanswered: u64,
    pub(crate) came: u64,
    pub(crate) pushes: u64,
    /// Messages that were acknowledged, or sent where nothing is, and are neither there nor known not to be
    /// owed.
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) unexpected: u64,
    pub(crate) text_changed: u64,
    /// The latencies in microseconds, of the pairs that count.
    pub(crate) latency_us: Option<Percentiles>,
    /// How far those latencies may be off, in microseconds: the most of the pairs that count.
    pub(crate) uncertainty_us: Option<u64>,
    pub(crate) pairs: Vec<Pair>,
    /// What does not count or was not checked, in sentences.
    pub(crate) left_out: Vec<String>,
    #[serde(skip)]
    pub(crate) faults: Vec<Fault>,
}

impl Between {
    /// Compares what the couriers of all agents did, which are given in the order of their places.
    /// `acknowledges`: the server acknowledges messages. With one agent there is nothing to compare.
    pub(crate) fn of(couriers: &[Known], acknowledges: bool) -> Option<Self> {
        let of = u32::try_from(couriers.len()).ok().filter(|of| *of > 1)?;
        let mut it = Self {
            messages: 0,
            acknowledged: 0,
            unanswered: 0,
            came: 0,
            pushes: 0,
            lost: 0,
            duplicated: 0,
            reordered: 0,
            unexpected: 0,
            text_changed: 0,
            latency_us: None,
            uncertainty_us: None,
            pairs: Vec::new(),
            left_out: Vec::new(),
            faults: Vec::new(),
        };
        let mut latencies = empty();
        for (place, known) in (0..).zip(couriers) {
            it.add(known);
            let Some(report) = sound(known, Seat { place, of }) else {
                continue;
            };
            for (sender, inbox) in (0..).zip(&report.inboxes) {
                let Some(from) = couriers.get(sender as usize) else {
                    continue;
                };
                if sender == place {
                    continue;
                }
                let pair = pair(from, known, &inbox.latencies, inbox.came);
                if pair.counts {
                    // All histograms have the same bounds, so adding cannot fail.
                    let _ = latencies.add(&inbox.latencies);
                    it.uncertainty_us = it.uncertainty_us.max(Some(pair.uncertainty));
                }
                let sent = sound(from, Seat { place: sender, of });
                let owed = sent.map(|sent| owed(sent, report, pair.uncertainty, acknowledges));
                let owed = owed.unwrap_or_default();
                it.lost += owed.lost.len() as u64;
                it.unanswered += owed.undecided;
                it.faults
                    .extend(faults(&pair, inbox, (report.ended, &owed.lost)));
                it.pairs.push(pair);
            }
        }
        it.latency_us = (!latencies.is_empty()).then(|| Percentiles::of(&latencies));
        it.left_out.extend(it.unknown_clocks());
        Some(it)
    }

    /// Adds the counts of a courier, and what is to be said of it.
    fn add(&mut self, known: &Known) {
        let Some(report) = &known.report else {
            // The run says that the agent ended early.
            return;
        };
        self.messages += u64::from(report.sent);
        self.acknowledged += report.acknowledged;
        self.unexpected += report.unexpected;
        self.unanswered += report.unanswered.len() as u64;
        let mut forgotten = 0;
        for inbox in &report.inboxes {
            self.came += inbox.came;
            self.duplicated += inbox.duplicated;
            self.reordered += inbox.reordered;
            self.text_changed += inbox.changed;
            forgotten += inbox.forgotten;
        }
        self.pushes = self.came + self.duplicated;
        if let Some(why) = &report.trouble {
            self.left_out.push(format!(
                "messages between {} and the other agents from {:.1} s on: {}",
                known.name,
                seconds(report.ended),
                safe_line(why)
            ));
        }
        if let Some(why) = &report.refusal {
            let (refused, name) = (report.refused, &known.name);
            let why = safe_line(why);
            self.left_out.push(format!(
                "{refused} messages of {name} to other agents, which were refused: {why}"
            ));
        }
        if report.unexpected > 0 {
            let (unexpected, name) = (report.unexpected, &known.name);
            self.faults.push(Fault {
                at: report.ended,
                kind: Violation::Unexpected,
                count: unexpected,
                detail: format!(
                    "{unexpected} messages came to the courier of {name}, and no courier sent them to it"
                ),
            });
        }
        if forgotten > 0 {
            self.left_out.push(format!(
                "{forgotten} messages to {}: too many were missing at one time",
                known.name
            ));
        }
    }

    /// Returns the sentence on the pairs whose latencies do not count.
    fn unknown_clocks(&self) -> Option<String> {
        let all = self.pairs.iter().filter(|it| it.p50.is_some());
        let mut out = all.clone().filter(|it| !it.counts);
        let (first, rest) = (out.next()?, out.count());
        let all = all.count();
        Some(format!(
            "latencies of {} of {all} pairs of agents: the difference of their clocks is not known well enough ({} → {}: ± {}, and half of the messages took {} or less)",
            rest + 1,
            first.from,
            first.to,
            micros(first.uncertainty),
            micros(first.p50.unwrap_or_default())
        ))
    }

    /// Returns the number of pairs whose latencies count, and of all pairs.
    pub(crate) fn counted(&self) -> (usize, usize) {
        let counted = self.pairs.iter().filter(|it| it.counts).count();
        (counted, self.pairs.len())
    }
}

/// A promise to couriers that was broken.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The time at which the courier ended that saw it.
    pub(crate) at: Nanos,
    pub(crate) kind: Violation,
    pub(crate) count: u64,
    /// A sentence.
    pub(crate) detail: String,
}

/// Returns the broken promises of a pair, of which these messages are lost.
fn faults(pair: &Pair, inbox: &Inbox, (at, lost): (Nanos, &[u32])) -> Vec<Fault> {
    let (from, to) = (&pair.from, &pair.to);
    let first = lost.first().copied().unwrap_or_default();
    let all = [
        (
            Violation::Lost,
            lost.len() as u64,
            format!("did not come, the first is its message {first}"),
        ),
        (
            Violation::Duplicated,
            inbox.duplicated,
            "came twice".to_owned(),
        ),
        (
            Violation::Reordered,
            inbox.reordered,
            "came behind later ones".to_owned(),
        ),
        (
            Violation::TextChanged,
            inbox.changed,
            "came with another text".to_owned(),
        ),
    ];
    let some = all.into_iter().filter(|(_, count, _)| *count > 0);
    some.map(|(kind, count, how)| Fault {
        at,
        kind,
        count,
        detail: format!("messages of the courier of {from} to that of {to}: {count} {how}"),
    })
    .collect()
}

/// Returns the report of the courier in a place, if it is one of that.
fn sound(known: &Known, seat: Seat) -> Option<&CourierReport> {
    known.report.as_ref().filter(|it| it.is_sound(seat))
}

fn pair(from: &Known, to: &Known, latencies: &hdrhistogram::Histogram<u64>, came: u64) -> Pair {
    // Each clock is compared with that of the lead.
    let uncertainty = from.uncertainty_us.saturating_add(to.uncertainty_us);
    let p50 = (!latencies.is_empty()).then(|| latencies.value_at_quantile(0.5));
    Pair {
        from: from.name.clone(),
        to: to.name.clone(),
        came,
        p50,
        uncertainty,
        counts: p50.is_some_and(|p50| uncertainty.saturating_mul(TIMES) <= p50),
    }
}

/// Messages from one courier to another that did not come.
#[derive(Debug, Default, PartialEq, Eq)]
struct Owed {
    /// They had to come.
    lost: Vec<u32>,
    /// Whether they had to is not known: a session was not open all the time, or the recipient was done before.
    undecided: u64,
}

/// Judges the messages of a pair that did not come.
fn owed(from: &CourierReport, to: &CourierReport, uncertainty_us: u64, acknowledges: bool) -> Owed {
    let mut owed = Owed::default();
    let Some(inbox) = to.inboxes.get(from.seat.place as usize) else {
        return owed;
    };
    let margin = uncertainty_us
        .saturating_mul(1_000)
        .saturating_add(SETTLED_IN);
    let opened = to.opened.map(|at| at.saturating_add(margin));
    let behind = (inbox.next..from.sent).step_by(from.seat.others() as usize);
    let whole = to.trouble.is_none() && (acknowledges || from.trouble.is_none());
    for number in inbox.missing.iter().copied().chain(behind) {
        // One that was not acknowledged is counted as unanswered.
        if acknowledges && from.unanswered.contains(&number) {
            continue;
        }
        let at = from.began + u64::from(number) * EVERY;
        // Agents whose storms end late send when others are done.
        let was_done = at.saturating_add(margin) > to.ended;
        if !whole || was_done {
            owed.undecided += 1;
        } else if opened.is_some_and(|opened| at >= opened) {
            owed.lost.push(number);
        }
    }
    owed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::couriers::letters::Letter;

    /// Returns the couriers of three agents after two seconds of messages. A message takes `took` µs,
    /// each agent's clock of the run is ahead of the true time by `ahead` µs, and known to ± 300 µs.
    /// `keeps` tells whether a message is delivered.
    fn play(took: i64, ahead: [i64; 3], keeps: impl Fn(u32, u32) -> bool) -> Vec<Known> {
        let mut reports: Vec<_> = (0..3)
            .map(|place| CourierReport::new(Seat { place, of: 3 }))
            .collect();
        for report in &mut reports {
            report.opened = Some(0);
            report.ended = 20 * SECOND;
            report.began = 5 * SECOND;
            report.sent = 42;
            report.acknowledged = 42;
        }
        for from in 0..3_u32 {
            for number in 0..42 {
                let seat = Seat { place: from, of: 3 };
                let (to, intended) = (
                    seat.recipient(number),
                    5 * SECOND + u64::from(number) * EVERY,
                );
                let letter = Letter {
                    from,
                    to,
                    number,
                    intended,
                    last: number >= 40,
                };
                let off = took + ahead[to as usize] - ahead[from as usize];
                let now = intended.saturating_add_signed(off * 1_000);
                if keeps(from, number) {
                    reports[to as usize].take("t1", &letter.text("t1"), now);
                }
            }
        }
        let names = ["a", "b", "c"].into_iter();
        let all = names.zip(reports).map(|(name, report)| Known {
            name: name.into(),
            report: Some(report),
            uncertainty_us: 300,
        });
        all.collect()
    }

    fn close(us: u64, wanted: u64) -> bool {
        us.abs_diff(wanted) <= wanted / 500
    }

    #[test]
    fn latencies_are_those_of_the_messages_with_the_uncertainty_beside_them() {
        let all = play(9_000, [0; 3], |_, _| true);
        let it = Between::of(&all, true).unwrap();
        assert_eq!(
            (it.messages, it.came, it.pushes, it.lost),
            (126, 126, 126, 0)
        );
        assert_eq!(it.counted(), (6, 6));
        let latency = it.latency_us.unwrap();
        assert_eq!(latency.count, 120);
        assert!(close(latency.p50, 9_000) && close(latency.max, 9_000));
        assert_eq!(it.uncertainty_us, Some(600));
        assert!(it.left_out.is_empty() && it.faults.is_empty());
    }

    #[test]
    fn a_clock_that_is_off_moves_latencies_by_no_more_than_the_uncertainty() {
        // Each clock is wrong by as much as it may be.
        let all = play(9_000, [300, -300, 0], |_, _| true);
        let it = Between::of(&all, true).unwrap();
        let (latency, most) = (it.latency_us.unwrap(), it.uncertainty_us.unwrap());
        assert!(latency.p50.abs_diff(9_000) <= most + 20, "{latency:?}");
        assert!(latency.max.abs_diff(9_000) <= most + 20, "{latency:?}");
        assert_eq!(it.counted(), (6, 6));
    }

    #[test]
    fn what_the_clocks_do_not_allow_is_left_out_and_said() {
        // Of pairs whose messages take 1,199 µs, ± 600 µs says too little; ± 600 µs of 1,200 µs does.
        for (took, counted) in [(1_190, 0), (1_201, 6)] {
            let it = Between::of(&play(took, [0; 3], |_, _| true), true).unwrap();
            assert_eq!(it.counted(), (counted, 6), "{took}");
            assert_eq!(it.latency_us.is_some(), counted > 0);
            assert_eq!(it.left_out.is_empty(), counted > 0, "{:?}", it.left_out);
        }
        // One clock is known badly: its pairs are left out, and the others count.
        let mut all = play(9_000, [0, 0, 200_000], |_, _| true);
        all[2].uncertainty_us = 210_000;
        let it = Between::of(&all, true).unwrap();
        assert_eq!(it.counted(), (2, 6));
        assert!(close(it.latency_us.unwrap().max, 9_000));
        assert_eq!(it.uncertainty_us, Some(600));
        let said = it.left_out.join("; ");
        assert!(said.contains("latencies of 4 of 6 pairs"), "{said}");
        assert!(
            said.contains("a → c: ± 210.30 ms") || said.contains("c → a: ± 210.30 ms"),
            "{said}"
        );
    }

    #[test]
    fn what_did_not_come_is_lost_if_it_was_owed() {
        let all = play(9_000, [0; 3], |from, number| from != 1 || number < 39);
        assert_eq!(Between::of(&all, true).unwrap().lost, 3);
        let gap = || play(9_000, [0; 3], |from, number| (from, number) != (2, 7));
        let it = Between::of(&gap(), true).unwrap();
        let [fault] = &it.faults[..] else {
            panic!("{:?}", it.faults)
        };
        assert_eq!((fault.kind, fault.count, it.lost), (Violation::Lost, 1, 1));
        let detail =
            "messages of the courier of c to that of b: 1 did not come, the first is its message 7";
        assert_eq!(fault.detail, detail);
        // One that was not acknowledged may be missing, and so may one to a session that was opened later.
        let mut all = gap();
        let report = all[2].report.as_mut().unwrap();
        report.unanswered.insert(7);
        let it = Between::of(&all, true).unwrap();
        assert_eq!((it.lost, it.unanswered), (0, 1));
        let mut all = gap();
        for known in &mut all {
            known.report.as_mut().unwrap().opened = Some(5 * SECOND);
        }
        assert_eq!(Between::of(&all, true).unwrap().lost, 0);
        // Where nothing is acknowledged, what was sent is owed.
        let mut all = gap();
        let report = all[2].report.as_mut().unwrap();
        report.unanswered.insert(7);
        assert_eq!(Between::of(&all, false).unwrap().lost, 1);
        // A refused one is said.
        let mut all = gap();
        let report = all[2].report.as_mut().unwrap();
        report.unanswered.insert(7);
        report.refuse(7, "too\nfast".into());
        report.refuse(8, "not under way".into());
        let it = Between::of(&all, true).unwrap();
        assert_eq!((it.lost, it.unanswered), (0, 1));
        assert!(it.left_out[0].contains("1 messages of c"), "{it:?}");
        // A session that ended is owed nothing, and that is said.
        let mut all = gap();
        for known in &mut all {
            known.report.as_mut().unwrap().trouble = Some("closed".into());
        }
        let it = Between::of(&all, true).unwrap();
        assert_eq!((it.lost, it.left_out.len()), (0, 3));
    }

    #[test]
    fn what_was_sent_when_its_recipient_was_done_is_undecided() {
        // Message 39 of b is due at 6.95 s, and owed if c was there for a second and 0.6 ms more.
        let all = |ended| {
            let mut all = play(9_000, [0; 3], |from, number| (from, number) != (1, 39));
            for known in &mut all {
                known.report.as_mut().unwrap().ended = ended;
            }
            let it = Between::of(&all, true).unwrap();
            (it.lost, it.unanswered)
        };
        let known = 6_950 * SECOND / 1_000 + SECOND + 600_000;
        assert_eq!(all(known), (1, 0));
        assert_eq!(all(known - 1), (0, 1));
    }

    #[test]
    fn an_agent_without_results_takes_part_in_nothing() {
        let mut all = play(9_000, [0; 3], |_, _| true);
        all[1].report = None;
        let it = Between::of(&all, true).unwrap();
        assert_eq!((it.lost, it.pairs.len()), (0, 4));
        assert!(Between::of(&all[..1], true).is_none());
    }
}
