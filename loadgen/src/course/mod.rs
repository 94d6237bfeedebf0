//! The course of a run: its counters and both processes, sampled while it runs.

mod intervals;
mod merged;

#[cfg(test)]
pub(crate) use intervals::tests::intervals as intervals_for_tests;
pub(crate) use intervals::{Interval, Intervals, Table, Worst, figure};

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::health::{Cpu, CpuTimes, Process};
use crate::local_gateway::LocalGateway;
use crate::stats::{Counters, INTERVALS_MAX, WIDTH};

/// The state of a run at one time since its start.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
pub(crate) struct Sample {
    pub(crate) at: Nanos,
    pub(crate) counters: Counters,
    pub(crate) generator: Process,
    /// The process of a gateway that was started for the run.
    pub(crate) gateway: Option<Process>,
    pub(crate) cpu: CpuTimes,
}

/// Samples at equal distances. Beyond [`INTERVALS_MAX`] samples the distance doubles, and every
/// second one is forgotten.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Course {
    width: Nanos,
    gateway: Option<u32>,
    /// CPU seconds of the gateway's earlier processes.
    spent: f64,
    pub(crate) samples: Vec<Sample>,
}

impl Course {
    /// Begins a course with a first sample. `gateway` is the process of a gateway that was started
    /// for the run.
    pub(crate) fn begin(gateway: Option<u32>) -> Self {
        let mut course = Self {
            width: WIDTH,
            gateway,
            spent: 0.0,
            samples: Vec::new(),
        };
        course.take(0, Counters::default());
        course
    }

    /// Notes that the gateway is another process now.
    pub(crate) fn gateway_is(&mut self, gateway: &LocalGateway) {
        self.gateway = Some(gateway.process().pid());
        self.spent = gateway.process().spent();
    }

    /// Takes a sample if one is due.
    pub(crate) fn look(&mut self, now: Nanos, total: impl FnOnce() -> Counters) {
        let last = self.samples.last().map_or(0, |last| last.at);
        if now / self.width > last / self.width {
            self.take(now, total());
        }
    }

    /// Takes the last sample, when all threads have ended and `counters` are final.
    pub(crate) fn end(&mut self, now: Nanos, counters: Counters) {
        self.take(now, counters);
    }

    /// Returns the present process of a gateway that was started for the run.
    pub(crate) fn gateway(&self) -> Option<u32> {
        self.gateway
    }

    /// Returns the distance of the samples.
    pub(crate) fn width(&self) -> Nanos {
        self.width
    }

    fn take(&mut self, at: Nanos, counters: Counters) {
        self.samples.push(Sample {
            at,
            counters,
            generator: Process::look(std::process::id()),
            gateway: self.gateway.map(|pid| {
                let process = Process::look(pid);
                Process {
                    cpu_seconds: self.spent + process.cpu_seconds,
                    ..process
                }
            }),
            cpu: Cpu::look(),
        });
        // Of each interval of the new width, the first sample stays: that at its start.
        if self.samples.len() > INTERVALS_MAX {
            self.width *= 2;
            let mut slot = None;
            let width = self.width;
            self.samples
                .retain(|it| slot.replace(it.at / width) != Some(it.at / width));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;

    #[test]
    fn samples_are_bounded_and_equally_far() {
        let mut course = Course::begin(None);
        for tenth in 0..20_000 {
            let attempted = tenth;
            course.look(tenth * SECOND / 10, || Counters {
                attempted,
                ..Counters::default()
            });
            assert!(course.samples.len() <= INTERVALS_MAX);
        }
        assert_eq!(course.width(), 8 * SECOND);
        let times: Vec<_> = course.samples.iter().map(|it| it.at / SECOND).collect();
        assert!(
            times.iter().zip(0..).all(|(at, i)| *at == i * 8),
            "{times:?}"
        );
        assert_eq!(course.samples[1].counters.attempted, 80);
    }
}
