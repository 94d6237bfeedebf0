//! Doubts about the figures of a run. For example, a run that measured nothing passed no check.

use std::collections::BTreeMap;

use super::Agreement;
use crate::scenario::threshold::{LATENCIES, Threshold};
use crate::stats::{Counters, Latencies, Metric};
use crate::units::grouped;

/// The figures from which doubts follow, as far as they are known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Evidence {
    /// Messages per second that the schedule offered.
    pub(crate) offered: f64,
    pub(crate) attempted: Option<u64>,
    pub(crate) acknowledged: Option<u64>,
    pub(crate) rejected: Option<u64>,
    /// Messages that arrived, by a push or otherwise.
    pub(crate) arrived: Option<u64>,
    /// Messages that were due and were not sent.
    pub(crate) skipped: Option<u64>,
}

impl Evidence {
    /// Returns the evidence in the counters of a run. Of a server that acknowledges nothing, the
    /// number of acknowledgements is no evidence.
    pub(crate) fn of(offered: f64, counters: &Counters, acknowledges: bool) -> Self {
        Self {
            offered,
            attempted: Some(counters.attempted),
            acknowledged: acknowledges.then_some(counters.acknowledged),
            rejected: Some(counters.rejected),
            arrived: Some(counters.message_pushes + counters.recovered),
            skipped: Some(counters.skipped),
        }
    }

    /// Returns whether messages were asked for and none was sent. Such a run cannot miss a
    /// threshold either.
    pub(crate) fn is_nothing(&self) -> bool {
        self.offered > 0.0 && self.attempted == Some(0)
    }

    /// Returns what was asked for and not measured, in sentences.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let more = "raise --rate or --duration";
        let doubt = match self {
            _ if self.offered <= 0.0 => return Vec::new(),
            Self {
                attempted: Some(0),
                skipped: Some(due @ 1..),
                ..
            } => format!(
                "no message was sent: {} were due, and no session was open to send them; nothing was \
                 checked",
                grouped(*due)
            ),
            Self {
                attempted: Some(0), ..
            } => format!(
                "no message was sent: the schedule had none in that time, so nothing was checked; {more}"
            ),
            // Each refused send was answered, and the scenario decides whether refusals are
            // allowed.
            _ if self.attempted.is_some() && self.rejected == self.attempted => return Vec::new(),
            Self {
                acknowledged: Some(0),
                ..
            } => "no message was acknowledged, so none was checked".to_owned(),
            Self {
                arrived: Some(0), ..
            } => format!(
                "no message was pushed, so no delivery was checked; {more}, or population.online"
            ),
            _ => return Vec::new(),
        };
        vec![doubt]
    }
}

/// The latency that has no values where all goes well.
const MAY_BE_NONE: &str = "held";

/// Returns the thresholds of latencies without values, in sentences. `count` returns how many
/// values a latency has.
pub(crate) fn unmeasured(
    thresholds: &BTreeMap<String, Vec<Threshold>>,
    count: impl Fn(&str) -> Option<u64>,
) -> Vec<String> {
    let latencies = thresholds
        .iter()
        .filter(|(metric, _)| LATENCIES.contains(&&***metric) && *metric != MAY_BE_NONE)
        .filter(|(metric, _)| count(metric) == Some(0));
    latencies
        .map(|(metric, all)| {
            let all: Vec<_> = all.iter().map(ToString::to_string).collect();
            format!(
                "{metric}: {} cannot be judged, because the event never happened: change the scenario so that it happens, or leave the threshold out",
                all.join(", ")
            )
        })
        .collect()
}

/// Returns the number of values of a latency; `None` if the metric is not a latency.
pub(crate) fn count(latencies: &Latencies, metric: &str) -> Option<u64> {
    let metric = Metric::ALL.iter().find(|it| it.name() == metric)?;
    Some(latencies.of(*metric).len())
}

/// Returns a sentence on the first counter that is higher at the gateway than in this run, as if
/// others used the gateway.
pub(crate) fn more_there(agreement: &[Agreement]) -> Option<String> {
    let Agreement {
        what,
        gateway,
        generator,
    } = agreement.iter().find(|it| it.gateway > it.generator)?;
    Some(format!(
        "/metrics counted {} {what}, and this run {}: either other clients used the gateway meanwhile, or it did more than this run asked for; run again while no other client uses it",
        grouped(*gateway),
        grouped(*generator)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_and_not_measured_is_a_doubt() {
        let of = |attempted, acknowledged, arrived| Evidence {
            offered: 0.1,
            attempted: Some(attempted),
            acknowledged: Some(acknowledged),
            rejected: Some(0),
            arrived: Some(arrived),
            skipped: Some(0),
        };
        let skipped = Evidence {
            skipped: Some(2_000),
            ..of(0, 0, 0)
        };
        assert!(skipped.doubts()[0].contains("2,000 were due"));
        assert!(skipped.is_nothing());
        let rejected = Evidence {
            rejected: Some(3),
            ..of(3, 0, 0)
        };
        for (evidence, word) in [
            (of(0, 0, 0), Some("no message was sent")),
            (of(3, 0, 0), Some("no message was acknowledged")),
            (of(3, 3, 0), Some("no message was pushed")),
            (of(3, 3, 1), None),
            (rejected, None),
            // Nothing was asked for, and what is not known is no doubt.
            (
                Evidence {
                    offered: 0.0,
                    ..of(0, 0, 0)
                },
                None,
            ),
            (
                Evidence {
                    offered: 1.0,
                    ..Evidence::default()
                },
                None,
            ),
        ] {
            let doubts = evidence.doubts();
            assert_eq!(doubts.len(), usize::from(word.is_some()), "{doubts:?}");
            assert!(
                doubts
                    .iter()
                    .all(|it| it.contains(word.unwrap_or_default()))
            );
            assert_eq!(evidence.is_nothing(), word == Some("no message was sent"));
        }
    }

    #[test]
    fn a_latency_that_never_happened_holds_no_threshold() {
        let thresholds = BTreeMap::from([
            (
                "e2e".to_owned(),
                vec!["p(99)<1s".parse().expect("a threshold")],
            ),
            (
                "ack".to_owned(),
                vec!["p(99)<1s".parse().expect("a threshold")],
            ),
            (
                "lost".to_owned(),
                vec!["count==0".parse().expect("a threshold")],
            ),
        ]);
        let count = |metric: &str| Some(u64::from(metric == "ack"));
        let found = unmeasured(&thresholds, count);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("e2e: p(99)<1s cannot be judged"),
            "{found:?}"
        );
    }

    #[test]
    fn counters_beyond_ours_are_a_doubt() {
        let counted = |what, gateway, generator| Agreement {
            what,
            gateway,
            generator,
        };
        let same = counted("send replies", 3, 3);
        assert_eq!(more_there(&[same, counted("message pushes", 2, 3)]), None);
        let found = more_there(&[same, counted("message pushes", 1_004, 3)]);
        assert!(found.is_some_and(|it| it.contains("1,004 message pushes, and this run 3")));
    }
}
