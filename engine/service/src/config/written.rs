//! A setting's value as people write it: a word of the command line, or a value of a file.

use std::ffi::OsString;

use toml::de::DeValue;

/// The value of a setting before anything is known of its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// The value of a flag or of an environment variable.
    Word(OsString),
    /// A string in a file.
    Text(String),
    /// A whole number in a file, in decimal digits.
    Whole(String),
    /// `true` or `false` in a file.
    Switch(bool),
    /// An array of strings in a file.
    List(Vec<String>),
    /// A table of texts in a file.
    Table(Vec<(String, String)>),
    /// A value in a file that no setting takes, with what it is called.
    Other(&'static str),
}

impl Written {
    /// Takes the value that a key of a file has.
    pub(super) fn of_file(value: &DeValue<'_>) -> Self {
        let strings = |list: &toml::de::DeArray<'_>| {
            let each =
                |value: &toml::Spanned<DeValue<'_>>| value.get_ref().as_str().map(str::to_owned);
            list.iter().map(each).collect::<Option<Vec<_>>>()
        };
        let texts = |table: &toml::de::DeTable<'_>| {
            let each = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                let value = value.get_ref().as_str()?;
                Some((key.clone().into_owned(), value.to_owned()))
            };
            table.iter().map(each).collect::<Option<Vec<_>>>()
        };
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(number) if number.radix() == 10 => {
                Self::Whole(number.as_str().to_owned())
            }
            DeValue::Integer(_) => Self::Other("a number that is not decimal"),
            DeValue::Boolean(switch) => Self::Switch(*switch),
            DeValue::Array(list) => strings(list).map_or(
                Self::Other("an array of other things than text"),
                Self::List,
            ),
            DeValue::Float(_) => Self::Other("a number with a fraction"),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(table) => texts(table).map_or(
                Self::Other("a table of other things than text"),
                Self::Table,
            ),
        }
    }

    /// Returns the value in quotes, as an error shows it: at most 60 characters, without control
    /// characters.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Word(word) => quoted(&word.to_string_lossy()),
            Self::Text(text) => quoted(text),
            Self::Whole(digits) => quoted(digits),
            Self::Switch(switch) => quoted(&switch.to_string()),
            Self::List(_) => "an array".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Other(what) => (*what).to_owned(),
        }
    }
}

/// Puts a text into single quotes, shortened to 60 characters and with control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    format!("'{}'", shown.replace("\\\"", "\"").replace("\\'", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_shows_is_short_and_printable() {
        assert_eq!(quoted("a\u{1b}[31m\n\"b\""), "'a\\u{1b}[31m\\n\"b\"'");
        let long = quoted(&"x".repeat(1_000));
        assert_eq!((long.chars().count(), long.ends_with("…'")), (63, true));
    }

    #[test]
    fn every_kind_of_value_in_a_file_is_known() {
        let text = "a = 'x'\nb = 1_0\nc = true\nd = ['x']\ne = [1]\nf = 1.5\ng = 0x10\nh = 2026-01-01\n[i]\n";
        let table = toml::de::DeTable::parse(text).unwrap();
        let values: Vec<_> = table
            .get_ref()
            .values()
            .map(|value| Written::of_file(value.get_ref()))
            .collect();
        assert_eq!(values[0], Written::Text("x".into()));
        assert_eq!(values[2], Written::Switch(true));
        assert_eq!(values[3], Written::List(vec!["x".into()]));
        assert!(matches!(values[1], Written::Whole(_)));
        assert_eq!(values[8], Written::Table(vec![]));
        let others = values[4..8].iter();
        assert!(
            others
                .clone()
                .all(|value| matches!(value, Written::Other(_)))
        );
        assert_eq!(values.len(), 9);
    }
}
