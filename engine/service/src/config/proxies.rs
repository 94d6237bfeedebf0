//! The settings `trusted_proxies` and `proxy_header`: the proxies whose word counts.

use std::path::Path;
use std::str::FromStr;

use toml::Value;
use trunkline_proto::proxy::{Naming, Network, Proxies};

use super::form::{Form, one_of, read_list};
use super::written::Written;

/// The most entries of the list.
const MOST: usize = 256;

/// The trusted proxies: a list of addresses and networks. A file has a text with commas, or an array.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

impl FromStr for TrustedProxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim);
        Self::of(entries.filter(|entry| !entry.is_empty()))
    }
}

impl TrustedProxies {
    /// Makes the list of these entries.
    ///
    /// # Errors
    /// An entry is no address or network, or there are too many.
    fn of<'e>(entries: impl Iterator<Item = &'e str>) -> Result<Self, String> {
        let list: Vec<Network> = entries.map(str::parse).collect::<Result<_, _>>()?;
        if list.len() > MOST {
            return Err(format!("{} networks: at most {MOST}", list.len()));
        }
        Ok(Self(list))
    }

    /// Returns the proxies, which name clients in this way.
    pub(super) fn resolve(given: Option<&Self>, naming: Option<Naming>) -> Proxies {
        Proxies {
            networks: given.map_or_else(Vec::new, |given| given.0.clone()),
            naming: naming.unwrap_or_default(),
        }
    }

    /// Returns whether the list names no proxy.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Form for TrustedProxies {
    const VALUE: &'static str = "NETWORKS";
    const WORDS: &'static str = "a list of addresses and networks, such as 10.0.0.0/8";
    const IN_FILE: &'static str = "a list of addresses and networks, such as 10.0.0.0/8: text in \
                                   quotes with commas between them, or an array of texts";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    /// Reads a list, which may be empty: then no proxy is trusted.
    fn read(written: &Written, _folder: &Path) -> Result<Self, String> {
        read_list(written, Self::parse, |list| Self::of(list.into_iter()))
    }

    fn to_value(&self) -> Value {
        let list = self.0.iter().map(ToString::to_string);
        Value::Array(list.map(Value::String).collect())
    }
}

/// The ways in which proxies name clients, by their names in settings.
const NAMINGS: [(&str, Naming); 4] = [
    ("any", Naming::AnyHeader),
    ("x-forwarded-for", Naming::XForwardedFor),
    ("forwarded", Naming::Forwarded),
    ("proxy-protocol", Naming::Protocol),
];

impl Form for Naming {
    const VALUE: &'static str = "HEADER";
    const WORDS: &'static str = "any, x-forwarded-for, forwarded or proxy-protocol";
    const IN_FILE: &'static str = "any, x-forwarded-for, forwarded or proxy-protocol in quotes";

    fn parse(text: &str) -> Result<Self, String> {
        one_of(text, &NAMINGS)
    }

    fn to_value(&self) -> Value {
        let name = NAMINGS.iter().find(|(_, naming)| naming == self);
        Value::String(name.map_or("any", |(name, _)| name).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (text, expected) in [
            ("", &[][..]),
            ("10.0.0.0/8", &["10.0.0.0/8"]),
            (
                " 127.0.0.1, 2001:DB8::/32, ",
                &["127.0.0.1", "2001:db8::/32"],
            ),
        ] {
            let list: TrustedProxies = text.parse().unwrap();
            let values = expected.iter().map(|one| Value::String((*one).to_owned()));
            assert_eq!(list.to_value(), Value::Array(values.collect()), "{text}");
            assert_eq!(list.is_empty(), expected.is_empty());
        }
        for bad in ["localhost", "10.0.0.1/8", "10.0.0.0/8;"] {
            let error = bad.parse::<TrustedProxies>().unwrap_err();
            assert!(error.contains(bad), "{error}");
        }
        let many = vec!["10.0.0.1"; MOST + 1].join(",");
        let error = many.parse::<TrustedProxies>().unwrap_err();
        assert_eq!(error, "257 networks: at most 256");
    }

    #[test]
    fn each_way_has_a_name() {
        for (name, naming) in NAMINGS {
            assert_eq!(Naming::parse(name), Ok(naming));
            assert_eq!(naming.to_value(), Value::String(name.to_owned()));
        }
        let error = Naming::parse("x-forwarded").unwrap_err();
        assert!(error.contains("did you mean x-forwarded-for?"), "{error}");
    }
}
