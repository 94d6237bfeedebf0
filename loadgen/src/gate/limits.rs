//! The file of limits: what each count may be, and with which compiler it was counted.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::counts::Counts;
use crate::exit::{Failure, Outcome};

/// The largest file of limits that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// The compiler, the C library and the processor by which instructions are counted. With others, the same
/// source takes other instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Toolchain {
    pub(super) rustc: String,
    pub(super) libc: String,
    pub(super) processor: String,
}

impl Toolchain {
    /// Returns the parts with their names.
    pub(super) fn parts(&self) -> [(&'static str, &str); 3] {
        [
            ("rustc", &self.rustc),
            ("libc", &self.libc),
            ("processor", &self.processor),
        ]
    }
}

/// The limits of a checkout.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) toolchain: Toolchain,
    /// Instructions for each message.
    pub(super) instructions: BTreeMap<String, f64>,
    /// Bytes for each message or session.
    pub(super) bytes: BTreeMap<String, u64>,
}

impl Limits {
    /// Reads a file of limits.
    ///
    /// # Errors
    /// Exit 104: the file cannot be read, or is not one of limits.
    pub(super) fn read(file: &Path) -> Outcome<Self> {
        Self::parse(&text(file)?)
            .map_err(|why| Failure::scenario(format!("{}: {why}", file.display())))
    }

    /// Parses a file of limits.
    ///
    /// # Errors
    /// The text is not one of limits; the message has the line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let limits: Self = toml::from_str(text).map_err(|why| why.to_string())?;
        let bad = limits
            .instructions
            .iter()
            .find(|(_, it)| **it <= 0.0 || !it.is_finite());
        match bad {
            Some((name, limit)) => Err(format!("{name} = {limit}: a limit is above 0")),
            None => Ok(limits),
        }
    }

    /// Returns all limits as numbers, with their names.
    pub(super) fn all(&self) -> BTreeMap<&str, f64> {
        let instructions = self
            .instructions
            .iter()
            .map(|(name, limit)| (&**name, *limit));
        let bytes = self
            .bytes
            .iter()
            .map(|(name, limit)| (&**name, *limit as f64));
        instructions.chain(bytes).collect()
    }
}

/// Reads the text of a file of limits.
///
/// # Errors
/// Exit 104: the file cannot be read.
pub(super) fn text(file: &Path) -> Outcome<String> {
    let fail = |why: String| {
        Failure::scenario(format!(
            "cannot read the limits {}: {why}; run the gate in a checkout of Trunkline, or name the file with --limits",
            file.display()
        ))
    };
    let size = std::fs::metadata(file)
        .map_err(|why| fail(why.to_string()))?
        .len();
    if size > FILE_MAX {
        return Err(fail("it has more than 1 MiB".into()));
    }
    std::fs::read_to_string(file).map_err(|why| fail(why.to_string()))
}

/// Returns the text of a file of limits with the measured numbers in place of the old ones. Comments stay.
/// A number without a line gets one at the end of its section.
pub(super) fn with(text: &str, measured: &Counts) -> String {
    let quoted = |text: &str| format!("{text:?}");
    let toolchain = measured.toolchain.parts();
    let toolchain = toolchain.map(|(name, value)| (name.to_owned(), quoted(value)));
    let instructions = measured.instructions.iter();
    let instructions = instructions.map(|(name, count)| (name.clone(), format!("{count:.1}")));
    let bytes = measured.bytes.iter();
    let bytes = bytes.map(|(name, count)| (name.clone(), count.to_string()));
    let mut sections: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::from([
        ("toolchain", toolchain.into_iter().collect()),
        ("instructions", instructions.collect()),
        ("bytes", bytes.collect()),
    ]);
    let mut out = Vec::new();
    let mut section = String::new();
    for line in text.lines() {
        let bare = line.trim();
        if let Some(name) = bare.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            add_rest(&mut out, sections.get_mut(&*section));
            section = name.to_owned();
        }
        let name = bare.split('=').next().unwrap_or_default().trim();
        let value = sections.get_mut(&*section).and_then(|it| it.remove(name));
        out.push(match value {
            Some(value) if bare.contains('=') => format!("{name} = {value}"),
            _ => line.to_owned(),
        });
    }
    add_rest(&mut out, sections.get_mut(&*section));
    out.join("\n") + "\n"
}

/// Adds the values of a section that had no line, before the empty lines at its end.
fn add_rest(out: &mut Vec<String>, section: Option<&mut BTreeMap<String, String>>) {
    let mut blank = 0;
    while out.last().is_some_and(String::is_empty) {
        out.pop();
        blank += 1;
    }
    let rest = section.map(std::mem::take).unwrap_or_default();
    out.extend(
        rest.into_iter()
            .map(|(name, value)| format!("{name} = {value}")),
    );
    out.extend(std::iter::repeat_n(String::new(), blank));
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# What a message may cost.
[toolchain]
rustc = \"1\"
libc = \"2\"
processor = \"x\"

# Per message.
[instructions]
# Both frames.
encode-json = 100.0

[bytes]
message-disk = 7
";

    #[test]
    fn new_numbers_take_the_place_of_old_ones() {
        let measured = Counts {
            toolchain: Toolchain {
                rustc: "9".into(),
                libc: "2".into(),
                processor: "x".into(),
            },
            instructions: BTreeMap::from([("encode-json".into(), 99.04), ("push".into(), 5.0)]),
            bytes: BTreeMap::from([("message-disk".into(), 8)]),
            left_out: BTreeMap::new(),
        };
        let text = with(FILE, &measured);
        let wanted = FILE
            .replace("rustc = \"1\"", "rustc = \"9\"")
            .replace("100.0", "99.0\npush = 5.0")
            .replace("= 7", "= 8");
        assert_eq!(text, wanted);
        let limits = Limits::parse(&text).expect("it can be read again");
        assert_eq!(limits.all()["push"], 5.0);
    }

    #[test]
    fn a_file_that_is_not_one_of_limits_is_refused() {
        for bad in [
            "",
            "[toolchain]",
            &FILE.replace("100.0", "0.0"),
            &FILE.replace("100.0", "nan"),
            &FILE.replace("= 7", "= -7"),
            &FILE.replace("libc", "lib"),
        ] {
            assert!(Limits::parse(bad).is_err(), "{bad}");
        }
    }
}
