//! The arithmetic from a whole service to one run, and the same in words.

use super::validate::CONSTANT_ARRIVAL_RATE;
use super::{Payload, Scenario};
use crate::units::{grouped, readable};

/// What a scenario comes to.
#[derive(Clone, Debug)]
pub(crate) struct Sizing {
    /// Messages of the whole service in 24 hours.
    pub(crate) messages_day: f64,
    /// Its mean rate within the window.
    pub(crate) mean_rate: f64,
    /// Its rate at the peak.
    pub(crate) peak_rate: f64,
    /// Users that the run stands for.
    pub(crate) users: u64,
    /// Those of them that connect.
    pub(crate) online_users: u64,
    /// Their sessions, all devices together.
    pub(crate) sessions: u64,
    /// The share's rate at the peak, in real time.
    pub(crate) natural_rate: f64,
    /// How much faster than life the share's day is replayed.
    pub(crate) compression: f64,
    /// The rate that follows: share, peak and compression.
    pub(crate) derived_rate: f64,
    /// The rate that the arrival executors offer together.
    pub(crate) offered_rate: f64,
}

impl Sizing {
    /// Does the arithmetic.
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
        let offered_rate = scenario
            .scenarios
            .values()
            .filter(|executor| executor.executor == CONSTANT_ARRIVAL_RATE)
            .map(|executor| executor.rate.map_or(derived_rate, |rate| rate.0))
            .sum();
        let sessions = (online_users as f64 * p.devices).floor() as u64;
        Self {
            messages_day,
            mean_rate,
            peak_rate,
            users,
            online_users,
            sessions,
            natural_rate,
            compression,
            derived_rate,
            offered_rate,
        }
    }

    /// The arithmetic in lines, each checkable with a pocket calculator.
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
        if p.peak_factor != 1.0 {
            lines.push(format!(
                "peak × {} = {}/s",
                p.peak_factor,
                readable(self.peak_rate)
            ));
        }
        lines.push(format!(
            "share {} = {} users, {} online, {} sessions: {} messages/s in real time",
            p.share,
            grouped(self.users),
            grouped(self.online_users),
            grouped(self.sessions),
            readable(self.natural_rate)
        ));
        if let Some(compress) = p.compress {
            lines.push(format!(
                "replayed {compress}: × {} = {} messages/s",
                readable(self.compression),
                readable(self.derived_rate)
            ));
        }
        let size = match scenario.traffic.payload {
            Payload::Const { bytes } => format!("{bytes} of text each"),
            Payload::Lognormal { median, sigma } => {
                format!("log-normal text around {median} (sigma {sigma})")
            }
        };
        lines.push(format!(
            "offered: {} messages/s, {} × the natural rate of the share; {size}",
            readable(self.offered_rate),
            readable(self.offered_rate / self.natural_rate)
        ));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load;

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
