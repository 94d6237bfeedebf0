//! Numbers as people read them.

/// Formats `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The largest number that is shown with all its digits. A larger float does not hold all of them.
const WHOLE_MAX: f64 = 9e15;

/// Formats a calculated count, with all the digits that a float holds.
pub(crate) fn counted(number: f64) -> String {
    match number {
        n if n >= WHOLE_MAX => format!("{n:.3e}"),
        n => grouped(n.max(0.0) as u64),
    }
}

/// Formats a rate with as many decimals as it needs: `231,481`, `93.4`, `0.926`.
pub(crate) fn readable(number: f64) -> String {
    match number {
        n if n >= WHOLE_MAX => format!("{n:.3e}"),
        n if n >= 1000.0 => grouped(n.round() as u64),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.3}"),
    }
}

/// Formats a number of bytes with at least three digits, in powers of 1,000: `27.8 MB`, `8.77 PB`.
pub(crate) fn readable_bytes(bytes: f64) -> String {
    let names = ["B", "KB", "MB", "GB", "TB", "PB", "EB"];
    let mut unit = 0;
    let mut number = bytes;
    while number >= 999.5 && unit + 1 < names.len() {
        number /= 1000.0;
        unit += 1;
    }
    match number {
        n if unit == 0 => format!("{n:.0} B"),
        n if n >= 99.95 => format!("{n:.0} {}", names[unit]),
        n if n >= 9.995 => format!("{n:.1} {}", names[unit]),
        n => format!("{n:.2} {}", names[unit]),
    }
}

/// Formats a process's resident memory in whole MiB, rounded to the nearest.
pub(crate) fn memory(bytes: u64) -> String {
    format!("{} MiB", grouped((bytes + (1 << 19)) >> 20))
}

/// Formats a number of bytes with all its digits.
pub(crate) fn each_bytes(bytes: u64) -> String {
    format!("{} B", grouped(bytes))
}

/// Formats microseconds as `312 µs`, `4.21 ms` or `1.30 s`.
pub(crate) fn micros(us: u64) -> String {
    match us {
        0..=999 => format!("{us} µs"),
        1_000..=999_999 => format!("{:.2} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(20_000_000_000), "20,000,000,000");
        assert_eq!(grouped(999), "999");
        assert_eq!(readable(231_481.48), "231,481");
        assert_eq!(readable(0.9259), "0.926");
        assert_eq!(micros(4_213), "4.21 ms");
        assert_eq!(memory((41 << 20) + (1 << 19)), "42 MiB");
        assert_eq!(memory((41 << 20) + (1 << 19) - 1), "41 MiB");
        assert_eq!(memory(4_096 << 20), "4,096 MiB");
        assert_eq!(each_bytes(13_623), "13,623 B");
        for (bytes, text) in [
            (120.0, "120 B"),
            (999.4, "999 B"),
            (999.6, "1.00 KB"),
            (27_777_778.0, "27.8 MB"),
            (15.75e12, "15.8 TB"),
            (8.766e15, "8.77 PB"),
            (360e12, "360 TB"),
            (5e21, "5000 EB"),
        ] {
            assert_eq!(readable_bytes(bytes), text);
        }
    }
}
