//! The history of a run: figures of each second, in bounded memory.

use std::collections::VecDeque;

/// The figures of one second, or of several together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Point {
    /// The end of the second, in seconds since the run's start.
    pub(crate) at: f64,
    /// Sends per second that became due.
    pub(crate) offered: f64,
    /// Sends per second that were acknowledged.
    pub(crate) achieved: f64,
    /// Sessions open at the end.
    pub(crate) open: f64,
    /// A latency in microseconds; for several seconds, that of the worst one.
    pub(crate) ack_p99: f64,
    pub(crate) e2e_p50: f64,
    pub(crate) e2e_p99: f64,
    pub(crate) lag_p99: f64,
    pub(crate) connect_p99: f64,
    /// The number of processors kept busy.
    pub(crate) generator_cpu: f64,
    pub(crate) gateway_cpu: f64,
    /// Resident bytes at the end.
    pub(crate) gateway_rss: f64,
}

impl Point {
    /// Joins this point, which stands for `count` points, with a later one.
    fn with(self, many: u32, later: Self) -> Self {
        let many = f64::from(many);
        let mean = |one: f64, other: f64| one.mul_add(many, other) / (many + 1.0);
        Self {
            at: later.at,
            offered: mean(self.offered, later.offered),
            achieved: mean(self.achieved, later.achieved),
            open: later.open,
            ack_p99: self.ack_p99.max(later.ack_p99),
            e2e_p50: self.e2e_p50.max(later.e2e_p50),
            e2e_p99: self.e2e_p99.max(later.e2e_p99),
            lag_p99: self.lag_p99.max(later.lag_p99),
            connect_p99: self.connect_p99.max(later.connect_p99),
            generator_cpu: mean(self.generator_cpu, later.generator_cpu),
            gateway_cpu: mean(self.gateway_cpu, later.gateway_cpu),
            gateway_rss: later.gateway_rss,
        }
    }
}

/// The most points of each of the two series.
const MOST: usize = 240;

/// The last seconds one by one, and the whole run in a bounded number of points.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) last: VecDeque<Point>,
    pub(crate) whole: Vec<Point>,
    /// The number of seconds that a point of the whole run stands for.
    pub(crate) width: u32,
    /// The seconds that do not fill a point yet, joined into one, and their number.
    pending: Option<(Point, u32)>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            last: VecDeque::new(),
            whole: Vec::new(),
            width: 1,
            pending: None,
        }
    }
}

impl History {
    /// Adds a second.
    pub(crate) fn push(&mut self, point: Point) {
        if self.last.len() == MOST {
            self.last.pop_front();
        }
        self.last.push_back(point);
        let (point, seconds) = match self.pending.take() {
            None => (point, 1),
            Some((before, seconds)) => (before.with(seconds, point), seconds + 1),
        };
        if seconds < self.width {
            self.pending = Some((point, seconds));
            return;
        }
        self.whole.push(point);
        if self.whole.len() == MOST {
            self.width *= 2;
            let pairs = self.whole.chunks(2).map(|pair| pair[0].with(1, pair[1]));
            self.whole = pairs.collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_shows_the_whole_run() {
        let mut history = History::default();
        for second in 1..=10_000u32 {
            history.push(Point {
                at: f64::from(second),
                offered: 7.0,
                open: f64::from(second),
                e2e_p99: if second == 3_000 { 900.0 } else { 5.0 },
                ..Point::default()
            });
            assert!(history.last.len() <= MOST && history.whole.len() < MOST);
        }
        assert_eq!(history.last.len(), MOST);
        assert_eq!(history.last[0].at, 10_000.0 - 239.0);
        assert_eq!(history.width, 64);
        let whole = &history.whole;
        assert!(whole.len() >= MOST / 2, "{}", whole.len());
        assert!(whole.windows(2).all(|pair| pair[1].at - pair[0].at == 64.0));
        assert!(whole.iter().all(|it| (it.offered - 7.0).abs() < 1e-9));
        let worst: Vec<_> = whole.iter().filter(|it| it.e2e_p99 == 900.0).collect();
        assert_eq!(worst.len(), 1);
        let point = |offered| Point {
            offered,
            ..Point::default()
        };
        let four = point(8.0)
            .with(1, point(4.0))
            .with(2, point(0.0))
            .with(3, point(4.0));
        assert_eq!(four.offered, 4.0);
        assert!((3_000.0..3_064.0).contains(&worst[0].at));
    }
}
