//! The types of media that clients may upload.

use std::str::FromStr;

/// The most entries of the list.
const MOST: usize = 100;

/// A list of media types. An entry is a type such as `image/png`, all of a kind such as `image/*`, or
/// `*/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaTypes(Vec<String>);

impl Default for MediaTypes {
    /// Returns the list with all types.
    fn default() -> Self {
        Self(vec!["*/*".to_owned()])
    }
}

/// Returns whether a text is a token (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    let sign = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
    !text.is_empty() && text.bytes().all(sign)
}

impl FromStr for MediaTypes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim);
        Self::of(entries.filter(|entry| !entry.is_empty()))
    }
}

impl MediaTypes {
    /// Makes the list of these entries.
    ///
    /// # Errors
    /// An entry is no type, there is none, or there are too many.
    pub fn of<'e>(entries: impl Iterator<Item = &'e str>) -> Result<Self, String> {
        let mut list = Vec::new();
        for entry in entries {
            let parts = entry.split_once('/');
            let is_good = parts.is_some_and(|(kind, rest)| {
                entry == "*/*" || is_token(kind) && (rest == "*" || is_token(rest))
            });
            if !is_good {
                return Err(format!(
                    "{entry:?} is no media type: write image/png, image/* or */*"
                ));
            }
            list.push(entry.to_ascii_lowercase());
        }
        match list.len() {
            0 => Err("the list is empty: write */* for all types".to_owned()),
            1..=MOST => Ok(Self(list)),
            many => Err(format!("{many} media types: at most {MOST}")),
        }
    }

    /// Returns the entries.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Returns whether clients may upload a type. Its parameters do not count.
    pub(crate) fn allow(&self, kind: &str) -> bool {
        let essence = essence(kind);
        let Some((main, _)) = essence.split_once('/') else {
            return false;
        };
        self.entries().any(|entry| match entry.strip_suffix("/*") {
            Some("*") => true,
            Some(all) => all == main,
            None => entry == essence,
        })
    }
}

/// Returns a media type in lower case, without its parameters.
pub(crate) fn essence(kind: &str) -> String {
    let essence = kind.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// Returns whether a text is a media type that can stand in a header: a type, and parameters in ASCII.
pub(crate) fn is_type(kind: &str) -> bool {
    let is_shown = kind.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    let essence = essence(kind);
    let parts = essence.split_once('/');
    kind.len() <= 255 && is_shown && parts.is_some_and(|(a, b)| is_token(a) && is_token(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_allow_types_and_kinds() {
        let list: MediaTypes = "image/*, Application/PDF,".parse().unwrap();
        for (kind, allowed) in [
            ("image/png", true),
            ("IMAGE/svg+xml; charset=utf-8", true),
            ("application/pdf", true),
            ("application/json", false),
            ("imagex/png", false),
            ("image", false),
        ] {
            assert_eq!(list.allow(kind), allowed, "{kind}");
        }
        assert!(MediaTypes::default().allow("video/mp4"));
        for bad in ["image", "*/png", "image/p*", "im age/*", ""] {
            assert!(bad.parse::<MediaTypes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_type_can_stand_in_a_header() {
        assert!(is_type("text/plain; charset=utf-8") && is_type("a/b"));
        for bad in [
            "",
            "text",
            "text/",
            "text/pla\nin",
            "text/plain;x=\u{e9}",
            "*/*",
        ] {
            assert!(!is_type(bad), "{bad:?}");
        }
    }
}
