//! The table of targets, and the measurements that are not steady.

use trunkline_benches::figures;
use trunkline_benches::metering::{Measured, remark};

/// The targets with the measured values.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    rows: Vec<[String; 4]>,
    /// The number of measurements that are not steady, or did not run.
    unsteady: usize,
}

impl Targets {
    /// Enters a target with a lower bound.
    pub(crate) fn at_least(&mut self, what: &str, measured: f64, least: f64, unit: &str) {
        self.add(what, measured, "≥", least, unit, measured >= least);
    }

    /// Enters a target with an upper bound.
    pub(crate) fn at_most(&mut self, what: &str, measured: f64, most: f64, unit: &str) {
        self.add(what, measured, "≤", most, unit, measured <= most);
    }

    fn add(&mut self, what: &str, measured: f64, sign: &str, bound: f64, unit: &str, met: bool) {
        self.rows.push([
            what.into(),
            format!("{}{unit}", figures::short(measured)),
            format!("{sign} {}{unit}", figures::short(bound)),
            if met { "met" } else { "missed" }.into(),
        ]);
    }

    /// Enters a section that did not run. The reason is printed in its place.
    pub(crate) fn not_run(&mut self, section: &str) {
        self.unsteady += 1;
        let row = [section, "not run", "", ""];
        self.rows.push(row.map(str::to_owned));
    }

    /// Prints whether a measurement of messages was steady, if there is something to say, and counts
    /// it if not.
    pub(crate) fn steady(&mut self, what: &str, measured: &Measured) {
        if let Some(remark) = remark(measured, true) {
            println!("  {what}: {}", remark.text);
            self.unsteady += usize::from(!remark.steady);
        }
    }

    /// Returns the number of measurements that are not steady, or did not run.
    pub(crate) fn unsteady(&self) -> usize {
        self.unsteady
    }

    pub(crate) fn print(&self) {
        if !self.rows.is_empty() {
            let rows: Vec<_> = self.rows.iter().map(|row| row.to_vec()).collect();
            let head = ["target", "measured", "wanted", ""];
            println!("{}", figures::table(&head, &rows));
        }
    }
}
