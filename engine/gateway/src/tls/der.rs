//! The time in which a certificate is valid (RFC 5280 §4.1), read from its DER.
//!
//! The gateway reads the outline of a certificate only. A library for the whole would take a tenth of a
//! first build.

use crate::files::element;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
/// The tag of the version, which certificates of version 1 leave out.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The first and the last second in which a certificate is valid, since 1970 UTC.
pub(super) struct Period {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// Reads the period in which a certificate is valid. Returns `None` if the bytes are not a certificate.
pub(super) fn period(certificate: &[u8]) -> Option<Period> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (signed, rest) = element(certificate, SEQUENCE)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (_signature, _) = element(rest, BIT_STRING)?;

    let rest = element(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = element(rest, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (_issuer, rest) = element(rest, SEQUENCE)?;
    let (validity, rest) = element(rest, SEQUENCE)?;
    let (_subject, rest) = element(rest, SEQUENCE)?;
    let (_key, _) = element(rest, SEQUENCE)?;

    let (from, rest) = time(validity)?;
    let (to, _) = time(rest)?;
    Some(Period { from, to })
}

/// Reads a time. Returns it in seconds since 1970 UTC, with the bytes after it.
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (year, text, rest) = if let Some((text, rest)) = element(der, UTC_TIME) {
        let (year, text) = digits(text, 2)?;
        // Two digits are a year from 1950 to 2049 (RFC 5280 §4.1.2.5.1).
        (if year < 50 { 2_000 } else { 1_900 } + year, text, rest)
    } else {
        let (text, rest) = element(der, GENERALIZED_TIME)?;
        let (year, text) = digits(text, 4)?;
        (year, text, rest)
    };
    let (month, text) = digits(text, 2)?;
    let (day, text) = digits(text, 2)?;
    let (hour, text) = digits(text, 2)?;
    let (minute, text) = digits(text, 2)?;
    let (second, text) = digits(text, 2)?;
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && text == b"Z";
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    is_time.then_some((seconds, rest))
}

/// Reads a number of `count` digits at the front of a text. Returns it with the text after it.
fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    Some((digits.parse().ok().filter(|_| is_number)?, rest))
}

/// Returns the number of days from 1970-01-01 to a date. The arithmetic uses years that begin in March, so
/// that the extra day of a leap year is the last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // From 0000-03-01, which is 719,468 days before 1970-01-01.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of an element that is shorter than 128 bytes.
    fn with_tag(tag: u8, inside: &[u8]) -> Vec<u8> {
        let mut der = vec![tag, u8::try_from(inside.len()).unwrap()];
        der.extend(inside);
        der
    }

    fn read(tag: u8, text: &str) -> Option<i64> {
        time(&with_tag(tag, text.as_bytes())).map(|(seconds, _)| seconds)
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "500101000000Z", -631_152_000),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (UTC_TIME, "000229000000Z", 951_782_400),
            (UTC_TIME, "000301000000Z", 951_868_800),
            (GENERALIZED_TIME, "20500203000000Z", 2_527_459_200),
            (GENERALIZED_TIME, "21000301000000Z", 4_107_542_400),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
            (GENERALIZED_TIME, "00000101000000Z", -62_167_219_200),
        ] {
            assert_eq!(read(tag, text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        for text in [
            "",
            "7001010000Z",
            "700101000000",
            "700101000000+0100",
            "701301000000Z",
            "700001000000Z",
            "700100000000Z",
            "700101240000Z",
            "700101006000Z",
            "700101000060Z",
            "+00101000000Z",
        ] {
            assert_eq!(read(UTC_TIME, text), None, "{text}");
        }
    }

    /// A certificate of version 1, without what nobody here looks at.
    fn certificate(validity: &[u8]) -> Vec<u8> {
        let empty = with_tag(SEQUENCE, &[]);
        let signed = [
            with_tag(INTEGER, &[1]),
            empty.clone(),
            empty.clone(),
            with_tag(SEQUENCE, validity),
            empty.clone(),
            empty.clone(),
        ];
        let parts = [
            with_tag(SEQUENCE, &signed.concat()),
            empty,
            with_tag(BIT_STRING, &[0]),
        ];
        with_tag(SEQUENCE, &parts.concat())
    }

    #[test]
    fn a_certificate_is_read_whole_or_not_at_all() {
        let times = ["700101000000Z", "000229000000Z"];
        let times = times.map(|text| with_tag(UTC_TIME, text.as_bytes()));
        let good = certificate(&times.concat());
        let period = period(&good).expect("a certificate");
        assert_eq!((period.from, period.to), (0, 951_782_400));
        for end in 0..good.len() {
            assert!(super::period(&good[..end]).is_none(), "{end} bytes");
        }
        assert!(super::period(&certificate(&times[0])).is_none(), "one time");
    }
}
