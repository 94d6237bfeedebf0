//! The lengths of message texts.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// The shortest message text in bytes. It has room for the header of a text with any numbers.
pub(crate) const MIN_TEXT: usize = 64;
/// The longest message text in bytes.
pub(crate) const MAX_TEXT: usize = 64 * 1024;

/// The lengths of message texts. Each length is brought into the range from 64 B to 64 KiB.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "dist", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Payload {
    /// All texts have the same length.
    Const {
        /// The length.
        bytes: Bytes,
    },
    /// Lengths are log-normal around a median.
    Lognormal {
        /// The median: half of the texts are shorter.
        median: Bytes,
        /// The standard deviation of the logarithm.
        sigma: f64,
    },
    /// Lengths are drawn from counted ones.
    Empirical {
        /// A CSV file of lines `bytes,weight`, beside the scenario unless its path is absolute;
        /// read once, so that the scenario written with the results stands alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// Lengths in bytes, each with its weight.
        #[serde(default)]
        sizes: Vec<(u64, f64)>,
    },
}

impl Payload {
    /// Returns the mean length in bytes, before lengths are brought into the range.
    pub(crate) fn mean(&self) -> f64 {
        match self {
            Self::Const { bytes } => bytes.0 as f64,
            Self::Lognormal { median, sigma } => median.0 as f64 * (sigma * sigma / 2.0).exp(),
            Self::Empirical { sizes, .. } => {
                let weight: f64 = sizes.iter().map(|(_, weight)| weight).sum();
                let sum: f64 = sizes.iter().map(|(bytes, w)| *bytes as f64 * w).sum();
                sum / weight
            }
        }
    }

    /// Describes the lengths in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Const { bytes } => format!("{bytes} of text each"),
            Self::Lognormal { median, sigma } => format!(
                "log-normal text around {median} (sigma {sigma}), {:.0} B on average",
                self.mean()
            ),
            Self::Empirical { sizes, .. } => format!(
                "text of {} counted lengths, {:.0} B on average",
                sizes.len(),
                self.mean()
            ),
        }
    }

    /// Reads the file of counted lengths, if one is named, from beside the scenario.
    ///
    /// # Errors
    /// The file is wrong. The text names the mistake and its line.
    pub(super) fn read_file(&mut self, folder: &Path) -> Result<(), String> {
        let Self::Empirical { file, sizes } = self else {
            return Ok(());
        };
        match file.take() {
            Some(_) if !sizes.is_empty() => Err("give a file or sizes, not both".into()),
            Some(name) => {
                let path = folder.join(&name);
                let text = std::fs::read_to_string(&path)
                    .map_err(|why| format!("{} cannot be read: {why}", path.display()))?;
                *sizes = parse(&text).map_err(|why| format!("{}:{why}", path.display()))?;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Parses lines of `bytes,weight`. A first line of words, empty lines and lines with `#` are
/// skipped.
fn parse(text: &str) -> Result<Vec<(u64, f64)>, String> {
    let mut sizes = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        let heading = number == 1 && line.starts_with(|c: char| c.is_ascii_alphabetic());
        if line.is_empty() || line.starts_with('#') || heading {
            continue;
        }
        let row = line.split_once(',').and_then(|(bytes, weight)| {
            let weight: f64 = weight.trim().parse().ok()?;
            Some((bytes.trim().parse().ok()?, weight))
        });
        match row {
            Some((bytes, weight)) if weight >= 0.0 && weight.is_finite() => {
                sizes.push((bytes, weight));
            }
            _ => {
                return Err(format!(
                    "{number}: `{line}` is not a length in bytes and its weight; write 120,0.25"
                ));
            }
        }
    }
    if sizes.iter().all(|(_, weight)| *weight == 0.0) {
        return Err("1: there is no line with a weight above 0; write 120,0.25".into());
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means() {
        let mean = |payload: Payload| payload.mean();
        assert_eq!(mean(Payload::Const { bytes: Bytes(120) }), 120.0);
        let median = Bytes(1000);
        // e^(1/2) = 1.6487
        let lognormal = mean(Payload::Lognormal { median, sigma: 1.0 });
        assert!((lognormal - 1648.72).abs() < 0.01, "{lognormal}");
        let sizes = vec![(100, 3.0), (1000, 1.0)];
        assert_eq!(mean(Payload::Empirical { file: None, sizes }), 325.0);
    }

    #[test]
    fn a_table_is_read() {
        let sizes = parse("bytes,weight\n100, 3\n\n# rare\n 1000,0.5\n").unwrap();
        assert_eq!(sizes, [(100, 3.0), (1000, 0.5)]);
    }

    #[test]
    fn a_bad_table_names_its_line() {
        for (text, words) in [
            ("", "no line"),
            ("bytes,weight\n100,0\n", "no line"),
            ("100,1\n100\n", "2: `100`"),
            ("100,1\nlong,1\n", "2: `long,1`"),
            ("100,-1\n", "1: `100,-1`"),
            ("100,nan\n", "1: `100,nan`"),
            ("1.5,1\n", "1: `1.5,1`"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(words), "{text:?}: {why}");
        }
    }
}
