//! The setting `allowed_origins`: the web pages that may use the gateway.

use std::str::FromStr;

use trunkline_proto::origin::{Allowed, Origin};

/// The most entries of the list.
const MOST: usize = 1_000;

/// The pages that may connect: a list of origins, or `*`. A file has a text with commas, or an
/// array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigins(Vec<AllowedOrigin>);

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Any page.
    Any,
    /// Pages of this origin.
    One(Origin),
}

impl FromStr for AllowedOrigins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim);
        Self::of(entries.filter(|entry| !entry.is_empty()))
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
    /// Makes the list of these entries.
    ///
    /// # Errors
    /// An entry is no origin, or there are too many.
    pub(super) fn of<'e>(entries: impl Iterator<Item = &'e str>) -> Result<Self, String> {
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

    /// Returns the pages that may connect with this setting. In development mode pages of this
    /// machine may connect too, and only to this machine.
    pub(super) fn resolve(given: Option<&Self>, dev_auth: bool) -> Allowed {
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

    /// Returns whether the list names no page.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
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
    fn any_page_and_some_pages_are_different_settings() {
        let list: AllowedOrigins = "https://a.example, *".parse().unwrap();
        let allowed = AllowedOrigins::resolve(Some(&list), false);
        assert_eq!(
            (allowed.list.len(), allowed.any, allowed.loopback),
            (1, true, false)
        );
        let allowed = AllowedOrigins::resolve(None, true);
        assert_eq!(
            (allowed.list.len(), allowed.any, allowed.loopback),
            (0, false, true)
        );
    }
}
