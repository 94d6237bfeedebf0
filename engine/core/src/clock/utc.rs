//! Dates and times of day for people.

/// Returns a time as date and time of day in UTC, such as `2024-02-29 00:00:00`. `millis` are
/// milliseconds since 1970 UTC.
pub fn utc(millis: u64) -> String {
    let seconds = millis / 1_000;
    let Date { year, month, day } = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// A date of the Gregorian calendar.
struct Date {
    year: u64,
    /// The month, from 1 to 12.
    month: u64,
    /// The day of the month, from 1 to 31.
    day: u64,
}

/// Returns the date of a day. `day` counts the days since 1970-01-01.
///
/// The computation uses years that begin in March. The 29th of February, which only some years
/// have, is then the last day of a year.
fn date(day: u64) -> Date {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // The days since 0000-03-01.
    let day = day + 719_468;
    let (era, day) = (day / DAYS_OF_400_YEARS, day % DAYS_OF_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = year + 400 * era;
    // Month 0 is March, month 10 is January of the next year.
    let (year, month) = match month {
        0..10 => (year, month + 3),
        _ => (year + 1, month - 9),
    };
    Date { year, month, day }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_700_000_000, "2023-11-14 22:13:20"),
            (1_709_164_800, "2024-02-29 00:00:00"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (4_102_444_799, "2099-12-31 23:59:59"),
        ] {
            assert_eq!(utc(seconds * 1_000 + 999), expected, "{seconds}");
        }
    }
}
