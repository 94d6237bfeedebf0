//! The health of the generator: whether it was fit to measure. It decides the verdict.

mod machine;

use serde::Serialize;

use crate::clock::Nanos;
use crate::scenario::Health as Limits;
use crate::stats::{Counters, Percentiles};
use crate::units::{grouped, micros};

pub(crate) use machine::{Cpu, CpuTimes, Process, descriptor_limit};

/// The health of the generator, with the figures that it follows from.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Health {
    /// Whether all limits hold.
    pub(crate) healthy: bool,
    /// The 99th percentile of the lateness of sends, in microseconds.
    pub(crate) send_lag_p99_us: u64,
    /// The part of the scheduled sends that were sent, 0 to 1.
    pub(crate) achieved: f64,
    /// The longest time that an event loop was away from its sockets, in microseconds.
    pub(crate) loop_stall_us: u64,
    /// The part of the CPU time that the hypervisor took, 0 to 1.
    pub(crate) steal: f64,
    /// The part of the CPU time that was idle, 0 to 1.
    pub(crate) idle: f64,
    /// The part of a processor that the busiest thread took while messages were sent, 0 to 1; `None` while that is
    /// unknown.
    pub(crate) busiest_thread: Option<f64>,
    /// The limits that do not hold, in sentences.
    pub(crate) faults: Vec<String>,
}

impl Health {
    /// Judges the figures by the limits of a scenario.
    pub(crate) fn judge(
        limits: &Limits,
        counters: &Counters,
        lag: &Percentiles,
        stall: Nanos,
        cpu: &Cpu,
    ) -> Self {
        let achieved = match counters.scheduled {
            0 => 1.0,
            scheduled => counters.attempted as f64 / scheduled as f64,
        };
        let mut faults = Vec::new();
        let mut must = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        let lag_limit = limits.send_lag_p99.0.as_micros() as u64;
        must(
            lag.p99 <= lag_limit,
            format!(
                "send lag p99 is {}, over {}: give the generator more CPU, or lower the rate",
                micros(lag.p99),
                micros(lag_limit)
            ),
        );
        must(
            achieved >= limits.achieved_min,
            format!(
                "{:.2} % of the scheduled sends were sent, under {:.2} %: sessions were missing, or too much was under way",
                achieved * 100.0,
                limits.achieved_min * 100.0
            ),
        );
        must(
            counters.given_up == 0,
            format!(
                "{} sends were still due when the schedule had been over for as long as the drain, and were \
                 given up: lower the rate, or use a larger machine",
                grouped(counters.given_up)
            ),
        );
        let stall_us = stall / 1_000;
        let stall_limit = limits.loop_stall_max.0.as_micros() as u64;
        must(
            stall_us <= stall_limit,
            format!(
                "an event loop was away for {}, over {}",
                micros(stall_us),
                micros(stall_limit)
            ),
        );
        must(
            cpu.steal <= limits.steal_max,
            format!(
                "the hypervisor took {:.1} % of the CPU, over {:.1} %: use a quieter machine",
                cpu.steal * 100.0,
                limits.steal_max * 100.0
            ),
        );
        must(
            cpu.idle >= limits.cpu_idle_min,
            format!(
                "{:.1} % of the CPU was idle, under {:.1} %",
                cpu.idle * 100.0,
                limits.cpu_idle_min * 100.0
            ),
        );
        Self {
            healthy: faults.is_empty(),
            send_lag_p99_us: lag.p99,
            achieved,
            loop_stall_us: stall_us,
            steal: cpu.steal,
            idle: cpu.idle,
            busiest_thread: None,
            faults,
        }
    }
}

impl Health {
    /// Returns the health of several machines together: the worst figure of each kind, and all faults,
    /// each with the name of its machine.
    pub(crate) fn of_all<'a>(machines: impl Iterator<Item = (&'a str, &'a Self)>) -> Self {
        let mut all = Self {
            healthy: true,
            send_lag_p99_us: 0,
            achieved: 1.0,
            loop_stall_us: 0,
            steal: 0.0,
            idle: 1.0,
            busiest_thread: None,
            faults: Vec::new(),
        };
        for (name, one) in machines {
            all.healthy &= one.healthy;
            all.send_lag_p99_us = all.send_lag_p99_us.max(one.send_lag_p99_us);
            all.achieved = all.achieved.min(one.achieved);
            all.loop_stall_us = all.loop_stall_us.max(one.loop_stall_us);
            all.steal = all.steal.max(one.steal);
            all.idle = all.idle.min(one.idle);
            let busiest = [all.busiest_thread, one.busiest_thread].into_iter();
            all.busiest_thread = busiest.flatten().reduce(f64::max);
            let faults = one.faults.iter().map(|fault| format!("{name}: {fault}"));
            all.faults.extend(faults);
        }
        all
    }

    /// Adds the part of a processor that the busiest thread took.
    pub(crate) fn with_busiest(self, part: Option<f64>) -> Self {
        Self {
            busiest_thread: part,
            ..self
        }
    }

    /// Adds a fault.
    pub(crate) fn add_fault(&mut self, fault: String) {
        self.healthy = false;
        self.faults.push(fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_a_verdict_of_its_own() {
        let lag = |p99| Percentiles {
            count: 1,
            p50: p99,
            p90: p99,
            p99,
            p999: p99,
            max: p99,
        };
        let cpu = |steal, idle| Cpu { steal, idle };
        let sent = |attempted| Counters {
            scheduled: 1_000,
            attempted,
            ..Counters::default()
        };
        let limits = Limits {
            cpu_idle_min: 0.1,
            ..Limits::default()
        };
        let judge = |attempted, p99, stall, steal, idle| {
            let cpu = cpu(steal, idle);
            Health::judge(&limits, &sent(attempted), &lag(p99), stall, &cpu)
        };
        assert!(judge(1_000, 5_000, 250_000_000, 0.02, 0.1).healthy);
        for (health, word) in [
            (judge(980, 5_000, 0, 0.0, 0.5), "scheduled"),
            (judge(1_000, 5_001, 0, 0.0, 0.5), "send lag"),
            (judge(1_000, 0, 251_000_000, 0.0, 0.5), "event loop"),
            (judge(1_000, 0, 0, 0.03, 0.5), "hypervisor"),
            (judge(1_000, 0, 0, 0.0, 0.05), "idle"),
        ] {
            assert!(!health.healthy);
            assert_eq!(health.faults.len(), 1);
            assert!(health.faults[0].contains(word), "{:?}", health.faults);
        }
    }
}
