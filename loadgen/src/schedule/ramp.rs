//! A ramp of connections along straight stages.

use crate::clock::Nanos;

/// The ramp of one thread: the time of each connection.
#[derive(Debug)]
pub(crate) struct Ramp {
    /// The end of each stage, and the part of all connections by then.
    corners: Vec<(Nanos, f64)>,
    devices: u32,
    next: u32,
}

impl Ramp {
    /// Makes a ramp over `devices` devices. Each stage has a duration and the part of all devices
    /// by its end, 0 to 1. Parts must not fall.
    pub(crate) fn new(stages: &[(Nanos, f64)], devices: u32) -> Self {
        let mut end = 0;
        let corners = stages.iter().map(|(duration, part)| {
            end += duration;
            (end, *part)
        });
        Self {
            corners: corners.collect(),
            devices,
            next: 0,
        }
    }

    /// Returns when the next connection is due, from the start of the ramp.
    pub(super) fn due(&self) -> Option<Nanos> {
        let part = f64::from(self.next) / f64::from(self.devices);
        (self.next < self.devices).then(|| self.time_of(part))?
    }

    /// Returns when a part of the connections is reached; `None` if the ramp ends below it.
    fn time_of(&self, part: f64) -> Option<Nanos> {
        let mut from = (0, 0.0);
        for corner in &self.corners {
            if part < corner.1 {
                let within = (part - from.1) / (corner.1 - from.1);
                let into = (corner.0 - from.0) as f64 * within;
                return Some(from.0 + into.round() as Nanos);
            }
            from = *corner;
        }
        None
    }

    /// Takes the next device to connect.
    pub(super) fn take(&mut self) -> Option<u32> {
        self.due()?;
        self.next += 1;
        Some(self.next - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_straight_and_complete() {
        let mut ramp = Ramp::new(&[(100, 0.5), (100, 0.5), (1000, 1.0)], 10);
        let mut times = Vec::new();
        while let Some(at) = ramp.due() {
            times.push(at);
            ramp.take().unwrap();
        }
        assert_eq!(times, [0, 20, 40, 60, 80, 200, 400, 600, 800, 1000]);
        assert_eq!(ramp.take(), None);
    }

    #[test]
    fn a_ramp_may_end_below_all() {
        let mut ramp = Ramp::new(&[(100, 0.3)], 10);
        let taken: Vec<_> = std::iter::from_fn(|| ramp.take()).collect();
        assert_eq!(taken, [0, 1, 2]);
    }
}
