//! The table of targets.

use trunkline_benches::figures;

/// A target and the measured value.
#[derive(Debug, Default)]
pub(crate) struct Targets(Vec<[String; 4]>);

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
        self.0.push([
            what.into(),
            format!("{}{unit}", figures::short(measured)),
            format!("{sign} {}{unit}", figures::short(bound)),
            if met { "met" } else { "missed" }.into(),
        ]);
    }

    /// Enters a section that did not run. The reason is printed in its place.
    pub(crate) fn not_run(&mut self, section: &str) {
        let row = [section, "not run", "", ""];
        self.0.push(row.map(str::to_owned));
    }

    pub(crate) fn print(&self) {
        if !self.0.is_empty() {
            let rows: Vec<_> = self.0.iter().map(|row| row.to_vec()).collect();
            let head = ["target", "measured", "wanted", ""];
            println!("{}", figures::table(&head, &rows));
        }
    }
}
