//! Executors: the actions of a run, such as connecting, sending, or a storm of reconnects.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Target;
use super::sizing::Sizing;
use crate::curve::{Curve, Shape};
use crate::units::{Rate, Span};

/// An executor: one kind of action in a run. Its keys depend on its kind.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Executor {
    /// The kind of the executor.
    pub(crate) executor: ExecutorKind,
    /// The name of the executor that must have ended before this one begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_after: Option<String>,
    /// The time from the run's start, or from the end of `start_after`, to the start of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_time: Option<Span>,
    /// The duration of the executor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) duration: Option<Span>,
    /// Messages per second; of a day, on average. By default derived from the population. Of a
    /// churn: connections that are closed and opened again per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<Rate>,
    /// Messages per second at the beginning of a ramp or of a staircase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_rate: Option<Rate>,
    /// The stages of a ramp of connections or of messages per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stages: Option<Vec<Stage>>,
    /// The rise from step to step of a staircase, in messages per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<Rate>,
    /// The number of steps of a staircase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) steps: Option<u32>,
    /// The duration of each step of a staircase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hold: Option<Span>,
    /// The shape of a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) curve: Option<Shape>,
    /// The part of the sessions that reconnect in a storm, above 0 and up to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fraction: Option<f64>,
    /// The average time for which sessions of a churn stay away. Each stays away for 0.5 to 1.5
    /// times this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) away: Option<Span>,
    /// The part of a churn's sessions that end without a Close frame, as with a failing network; 0
    /// to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) abrupt: Option<f64>,
}

/// The default time that sessions of a churn stay away.
pub(crate) const AWAY: Span = Span(std::time::Duration::from_secs(1));
/// The default part of a churn's sessions that end without a Close frame.
pub(crate) const ABRUPT: f64 = 0.25;

/// The kind of an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ExecutorKind {
    /// Opens connections along straight stages.
    RampingConnections,
    /// Sends at the same mean rate throughout.
    ConstantArrivalRate,
    /// Sends at a rate that goes straight from stage to stage.
    RampingArrivalRate,
    /// Sends at a rate that follows the curve of a day.
    DiurnalArrivalRate,
    /// Sends at a rate that goes up in steps.
    Staircase,
    /// Closes connections and opens them again, a few per second.
    Churn,
    /// Closes many connections at once, which all come back.
    ReconnectStorm,
}

impl ExecutorKind {
    /// Returns the name of the kind in scenarios.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RampingConnections => "ramping-connections",
            Self::ConstantArrivalRate => "constant-arrival-rate",
            Self::RampingArrivalRate => "ramping-arrival-rate",
            Self::DiurnalArrivalRate => "diurnal-arrival-rate",
            Self::Staircase => "staircase",
            Self::Churn => "churn",
            Self::ReconnectStorm => "reconnect-storm",
        }
    }

    /// Returns whether executors of the kind send messages.
    pub(crate) fn sends(self) -> bool {
        !matches!(
            self,
            Self::RampingConnections | Self::Churn | Self::ReconnectStorm
        )
    }

    /// Returns the keys of the kind.
    pub(super) fn keys(
        self,
    ) -> (
        &'static [(&'static str, &'static str)],
        &'static [&'static str],
    ) {
        const DURATION: (&str, &str) = ("duration", "duration = \"20s\"");
        match self {
            Self::RampingConnections => (
                &[(
                    "stages",
                    "stages = [{ duration = \"2m\", target = \"100%\" }]",
                )],
                &[],
            ),
            Self::ConstantArrivalRate => (&[DURATION], &["rate"]),
            Self::RampingArrivalRate => (
                &[(
                    "stages",
                    "stages = [{ duration = \"2m\", target = \"500/s\" }]",
                )],
                &["start_rate"],
            ),
            Self::DiurnalArrivalRate => (&[DURATION], &["rate", "curve"]),
            Self::Staircase => (
                &[
                    ("start_rate", "start_rate = \"1000/s\""),
                    ("step", "step = \"500/s\""),
                    ("steps", "steps = 8"),
                    ("hold", "hold = \"30s\""),
                ],
                &[],
            ),
            Self::Churn => (
                &[DURATION, ("rate", "rate = \"100/s\"")],
                &["away", "abrupt"],
            ),
            Self::ReconnectStorm => (&[("fraction", "fraction = 1.0")], &[]),
        }
    }

    /// Returns whether the kind ends sessions to open them again.
    pub(crate) fn cuts(self) -> bool {
        matches!(self, Self::Churn | Self::ReconnectStorm)
    }
}

impl fmt::Display for ExecutorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A stage of a ramp: a straight piece.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stage {
    /// The duration of the stage.
    pub(crate) duration: Span,
    /// Connections, or messages per second, at the end of the stage.
    pub(crate) target: Target,
}

impl Executor {
    /// Returns an executor of a kind without keys.
    pub(crate) fn new(executor: ExecutorKind) -> Self {
        Self {
            executor,
            start_after: None,
            start_time: None,
            duration: None,
            rate: None,
            start_rate: None,
            stages: None,
            step: None,
            steps: None,
            hold: None,
            curve: None,
            fraction: None,
            away: None,
            abrupt: None,
        }
    }

    /// Returns how many seconds the executor lasts.
    pub(crate) fn seconds(&self, sizing: &Sizing, peak: f64) -> f64 {
        let stages = self.stages.iter().flatten();
        match self.curve(sizing, peak) {
            Some(curve) => curve.seconds(),
            None if self.executor == ExecutorKind::RampingConnections => {
                stages.map(|stage| stage.duration.0.as_secs_f64()).sum()
            }
            None => self.duration.map_or(0.0, |span| span.0.as_secs_f64()),
        }
    }

    /// Returns those of the given keys that only some kinds take.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let keys = [
            ("duration", self.duration.is_some()),
            ("rate", self.rate.is_some()),
            ("start_rate", self.start_rate.is_some()),
            ("stages", self.stages.is_some()),
            ("step", self.step.is_some()),
            ("steps", self.steps.is_some()),
            ("hold", self.hold.is_some()),
            ("curve", self.curve.is_some()),
            ("fraction", self.fraction.is_some()),
            ("away", self.away.is_some()),
            ("abrupt", self.abrupt.is_some()),
        ];
        let given = keys.iter().filter(|(_, given)| *given);
        given.map(|(key, _)| *key).collect()
    }

    /// Returns the rate of messages over time, all threads together. `None` if the executor sends
    /// no messages or lacks a key. `peak` is the peak of a day as a multiple of its mean.
    pub(crate) fn curve(&self, sizing: &Sizing, peak: f64) -> Option<Curve> {
        let seconds = |span: Option<Span>| span.map(|span| span.0.as_secs_f64());
        let rate = |rate: Option<Rate>| rate.map(|rate| rate.0);
        match self.executor {
            ExecutorKind::ConstantArrivalRate => {
                let rate = rate(self.rate).unwrap_or(sizing.derived_rate);
                Some(Curve::constant(rate, seconds(self.duration)?))
            }
            ExecutorKind::DiurnalArrivalRate => {
                let mean = rate(self.rate).unwrap_or(sizing.derived_rate / peak);
                let shape = self.curve.unwrap_or_default();
                shape.day(mean, peak, seconds(self.duration)?)
            }
            ExecutorKind::RampingArrivalRate => {
                let mut at = (0.0, rate(self.start_rate).unwrap_or(0.0));
                let mut corners = vec![at];
                for stage in self.stages.as_deref()? {
                    let Target::Rate(target) = stage.target else {
                        return None;
                    };
                    at = (at.0 + stage.duration.0.as_secs_f64(), target.0);
                    corners.push(at);
                }
                Some(Curve::through(&corners))
            }
            ExecutorKind::Staircase => {
                let (first, step) = (rate(self.start_rate)?, rate(self.step)?);
                let hold = seconds(self.hold)?;
                let steps = (0..self.steps?).map(f64::from);
                let corners = steps.flat_map(|i| {
                    let rate = first + i * step;
                    [(i * hold, rate), ((i + 1.0) * hold, rate)]
                });
                Some(Curve::through(&corners.collect::<Vec<_>>()))
            }
            ExecutorKind::RampingConnections
            | ExecutorKind::Churn
            | ExecutorKind::ReconnectStorm => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load;

    /// Returns the course of an executor in a scenario with a natural mean of 1,000/s and twice
    /// that at the peak: 500 M users × 40 messages over 24 h, of which 1/250000 in 40 s come to
    /// 2,000/s.
    fn curve(text: &str, peak: f64) -> Curve {
        let smoke = load::load("smoke").unwrap();
        let mut scenario = smoke.scenario;
        scenario.population.peak_factor = peak;
        let executor: Executor = toml::from_str(text).unwrap();
        executor.curve(&Sizing::of(&scenario), peak).unwrap()
    }

    #[test]
    fn rates_follow_from_the_population_or_are_given() {
        for (text, peak, mean, seconds) in [
            (
                "executor = \"constant-arrival-rate\"\nduration = \"20s\"",
                1.0,
                2000.0,
                20.0,
            ),
            // A constant rate is that of the peak, a day has its mean.
            (
                "executor = \"constant-arrival-rate\"\nduration = \"20s\"",
                2.0,
                4000.0,
                20.0,
            ),
            (
                "executor = \"diurnal-arrival-rate\"\nduration = \"20s\"",
                2.0,
                2000.0,
                20.0,
            ),
            (
                "executor = \"diurnal-arrival-rate\"\nduration = \"1m\"\nrate = \"30/s\"\ncurve = \"one-hump\"",
                2.0,
                30.0,
                60.0,
            ),
            // 10 s from 100/s to 300/s and 10 s more there: 2,000 and 3,000.
            (
                "executor = \"ramping-arrival-rate\"\nstart_rate = \"100/s\"\nstages = \
                 [{ duration = \"10s\", target = \"300/s\" }, { duration = \"10s\", target = \"300/s\" }]",
                1.0,
                250.0,
                20.0,
            ),
            // 100, 150 and 200/s.
            (
                "executor = \"staircase\"\nstart_rate = \"100/s\"\nstep = \"50/s\"\nsteps = 3\nhold = \"5s\"",
                1.0,
                150.0,
                15.0,
            ),
        ] {
            let curve = curve(text, peak);
            assert!(
                (curve.mean() - mean).abs() < 1e-6,
                "{text}: {}",
                curve.mean()
            );
            assert_eq!(curve.seconds(), seconds, "{text}");
        }
    }

    #[test]
    fn a_staircase_has_steps() {
        let curve = curve(
            "executor = \"staircase\"\nstart_rate = \"100/s\"\nstep = \"100/s\"\nsteps = 2\nhold = \"10s\"",
            1.0,
        );
        for (events, second) in [(500.0, 5.0), (1000.0, 10.0), (2000.0, 15.0)] {
            assert!((curve.time_of(events) - second).abs() < 1e-9, "{events}");
        }
    }

    #[test]
    fn kinds_are_called_what_their_names_say() {
        for kind in [
            ExecutorKind::RampingConnections,
            ExecutorKind::ConstantArrivalRate,
            ExecutorKind::RampingArrivalRate,
            ExecutorKind::DiurnalArrivalRate,
            ExecutorKind::Staircase,
            ExecutorKind::Churn,
            ExecutorKind::ReconnectStorm,
        ] {
            let text = format!("executor = \"{kind}\"");
            let executor: Executor = toml::from_str(&text).unwrap();
            assert_eq!(executor.executor, kind);
        }
    }
}
