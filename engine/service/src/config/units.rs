//! Values with units: sizes, durations, the durability level.

use std::fmt;
use std::str::FromStr;
use std::time;

use super::written::quoted;

/// A duration with its unit: `250ms`, `25s`, `5m`, `24h`, `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duration(pub time::Duration);

/// A size with its unit: `512B`, `64KB` (1000), `64KiB` (1024), up to TB and TiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// How long something is kept: a duration, or `keep` for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life(pub Option<time::Duration>);

/// When a message counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After `fdatasync`.
    #[default]
    Sync,
    /// Once written; a thread syncs at this interval.
    Interval(time::Duration),
    /// Once written; the kernel decides when it reaches the disk.
    Os,
}

const DURATIONS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// Returns a whole number with one of the units; underscores may group its digits.
fn parse(text: &str, units: &[(&str, u64)], example: &str) -> Result<u64, String> {
    let shown = quoted(text);
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .trim()
        .replace('_', "")
        .parse()
        .map_err(|_| format!("{shown} is not a whole number with a unit, such as {example}"))?;
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit.trim()) else {
        let known: Vec<_> = units.iter().map(|(name, _)| *name).collect();
        let usual = example.trim_start_matches(|c: char| c.is_ascii_digit());
        return Err(format!(
            "{shown} needs a unit, one of {}, such as {number}{usual}",
            known.join(", ")
        ));
    };
    number
        .checked_mul(*factor)
        .ok_or_else(|| format!("{shown} is too large"))
}

/// Returns the largest unit that shows the number whole.
fn show(value: u64, units: &[(&str, u64)]) -> String {
    let fits = units
        .iter()
        .filter(|(_, factor)| value.is_multiple_of(*factor) && value >= *factor);
    let (unit, factor) = fits.max_by_key(|(_, factor)| factor).unwrap_or(&units[0]);
    format!("{}{unit}", value / factor)
}

impl FromStr for Duration {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &DURATIONS, "25s").map(|ms| Self(time::Duration::from_millis(ms)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(self.0.as_millis() as u64, &DURATIONS))
    }
}

impl FromStr for Life {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "keep" {
            return Ok(Self(None));
        }
        let life = parse(text, &DURATIONS, "30d");
        let life = life.map_err(|problem| format!("{problem}; or keep"))?;
        Ok(Self(Some(time::Duration::from_millis(life))))
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(life) => Duration(life).fmt(f),
            None => f.write_str("keep"),
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &SIZES, "64KiB").map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(self.0, &SIZES))
    }
}

impl FromStr for Durability {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let shown = quoted(text);
        let problem = || format!("{shown} is not sync, os or interval:<ms> (such as interval:50)");
        match text {
            "sync" => Ok(Self::Sync),
            "os" => Ok(Self::Os),
            _ => {
                let ms = text.strip_prefix("interval:").ok_or_else(problem)?;
                let ms: u64 = ms
                    .strip_suffix("ms")
                    .unwrap_or(ms)
                    .parse()
                    .map_err(|_| problem())?;
                if !(1..=60_000).contains(&ms) {
                    return Err(format!("{shown}: the interval is 1 to 60000 milliseconds"));
                }
                Ok(Self::Interval(time::Duration::from_millis(ms)))
            }
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sync => f.write_str("sync"),
            Self::Os => f.write_str("os"),
            Self::Interval(every) => write!(f, "interval:{}", every.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip_and_bad_ones_say_why() {
        for text in ["250ms", "25s", "5m", "23h", "30d"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
        for text in ["512B", "64KB", "64KiB", "3MB", "3MiB", "1GB", "1TiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        for text in ["keep", "7d"] {
            assert_eq!(text.parse::<Life>().unwrap().to_string(), text);
        }
        assert!("kept".parse::<Life>().unwrap_err().contains("keep"));
        for text in ["sync", "os", "interval:50"] {
            assert_eq!(text.parse::<Durability>().unwrap().to_string(), text);
        }
        assert_eq!("1_000 ms".parse::<Duration>().unwrap().to_string(), "1s");
        let error = "2".parse::<Duration>().unwrap_err();
        assert_eq!(error, "'2' needs a unit, one of ms, s, m, h, d, such as 2s");
        assert!(
            "s".parse::<Duration>()
                .unwrap_err()
                .contains("whole number")
        );
        assert!("64kb".parse::<ByteSize>().unwrap_err().contains("KiB"));
        assert!(
            "99999999TiB"
                .parse::<ByteSize>()
                .unwrap_err()
                .contains("too large")
        );
        for bad in ["fast", "interval:", "interval:0", "interval:x"] {
            assert!(bad.parse::<Durability>().is_err(), "{bad}");
        }
    }
}
