//! The setting `allowed_origins`: which web pages may use the gateway.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use trunkline_proto::origin::{Allowed, Origin};

use super::Settings;

/// Most entries of the list.
const MOST: usize = 1_000;

/// Pages that may connect: a list of origins, or `*`. In the file a string of them, or an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Vec<String>")]
pub struct AllowedOrigins(Vec<AllowedOrigin>);

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Any page.
    Any,
    /// Pages of this origin.
    One(Origin),
}

/// As the file has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    List(Vec<String>),
}

impl FromStr for AllowedOrigins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim);
        Self::of(entries.filter(|entry| !entry.is_empty()))
    }
}

impl TryFrom<Written> for AllowedOrigins {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Text(text) => text.parse(),
            Written::List(list) => Self::of(list.iter().map(String::as_str)),
        }
    }
}

impl From<AllowedOrigins> for Vec<String> {
    fn from(allowed: AllowedOrigins) -> Self {
        let entries = allowed.0.iter().map(|entry| match entry {
            AllowedOrigin::Any => "*".to_owned(),
            AllowedOrigin::One(origin) => origin.to_string(),
        });
        entries.collect()
    }
}

impl AllowedOrigins {
    fn of<'e>(entries: impl Iterator<Item = &'e str>) -> Result<Self, String> {
        let read = |entry: &str| match entry {
            "*" => Ok(AllowedOrigin::Any),
            entry if entry.contains('*') => Err(format!(
                "{entry:?} has a * beside other signs: name each origin, or * alone for all"
            )),
            entry => entry.parse().map(AllowedOrigin::One),
        };
        let list: Vec<_> = entries.map(read).collect::<Result<_, _>>()?;
        if list.len() > MOST {
            return Err(format!("{} origins: at most {MOST}", list.len()));
        }
        Ok(Self(list))
    }

    /// What the flags say before the file. In development mode pages of this machine may connect
    /// too, and only for this machine.
    pub(super) fn resolve(flags: &Settings, file: &Settings, dev_auth: bool) -> Allowed {
        let given = flags
            .allowed_origins
            .as_ref()
            .or(file.allowed_origins.as_ref());
        let mut allowed = Allowed {
            loopback: dev_auth,
            ..Allowed::default()
        };
        for entry in given.map_or(&[][..], |given| &given.0) {
            match entry {
                AllowedOrigin::Any => allowed.any = true,
                AllowedOrigin::One(origin) => allowed.list.push(origin.clone()),
            }
        }
        allowed
    }

    /// The setting that comes to this; `None` where nothing was set.
    pub(super) fn shown(allowed: &Allowed) -> Option<Self> {
        let any = allowed.any.then_some(AllowedOrigin::Any);
        let list = allowed.list.iter().cloned().map(AllowedOrigin::One);
        let entries: Vec<_> = any.into_iter().chain(list).collect();
        (!entries.is_empty()).then_some(Self(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (text, expected) in [
            ("*", &["*"][..]),
            ("", &[]),
            (
                "https://Chat.Example.com:443, http://[::1]:8080,",
                &["https://chat.example.com", "http://[::1]:8080"],
            ),
            ("capacitor://localhost", &["capacitor://localhost"]),
        ] {
            let list: AllowedOrigins = text.parse().unwrap();
            assert_eq!(Vec::from(list), expected, "{text}");
        }
        for bad in [
            "chat.example.com",
            "null",
            "https://chat.example.com/",
            "https://*.example.com",
            "http://a@b",
        ] {
            let error = bad.parse::<AllowedOrigins>().unwrap_err();
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn a_file_has_text_or_an_array() {
        for file in [
            "allowed_origins = \"https://a.example, https://b.example\"",
            "allowed_origins = [\"https://a.example\", \"https://b.example\"]",
        ] {
            let settings: Settings = toml::from_str(file).unwrap();
            let allowed = AllowedOrigins::resolve(&Settings::default(), &settings, false);
            assert_eq!((allowed.list.len(), allowed.any), (2, false), "{file}");
        }
        let error = toml::from_str::<Settings>("allowed_origins = [\"a\"]").unwrap_err();
        assert!(error.to_string().contains("\"a\" is no origin"), "{error}");
    }
}
