//! The facts of a run that are known before it begins.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::client::Step;
use crate::clock::{Nanos, to_nanos};
use crate::scenario::Health as Limits;
use crate::scenario::threshold::Threshold;
use crate::settings::{Gateway, RunSettings};

/// A run as the live view and Prometheus see it.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    /// The title of the run: `run smoke`, `hold`.
    pub(crate) title: String,
    /// The URL of the gateway.
    pub(crate) gateway: String,
    /// The number of sessions that the run opens.
    pub(crate) sessions: u64,
    pub(crate) stages: Vec<Stage>,
    /// The longest time that the run waits at its end for messages under way.
    pub(crate) drain: Nanos,
    /// The health limits of the generator.
    pub(crate) health: Limits,
    pub(crate) thresholds: BTreeMap<String, Vec<Threshold>>,
}

/// An executor of the run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stage {
    /// The name of the executor in the scenario.
    pub(crate) name: String,
    /// The kind of the executor.
    pub(crate) kind: &'static str,
    /// The executor that it waits for.
    pub(crate) after: Option<usize>,
    /// The time from the end of that executor, or from the run's start, to the start of this one.
    pub(crate) delay: Nanos,
    /// The least duration of the executor.
    pub(crate) duration: Nanos,
}

impl About {
    /// Returns the facts of a run whose executors are these `steps`, in the order of the scenario.
    pub(crate) fn of(run: &RunSettings, title: String, url: &str, steps: &[Step]) -> Self {
        let executors = run.scenario.scenarios.iter();
        let stages = executors.zip(steps).map(|((name, executor), step)| Stage {
            name: name.clone(),
            kind: executor.executor.name(),
            after: step.after,
            delay: step.delay,
            duration: step.duration,
        });
        Self {
            title,
            gateway: match &run.gateway {
                Gateway::Local(_) => format!("{url} (local)"),
                Gateway::Cluster(_) => format!("{url} (cluster)"),
                Gateway::Targets { .. } => url.to_owned(),
            },
            sessions: run.sizing.sessions,
            stages: stages.collect(),
            drain: to_nanos(run.scenario.checks.drain.0),
            health: run.scenario.health.clone(),
            thresholds: run.scenario.thresholds.clone(),
        }
    }

    /// Returns when an executor begins and ends, as planned or as it happened.
    pub(crate) fn span(&self, stage: usize, seen: &[Span]) -> Range<Nanos> {
        self.span_of(stage, seen, self.stages.len())
    }

    fn span_of(&self, stage: usize, seen: &[Span], depth: usize) -> Range<Nanos> {
        let Some(plan) = self.stages.get(stage) else {
            return 0..0;
        };
        let seen_here = seen.get(stage).copied().unwrap_or_default();
        let start = seen_here.began.unwrap_or_else(|| {
            // No executor waits for itself: validation saw to it, and depth ends it anyway.
            let before = plan.after.filter(|_| depth > 0);
            let before = before.map_or(0, |before| self.span_of(before, seen, depth - 1).end);
            before + plan.delay
        });
        start..seen_here.ended.unwrap_or(start + plan.duration)
    }

    /// Returns when the last executor ends, as far as is known.
    pub(crate) fn end(&self, seen: &[Span]) -> Nanos {
        let ends = (0..self.stages.len()).map(|stage| self.span(stage, seen).end);
        ends.max().unwrap_or(0)
    }
}

/// The times at which an executor began and ended; `None` before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) began: Option<Nanos>,
    pub(crate) ended: Option<Nanos>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_moves_what_was_planned() {
        let stage = |after, delay, duration| Stage {
            after,
            delay,
            duration,
            ..Stage::default()
        };
        let about = About {
            stages: vec![stage(None, 0, 10), stage(Some(0), 5, 20), stage(None, 3, 4)],
            ..About::default()
        };
        let none = [Span::default(); 3];
        assert_eq!(about.span(1, &none), 15..35);
        assert_eq!(about.span(2, &none), 3..7);
        assert_eq!(about.end(&none), 35);
        let mut seen = none;
        seen[0] = Span {
            began: Some(0),
            ended: Some(30),
        };
        assert_eq!(about.span(1, &seen), 35..55);
        seen[1].began = Some(37);
        assert_eq!(about.span(1, &seen), 37..57);
        assert_eq!(about.end(&seen), 57);
    }
}
