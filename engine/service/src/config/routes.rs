//! The forms of the settings about back ends: addresses, the routes of `rpc`, and what happens without
//! an answer.

use std::path::Path;

use toml::Value;
use trunkline_http::back::{BackUrl, OnFailure, URL_WORDS};

use super::form::{Form, filled, must_be, one_of};
use super::written::Written;

impl Form for BackUrl {
    const VALUE: &'static str = "URL";
    const WORDS: &'static str = URL_WORDS;
    const IN_FILE: &'static str =
        "an http:// or https:// address in quotes, such as http://127.0.0.1:9000/send";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn to_value(&self) -> Value {
        Value::String(self.to_string())
    }
}

/// The back ends of `rpc`, each with the beginning of the methods that it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Routes(pub(crate) Vec<(String, BackUrl)>);

impl Routes {
    /// The maximum number of routes.
    const MOST: usize = 100;

    fn of<'r>(routes: impl Iterator<Item = (&'r str, &'r str)>) -> Result<Self, String> {
        let mut found = Vec::<(String, BackUrl)>::new();
        for (start, url) in routes {
            let url = url.parse().map_err(|why| format!("\"{start}\": {why}"))?;
            if found.iter().any(|(other, _)| other == start) {
                return Err(format!("\"{start}\" stands there twice"));
            }
            found.push((start.to_owned(), url));
        }
        if found.is_empty() || found.len() > Self::MOST {
            return Err(format!("there are from 1 to {} back ends", Self::MOST));
        }
        Ok(Self(found))
    }
}

impl Form for Routes {
    const VALUE: &'static str = "ROUTES";
    const WORDS: &'static str =
        "a list of beginnings of methods with addresses, such as orders.=http://127.0.0.1:9001/rpc";
    const IN_FILE: &'static str = "a table of beginnings of methods with addresses, such as { \"orders.\" = \"http://127.0.0.1:9001/rpc\" }";

    fn parse(text: &str) -> Result<Self, String> {
        let pair = |part: &'_ str| -> Option<(String, String)> {
            let (start, url) = part.trim().split_once('=')?;
            Some((start.trim().to_owned(), url.trim().to_owned()))
        };
        let pairs: Option<Vec<_>> = text.split(',').map(pair).collect();
        let pairs = pairs.ok_or_else(|| format!("this is not {}", Self::WORDS))?;
        Self::of(pairs.iter().map(|(start, url)| (&**start, &**url)))
    }

    fn read(written: &Written, _folder: &Path) -> Result<Self, String> {
        match written {
            Written::Word(word) => match word.to_str() {
                Some(text) => filled(text).and_then(Self::parse),
                None => Err(must_be(written, Self::WORDS)),
            },
            Written::Table(table) => Self::of(table.iter().map(|(key, url)| (&**key, &**url))),
            other => Err(must_be(other, Self::IN_FILE)),
        }
    }

    fn to_value(&self) -> Value {
        let entry =
            |(start, url): &(String, BackUrl)| (start.clone(), Value::String(url.to_string()));
        Value::Table(self.0.iter().map(entry).collect())
    }
}

impl Form for OnFailure {
    const VALUE: &'static str = "deny|allow";
    const WORDS: &'static str = "deny or allow";
    const IN_FILE: &'static str = "deny or allow in quotes";

    fn parse(text: &str) -> Result<Self, String> {
        one_of(text, &[("deny", Self::Deny), ("allow", Self::Allow)])
    }

    fn to_value(&self) -> Value {
        let word = match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        };
        Value::String(word.to_owned())
    }
}
