//! How a rate runs over time.

/// A rate over time, as its integral's inverse: when the n-th event is expected.
#[derive(Clone, Debug)]
pub(crate) enum Curve {
    /// The same rate throughout, events per second.
    Constant(f64),
}

impl Curve {
    /// The second at which `events` events are expected to have happened.
    ///
    /// Feeding it the running sum of unit exponentials yields a Poisson process of this rate.
    pub(crate) fn time_of(&self, events: f64) -> f64 {
        match self {
            Self::Constant(rate) => events / rate,
        }
    }
}
