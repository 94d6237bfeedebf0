//! The arithmetic from a whole service to one run, as numbers and in words.

use super::{Executor, Scenario};
use crate::units::{grouped, readable};

/// The size of a run and of the service that it stands for.
#[derive(Clone, Debug)]
pub(crate) struct Sizing {
    /// The messages of the whole service in 24 hours.
    pub(crate) messages_day: f64,
    /// The mean rate of the service within the window, in messages per second.
    pub(crate) mean_rate: f64,
    /// The rate of the service at the peak, in messages per second.
    pub(crate) peak_rate: f64,
    /// The users that the run plays.
    pub(crate) users: u64,
    /// The users of the run that connect.
    pub(crate) online_users: u64,
    /// The sessions of the run, all devices together.
    pub(crate) sessions: u64,
    /// The rate of the share at the peak, in real time.
    pub(crate) natural_rate: f64,
    /// The factor by which the day is replayed faster than real time.
    pub(crate) compression: f64,
    /// The derived rate of the run: share × peak × compression.
    pub(crate) derived_rate: f64,
    /// The mean rate of the schedule while messages are sent.
    pub(crate) offered_rate: f64,
}

/// The totals of a schedule.
struct ScheduleTotals {
    messages: f64,
    /// The seconds from the first executor's start to the last one's end.
    seconds: f64,
}

impl Sizing {
    /// Computes the sizes of a scenario.
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let p = &scenario.population;
        let messages_day = p.users as f64 * p.msgs_per_user_day;
        let mean_rate = messages_day / p.window.0.as_secs_f64();
        let peak_rate = mean_rate * p.peak_factor;
        let users = p.share.of(p.users);
        let online_users = (users as f64 * p.online).round() as u64;
        let natural_rate = peak_rate * p.share.as_f64();
        let compression = p.compress.map_or(1.0, |compress| compress.factor());
        let derived_rate = natural_rate * compression;
        let sessions = (online_users as f64 * p.devices).floor() as u64;
        let mut sizing = Self {
            messages_day,
            mean_rate,
            peak_rate,
            users,
            online_users,
            sessions,
            natural_rate,
            compression,
            derived_rate,
            offered_rate: 0.0,
        };
        sizing.offered_rate = sizing.offered(scenario);
        sizing
    }

    /// Returns the mean rate of the schedule: all messages over the time from the first executor's
    /// start to the last one's end.
    fn offered(&self, scenario: &Scenario) -> f64 {
        let ScheduleTotals { messages, seconds } = self.schedule(scenario);
        if seconds > 0.0 {
            messages / seconds
        } else {
            0.0
        }
    }

    /// Returns the seconds from the first message to the last, as far as they are known before the
    /// run.
    pub(crate) fn sending(&self, scenario: &Scenario) -> f64 {
        self.schedule(scenario).seconds
    }

    /// Returns the highest rate of any executor, in messages per second.
    pub(crate) fn highest(&self, scenario: &Scenario) -> f64 {
        let peak = scenario.population.peak_factor;
        let groups = scenario.traffic.groups.as_ref();
        let in_large = groups.map_or(0.0, |groups| groups.large_rate(self.users));
        let executors = scenario.scenarios.values();
        let highest = executors.filter_map(|executor| executor.curve(self, peak));
        highest
            .map(|curve| curve.highest() + in_large)
            .fold(0.0, f64::max)
    }

    /// Returns the totals of the schedule.
    fn schedule(&self, scenario: &Scenario) -> ScheduleTotals {
        let peak = scenario.population.peak_factor;
        let (mut events, mut from, mut to) = (0.0, f64::INFINITY, 0.0_f64);
        let groups = scenario.traffic.groups.as_ref();
        let in_large = groups.map_or(0.0, |groups| groups.large_rate(self.users));
        for executor in scenario.scenarios.values() {
            if let Some(curve) = executor.curve(self, peak) {
                let start = self.start(scenario, executor, scenario.scenarios.len());
                events += (curve.mean() + in_large) * curve.seconds();
                from = from.min(start);
                to = to.max(start + curve.seconds());
            }
        }
        ScheduleTotals {
            messages: events,
            seconds: (to - from).max(0.0),
        }
    }

    /// Returns the second of the run at which an executor starts, behind a chain of at most `depth`
    /// others. Validation refuses a chain that never ends.
    fn start(&self, scenario: &Scenario, executor: &Executor, depth: usize) -> f64 {
        let delay = executor.start_time.map_or(0.0, |time| time.0.as_secs_f64());
        let before = executor.start_after.as_ref();
        let before = before.and_then(|name| scenario.scenarios.get(name));
        let end = |before: &Executor| {
            let start = self.start(scenario, before, depth - 1);
            start + before.seconds(self, scenario.population.peak_factor)
        };
        delay + before.filter(|_| depth > 0).map_or(0.0, end)
    }

    /// Returns the arithmetic in lines that can be checked with a pocket calculator.
    pub(crate) fn explain(&self, scenario: &Scenario) -> Vec<String> {
        let p = &scenario.population;
        let mut lines = vec![format!(
            "{} users × {} messages/day = {} messages/day = {}/s within {}",
            grouped(p.users),
            p.msgs_per_user_day,
            readable(self.messages_day),
            readable(self.mean_rate),
            p.window
        )];
        let at_the_peak = match p.peak_factor == 1.0 {
            true => "",
            false => " at the peak",
        };
        if p.peak_factor != 1.0 {
            lines.push(format!(
                "peak × {} = {}/s",
                p.peak_factor,
                readable(self.peak_rate)
            ));
        }
        lines.push(format!(
            "share {} = {} users, {} online, {} sessions: {} messages/s in real time{at_the_peak}",
            p.share,
            grouped(self.users),
            grouped(self.online_users),
            grouped(self.sessions),
            readable(self.natural_rate)
        ));
        if let Some(compress) = p.compress {
            lines.push(format!(
                "replayed {compress}: × {} = {} messages/s{at_the_peak}",
                readable(self.compression),
                readable(self.derived_rate)
            ));
        }
        if let Some(groups) = &scenario.traffic.groups {
            lines.extend(groups.explain(self.users));
        }
        let size = scenario.traffic.payload.describe();
        let highest = self.highest(scenario);
        // A mean rate is compared with the mean; the line also shows the peak, if there is one.
        let natural = self.natural_rate / p.peak_factor;
        lines.push(format!(
            "offered: {} messages/s{}, {} × the natural rate of the share; {size}",
            readable(self.offered_rate),
            match highest > self.offered_rate * 1.01 {
                true => format!(" on average and {} at the highest", readable(highest)),
                false => String::new(),
            },
            readable(self.offered_rate / natural)
        ));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load;

    #[test]
    fn what_is_offered_is_the_mean_over_all_executors() {
        let smoke = load::load("smoke").unwrap();
        let offered = |more: &str| {
            let text = smoke.text.replace("[checks]", &format!("{more}\n[checks]"));
            let loaded = load::parse("t".into(), "t".into(), text).unwrap();
            Sizing::of(&loaded.scenario).offered_rate
        };
        // Behind 20 s at 2,000/s: 10 s at 500/s, or beside them.
        let more = "[scenarios.more]\nexecutor = \"constant-arrival-rate\"\nduration = \"10s\"\n\
                    rate = \"500/s\"\nstart_after = ";
        let behind = offered(&format!("{more}\"day\""));
        assert!((behind - 45_000.0 / 30.0).abs() < 1e-6, "{behind}");
        let beside = offered(&format!("{more}\"connect\"\nstart_time = \"5s\""));
        assert!((beside - 45_000.0 / 20.0).abs() < 1e-6, "{beside}");
    }

    #[test]
    fn smoke_is_the_stated_arithmetic() {
        let loaded = load::load("smoke").unwrap();
        let sizing = Sizing::of(&loaded.scenario);
        assert_eq!(sizing.messages_day, 20e9);
        assert_eq!(sizing.mean_rate.round(), 231_481.0);
        assert_eq!((sizing.online_users, sizing.sessions), (2000, 2000));
        assert!((sizing.natural_rate - 0.9259).abs() < 1e-3);
        assert!((sizing.offered_rate - 2000.0).abs() < 1e-6);
        let text = sizing.explain(&loaded.scenario).join("\n");
        for figure in [
            "20,000,000,000",
            "231,481/s",
            "0.926",
            "2,160",
            "2,000 messages/s",
        ] {
            assert!(text.contains(figure), "{figure} in\n{text}");
        }
    }
}
