//! Quantities with units as people write them, and numbers formatted for people.

mod format;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use format::{counted, each_bytes, grouped, memory, micros, readable, readable_bytes};

/// A duration: a number and one of `us`, `ms`, `s`, `m`, `h`, `d`. At most 366 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

/// A number of bytes, with a unit: `B`, `KB` (1,000), `KiB` (1,024), and so on to `PB` and `PiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) u64);

/// A fraction of a whole, `1/10000`; more than zero and at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// The numerator.
    pub(crate) part: u64,
    /// The denominator; not zero.
    pub(crate) whole: u64,
}

/// Events per second, `2000/s`. More than zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate(pub(crate) f64);

/// The bandwidth of a network in bits per second, `10Gbit/s`. More than zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bandwidth(pub(crate) f64);

/// A replay of a period of real time in a shorter one: `24h=40s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compress {
    /// The period that is replayed.
    pub(crate) from: Span,
    /// The duration of the replay.
    pub(crate) to: Span,
}

const SPAN_UNITS: &[(&str, f64)] = &[
    ("us", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
    ("d", 86_400e9),
];
const BYTE_UNITS: &[(&str, f64)] = &[
    ("B", 1.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("PB", 1e15),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("PiB", 1_125_899_906_842_624.0),
];
const BIT_UNITS: &[(&str, f64)] = &[("Mbit/s", 1e6), ("Gbit/s", 1e9), ("Tbit/s", 1e12)];

/// Splits `12.5ms` into number and unit, and multiplies them. The number may contain `_`. The error
/// names the expected form, with `example`.
fn scaled(text: &str, units: &[(&str, f64)], example: &str) -> Result<f64, String> {
    let digits = text
        .find(|c: char| !matches!(c, '0'..='9' | '.' | '_'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let value: f64 = number
        .replace('_', "")
        .parse()
        .map_err(|_| format!("`{text}` does not start with a number; write {example}"))?;
    let unit = unit.trim();
    match units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => Ok(value * factor),
        None => {
            let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
            let like = names
                .iter()
                .copied()
                .find(|name| name.eq_ignore_ascii_case(unit));
            let first = || names.iter().copied().find(|name| unit.starts_with(name));
            let meant = like.or_else(first).filter(|_| !unit.is_empty());
            let meant = meant.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
            let what = if unit.is_empty() {
                format!("`{text}` has no unit")
            } else {
                format!("`{text}` has the unknown unit `{unit}`")
            };
            Err(format!(
                "{what}{meant}; write {example} (units: {})",
                names.join(", ")
            ))
        }
    }
}

/// The longest duration that is accepted: 366 days. Sums of several such durations stay exact.
const SPAN_MAX: Span = Span(Duration::from_secs(366 * 86_400));

/// The highest rate that is accepted, per second. A run sends much less.
const RATE_MAX: f64 = 1e12;
const RATE_MIN: f64 = 1e-6;

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let nanos = scaled(text, SPAN_UNITS, "\"20s\"")?;
        if nanos > SPAN_MAX.0.as_nanos() as f64 {
            return Err(format!(
                "`{text}` is longer than {SPAN_MAX}, the longest time that is accepted"
            ));
        }
        Ok(Self(Duration::from_nanos(nanos.round() as u64)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        // The largest unit that leaves a whole number, so that writing and reading are inverse.
        let unit = SPAN_UNITS
            .iter()
            .rev()
            .find(|(_, size)| nanos.is_multiple_of(*size as u128));
        match unit {
            Some(_) if nanos == 0 => f.write_str("0s"),
            Some((name, size)) => write!(f, "{}{name}", nanos / (*size as u128)),
            None => write!(f, "{}us", nanos as f64 / 1e3),
        }
    }
}

/// The most bytes that are accepted.
const BYTES_MAX: u64 = 8_000 * (1 << 50);

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = scaled(text, BYTE_UNITS, "\"120B\"")?.round();
        if bytes > BYTES_MAX as f64 {
            let most = Self(BYTES_MAX);
            return Err(format!(
                "`{text}` is more than {most}, the most bytes that are accepted"
            ));
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The largest unit that leaves a whole number, so that writing and reading are inverse.
        let sizes = BYTE_UNITS.iter().map(|(name, size)| (name, *size as u64));
        let fitting = sizes.filter(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size));
        match fitting.max_by_key(|(_, size)| *size) {
            Some((name, size)) => write!(f, "{}{name}", self.0 / size),
            None => f.write_str("0B"),
        }
    }
}

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a share; write a fraction such as \"1/10000\"");
        let (part, whole) = text.split_once('/').unwrap_or((text, "1"));
        let number = |s: &str| {
            s.trim()
                .replace('_', "")
                .parse::<u64>()
                .map_err(|_| wrong())
        };
        let (part, whole) = (number(part)?, number(whole)?);
        if part == 0 || part > whole {
            return Err(format!(
                "the share `{text}` must be more than 0 and at most 1/1"
            ));
        }
        Ok(Self { part, whole })
    }
}

impl Share {
    /// Returns this share of `count`, rounded to the nearest number.
    pub(crate) fn of(self, count: u64) -> u64 {
        let exact = u128::from(count) * u128::from(self.part);
        ((exact + u128::from(self.whole) / 2) / u128::from(self.whole)) as u64
    }

    /// Returns the share as a number, 0 to 1.
    pub(crate) fn as_f64(self) -> f64 {
        self.part as f64 / self.whole as f64
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.whole)
    }
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix("/s").ok_or_else(|| {
            format!("`{text}` has no unit; write messages per second as \"{text}/s\"")
        })?;
        match number.trim().replace('_', "").parse::<f64>() {
            Ok(rate) if (RATE_MIN..=RATE_MAX).contains(&rate) => Ok(Self(rate)),
            Ok(rate) if rate > RATE_MAX => Err(format!(
                "`{text}` is more than {}/s, the highest rate that is accepted",
                grouped(RATE_MAX as u64)
            )),
            Ok(rate) if rate > 0.0 => Err(format!(
                "`{text}` is less than {RATE_MIN}/s, the lowest rate that is accepted"
            )),
            _ => Err(format!(
                "`{text}` is not a rate above zero; write \"2000/s\""
            )),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

/// The highest bandwidth that is accepted, in bits per second.
const BITS_MAX: f64 = 1e18;

impl FromStr for Bandwidth {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bits = scaled(text, BIT_UNITS, "\"10Gbit/s\"")?;
        if bits > BITS_MAX {
            Err(format!(
                "`{text}` is more than 1,000,000 Tbit/s, the most that is accepted"
            ))
        } else if bits > 0.0 {
            Ok(Self(bits))
        } else {
            Err(format!(
                "`{text}` is not a bandwidth: it must be above zero"
            ))
        }
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Mbit/s", self.0 / 1e6)
    }
}

impl FromStr for Compress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not a replay; write \"24h=10m\""))?;
        let (from, to): (Span, Span) = (from.trim().parse()?, to.trim().parse()?);
        if to.0.is_zero() || from < to {
            return Err(format!(
                "`{text}` would be slower than real time; the first time must be the longer one"
            ));
        }
        Ok(Self { from, to })
    }
}

impl Compress {
    /// Returns how many times faster than real time the replay is: 2,160 for `24h=40s`.
    pub(crate) fn factor(self) -> f64 {
        self.from.0.as_secs_f64() / self.to.0.as_secs_f64()
    }
}

impl fmt::Display for Compress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.from, self.to)
    }
}

/// Deserializes from a string only. The error for a bare number names the missing unit.
struct Text<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text with a unit")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        match number.to_string().parse::<T>() {
            Ok(value) => Ok(value),
            Err(why) => Err(E::custom(why)),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        Err(E::invalid_type(Unexpected::Float(number), &self))
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Text(std::marker::PhantomData))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
as_text!(Span, Bytes, Share, Rate, Bandwidth, Compress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_write() {
        for (text, micros) in [
            ("250us", 250),
            ("5ms", 5_000),
            ("20s", 20_000_000),
            ("2m", 120_000_000),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.as_micros(), micros);
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("1.5s".parse::<Span>().unwrap().to_string(), "1500ms");
        assert_eq!("24h".parse::<Span>().unwrap().to_string(), "1d");
    }

    #[test]
    fn a_missing_unit_is_named() {
        assert!("20".parse::<Span>().unwrap_err().contains("no unit"));
        assert!("120".parse::<Bytes>().unwrap_err().contains("no unit"));
        assert!("2000".parse::<Rate>().unwrap_err().contains("2000/s"));
        assert!("5 parsecs".parse::<Span>().unwrap_err().contains("parsecs"));
        for (text, meant) in [
            ("5 sec", "`s`"),
            ("5min", "`m`"),
            ("5hours", "`h`"),
            ("5MS", "`ms`"),
        ] {
            let refused = text.parse::<Span>().unwrap_err();
            assert!(
                refused.contains(&format!("did you mean {meant}?")),
                "{refused}"
            );
        }
        let refused = "5kb".parse::<Bytes>().unwrap_err();
        assert!(refused.contains("did you mean `KB`?"), "{refused}");
    }

    #[test]
    fn bytes_know_both_thousands() {
        assert_eq!("7KB".parse::<Bytes>().unwrap().0, 7_000);
        assert_eq!("7KiB".parse::<Bytes>().unwrap().0, 7_168);
        for text in ["0B", "120B", "7KB", "7KiB", "1500B", "64GB", "1536MiB"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        assert_eq!("8TB".parse::<Bytes>().unwrap().0, 8_000_000_000_000);
    }

    #[test]
    fn shares_are_exact() {
        let share: Share = "1/250000".parse().unwrap();
        assert_eq!(share.of(500_000_000), 2_000);
        assert!("0/5".parse::<Share>().is_err());
        assert!("6/5".parse::<Share>().is_err());
    }

    #[test]
    fn compression_has_a_factor() {
        let compress: Compress = "24h=40s".parse().unwrap();
        assert!((compress.factor() - 2160.0).abs() < 1e-9);
        assert!("10s=24h".parse::<Compress>().is_err());
    }

    #[test]
    fn what_is_beyond_all_measure_is_refused_with_the_most_there_is() {
        let nines = "9".repeat(400);
        for text in ["367d", "99999999999999999999h", &format!("{nines}s")] {
            let refused = text.parse::<Span>().unwrap_err();
            assert!(refused.contains("366d"), "{refused}");
        }
        for text in ["9000PiB", &format!("{nines}GB")] {
            let refused = text.parse::<Bytes>().unwrap_err();
            assert!(refused.contains("8000PiB"), "{refused}");
        }
        for text in ["1000000000001/s", &format!("{nines}/s")] {
            let refused = text.parse::<Rate>().unwrap_err();
            assert!(refused.contains("1,000,000,000,000/s"), "{refused}");
        }
        let refused = "0.0000001/s".parse::<Rate>().unwrap_err();
        assert!(refused.contains("0.000001/s"), "{refused}");
        assert!("1000001Tbit/s".parse::<Bandwidth>().is_err());
        // What is calculated beyond is not cut to the largest number that there is.
        assert_eq!(counted(3.7e20), "3.700e20");
        assert_eq!(readable(3.7e20), "3.700e20");
        assert_eq!(counted(20e9), "20,000,000,000");
    }

    #[test]
    fn bandwidths_are_bits() {
        let gigabit: Bandwidth = "10Gbit/s".parse().unwrap();
        assert_eq!(gigabit.0, 1e10);
        assert_eq!(gigabit.to_string().parse::<Bandwidth>().unwrap(), gigabit);
        for text in ["10", "10GB/s", "0Gbit/s", "10Gbit"] {
            assert!(text.parse::<Bandwidth>().is_err(), "{text}");
        }
    }
}
