//! Curves: rates over time.

mod day;

pub(crate) use day::Shape;

/// A rate over time in straight pieces, as its integral's inverse: when the n-th event is expected.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pieces: Vec<Piece>,
    seconds: f64,
    events: f64,
}

/// From `start` on, with `before` events before it, at `rate` events per second that change by
/// `slope` every second.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: f64,
    before: f64,
    rate: f64,
    slope: f64,
}

impl Curve {
    /// Returns the curve of a constant rate, in events per second.
    pub(crate) fn constant(rate: f64, seconds: f64) -> Self {
        Self::through(&[(0.0, rate), (seconds, rate)])
    }

    /// Returns the curve that is straight from corner to corner. A corner is a second and the
    /// events per second there. The seconds must not fall; two corners at one second are a step.
    pub(crate) fn through(corners: &[(f64, f64)]) -> Self {
        let mut pieces = Vec::with_capacity(corners.len());
        let mut events = 0.0;
        for pair in corners.windows(2) {
            let ((start, rate), (end, last)) = (pair[0], pair[1]);
            let length = end - start;
            if length > 0.0 {
                pieces.push(Piece {
                    start,
                    before: events,
                    rate,
                    slope: (last - rate) / length,
                });
                events += (rate + last) / 2.0 * length;
            }
        }
        Self {
            pieces,
            seconds: corners.last().map_or(0.0, |corner| corner.0),
            events,
        }
    }

    /// Returns the curve with `factor` times the rate.
    pub(crate) fn scaled(&self, factor: f64) -> Self {
        let pieces = self.pieces.iter().map(|piece| Piece {
            before: piece.before * factor,
            rate: piece.rate * factor,
            slope: piece.slope * factor,
            ..*piece
        });
        Self {
            pieces: pieces.collect(),
            seconds: self.seconds,
            events: self.events * factor,
        }
    }

    /// Returns how long the curve lasts, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Returns the highest rate.
    pub(crate) fn highest(&self) -> f64 {
        let ends = self.pieces.iter().skip(1).map(|piece| piece.start);
        let ends = ends.chain([self.seconds]);
        let pieces = self.pieces.iter().zip(ends);
        let rates = pieces.map(|(it, end)| it.rate.max(it.rate + it.slope * (end - it.start)));
        rates.fold(0.0, f64::max)
    }

    /// Returns the number of all events.
    pub(crate) fn events(&self) -> f64 {
        self.events
    }

    /// Returns the mean rate.
    pub(crate) fn mean(&self) -> f64 {
        self.events / self.seconds
    }

    /// Returns the second at which `events` events are expected to have happened; infinity behind
    /// the end.
    ///
    /// The running sum of unit exponentials as `events` yields a Poisson process of this rate.
    pub(crate) fn time_of(&self, events: f64) -> f64 {
        if events >= self.events {
            return f64::INFINITY;
        }
        let after = self.pieces.partition_point(|piece| piece.before <= events);
        let Some(piece) = after.checked_sub(1).map(|i| self.pieces[i]) else {
            return f64::INFINITY;
        };
        let into = events - piece.before;
        if into <= 0.0 {
            return piece.start;
        }
        // The root of rate·x + slope·x²/2 = into that does not divide by a slope of zero. Rounding
        // may put the end of a falling piece a hair behind its root.
        let square = (piece.rate * piece.rate + 2.0 * piece.slope * into).max(0.0);
        piece.start + 2.0 * into / (piece.rate + square.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(curve: &Curve, cases: &[(f64, f64)]) {
        for &(events, second) in cases {
            let at = curve.time_of(events);
            assert!(
                (at - second).abs() < 1e-9 || at == second,
                "{events} events: {at}, not {second}"
            );
        }
    }

    #[test]
    fn a_constant_rate_is_a_straight_line() {
        let curve = Curve::constant(50.0, 10.0);
        check(
            &curve,
            &[
                (0.0, 0.0),
                (1.0, 0.02),
                (499.0, 9.98),
                (500.0, f64::INFINITY),
            ],
        );
        assert_eq!((curve.mean(), curve.seconds()), (50.0, 10.0));
        assert_eq!((curve.highest(), curve.events()), (50.0, 500.0));
        let ramp = Curve::through(&[(0.0, 10.0), (5.0, 90.0), (9.0, 20.0)]);
        assert_eq!(ramp.highest(), 90.0);
    }

    #[test]
    fn a_ramp_has_the_area_of_its_triangle() {
        // From 0 to 100/s in 10 s: 500 events, a quarter of them in the first half.
        let up = Curve::through(&[(0.0, 0.0), (10.0, 100.0)]);
        assert_eq!(up.mean(), 50.0);
        check(&up, &[(0.0, 0.0), (125.0, 5.0), (320.0, 8.0)]);
        let down = Curve::through(&[(0.0, 100.0), (10.0, 0.0)]);
        check(&down, &[(375.0, 5.0), (180.0, 2.0)]);
        assert!(down.time_of(499.999_999) <= 10.0);
    }

    #[test]
    fn pieces_join_and_steps_are_steep() {
        // 10 s at 10/s, then 10 s at 30/s, then nothing for 10 s, then 10 s down from 20/s.
        let curve = Curve::through(&[
            (0.0, 10.0),
            (10.0, 10.0),
            (10.0, 30.0),
            (20.0, 30.0),
            (20.0, 0.0),
            (30.0, 0.0),
            (30.0, 20.0),
            (40.0, 0.0),
        ]);
        assert_eq!(curve.mean(), 500.0 / 40.0);
        check(
            &curve,
            &[
                (50.0, 5.0),
                (100.0, 10.0),
                (130.0, 11.0),
                (399.0, 19.0 + 29.0 / 30.0),
                (475.0, 35.0),
                (500.0, f64::INFINITY),
            ],
        );
        let half = curve.scaled(0.5);
        check(&half, &[(25.0, 5.0), (65.0, 11.0), (237.5, 35.0)]);
    }

    #[test]
    fn nothing_never_happens() {
        check(&Curve::constant(0.0, 10.0), &[(0.0, f64::INFINITY)]);
        check(&Curve::through(&[]), &[(0.0, f64::INFINITY)]);
    }
}
