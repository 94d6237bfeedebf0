//! What is known of a run before it begins.

use std::collections::BTreeMap;

use crate::client::Step;
use crate::clock::{Nanos, to_nanos};
use crate::scenario::Health as Limits;
use crate::scenario::threshold::Threshold;
use crate::settings::{Gateway, RunSettings};

/// A run as those who look on are told of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    /// `run smoke`, `hold`.
    pub(crate) title: String,
    /// The gateway's URL.
    pub(crate) gateway: String,
    /// Sessions that there will be.
    pub(crate) sessions: u64,
    pub(crate) stages: Vec<Stage>,
    /// How long the run waits for what is under way at its end, at most.
    pub(crate) drain: Nanos,
    /// What the generator has to hold.
    pub(crate) health: Limits,
    pub(crate) thresholds: BTreeMap<String, Vec<Threshold>>,
}

/// An executor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stage {
    /// As the scenario calls it.
    pub(crate) name: String,
    /// Its kind.
    pub(crate) kind: &'static str,
    /// The executor that it waits for.
    pub(crate) after: Option<usize>,
    /// And so long after that.
    pub(crate) delay: Nanos,
    /// How long it lasts, at least.
    pub(crate) duration: Nanos,
}

impl About {
    /// A run whose executors are these `steps`, in the order of the scenario.
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
                Gateway::Target { .. } => url.to_owned(),
            },
            sessions: run.sizing.sessions,
            stages: stages.collect(),
            drain: to_nanos(run.scenario.checks.drain.0),
            health: run.scenario.health.clone(),
            thresholds: run.scenario.thresholds.clone(),
        }
    }

    /// When an executor begins and ends, as far as was planned; what has happened replaces that.
    pub(crate) fn span(&self, stage: usize, seen: &[Span]) -> (Nanos, Nanos) {
        self.span_of(stage, seen, self.stages.len())
    }

    fn span_of(&self, stage: usize, seen: &[Span], depth: usize) -> (Nanos, Nanos) {
        let Some(plan) = self.stages.get(stage) else {
            return (0, 0);
        };
        let seen_here = seen.get(stage).copied().unwrap_or_default();
        let start = seen_here.began.unwrap_or_else(|| {
            // No executor waits for itself: validation saw to it, and depth ends it anyway.
            let before = plan.after.filter(|_| depth > 0);
            let before = before.map_or(0, |before| self.span_of(before, seen, depth - 1).1);
            before + plan.delay
        });
        (start, seen_here.ended.unwrap_or(start + plan.duration))
    }

    /// When the last executor ends, as far as is known.
    pub(crate) fn end(&self, seen: &[Span]) -> Nanos {
        let ends = (0..self.stages.len()).map(|stage| self.span(stage, seen).1);
        ends.max().unwrap_or(0)
    }
}

/// When an executor began and ended, if it has.
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
        assert_eq!(about.span(1, &none), (15, 35));
        assert_eq!(about.span(2, &none), (3, 7));
        assert_eq!(about.end(&none), 35);
        let mut seen = none;
        seen[0] = Span {
            began: Some(0),
            ended: Some(30),
        };
        assert_eq!(about.span(1, &seen), (35, 55));
        seen[1].began = Some(37);
        assert_eq!(about.span(1, &seen), (37, 57));
        assert_eq!(about.end(&seen), 57);
    }
}
