//! The address of a back end: `http://host:port/path`, or `https://`.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

use crate::dial::Origin;

/// What an address of a back end looks like, for errors.
pub const URL_WORDS: &str = "an http:// or https:// address, such as http://127.0.0.1:9000/send";

/// The address of a back end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackUrl {
    text: String,
    host: String,
    port: u16,
    has_tls: bool,
    path: String,
}

impl BackUrl {
    /// Returns where the back end listens.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            // As the system resolves it.
            host: self.host.trim_matches(['[', ']']).to_owned(),
            port: self.port,
            has_tls: self.has_tls,
        }
    }

    /// Returns whether the back end speaks TLS.
    pub(super) const fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// Returns the path with the query.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the value of the header `Host`.
    pub(super) fn authority(&self) -> String {
        match (self.port, self.has_tls) {
            (80, false) | (443, true) => self.host.clone(),
            (port, _) => format!("{}:{port}", self.host),
        }
    }

    /// Returns the address without its query, which may have a secret, for the log.
    pub(super) fn shown(&self) -> &str {
        self.text.split('?').next().unwrap_or_default()
    }
}

impl FromStr for BackUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why}: give {URL_WORDS}");
        let uri: Uri = text
            .parse()
            .map_err(|_| wrong("the address of a back end cannot be read"))?;
        let has_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => {
                let why = "the address of a back end begins with http:// or https://";
                return Err(wrong(why));
            }
        };
        let authority = uri.authority().ok_or_else(|| wrong("a host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(
                "a back end gets no password: leave the part before the @ out. The signature \
                 says who asks"
                    .to_owned(),
            );
        }
        if authority.host().is_empty() {
            return Err(wrong("a host is missing"));
        }
        // The library leaves a port out that is no number of 16 bits.
        let behind = authority.as_str().strip_prefix(authority.host());
        let has_port = behind.is_none_or(|behind| !behind.is_empty());
        if has_port && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(wrong("the port is not a number from 1 to 65535"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            text: text.to_owned(),
            host: authority.host().to_ascii_lowercase(),
            port: authority
                .port_u16()
                .unwrap_or(if has_tls { 443 } else { 80 }),
            has_tls,
            path: if path.is_empty() { "/" } else { path }.to_owned(),
        })
    }
}

impl fmt::Display for BackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let url: BackUrl = "http://[::1]:9000/a?secret=1".parse().unwrap();
        let origin = |host: &str, port, has_tls| Origin {
            host: host.to_owned(),
            port,
            has_tls,
        };
        assert_eq!(url.origin(), origin("::1", 9000, false));
        assert_eq!(url.path(), "/a?secret=1");
        assert_eq!(url.authority(), "[::1]:9000");
        assert_eq!(url.shown(), "http://[::1]:9000/a");
        assert_eq!(url.to_string(), "http://[::1]:9000/a?secret=1");
        let url: BackUrl = "http://Back.example".parse().unwrap();
        assert_eq!(url.origin(), origin("back.example", 80, false));
        assert_eq!(url.path(), "/");
        assert_eq!(url.authority(), "back.example");
        let url: BackUrl = "https://back.example/a".parse().unwrap();
        assert_eq!(url.origin(), origin("back.example", 443, true));
        assert_eq!(url.authority(), "back.example");
    }

    #[test]
    fn what_is_no_address_says_what_is_one() {
        for (text, word) in [
            ("", "http://"),
            ("127.0.0.1:9000", "http://"),
            ("/send", "http://"),
            ("ftp://127.0.0.1/", "http://"),
            ("http://user:word@127.0.0.1/", "password"),
            ("http://127.0.0.1:0/", "port"),
            ("http://127.0.0.1:99999/", "port"),
            ("http://127.0.0.1:x/", "http://"),
            ("http://127.0.0.1:/", "port"),
            ("http:///send", "http://"),
        ] {
            let said = text.parse::<BackUrl>().unwrap_err();
            assert!(said.contains(word), "{text}: {said}");
        }
    }
}
