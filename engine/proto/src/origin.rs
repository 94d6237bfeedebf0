//! Which web pages may use a server: `Origin` and `Host` of a request, judged.
//!
//! A browser lets any page open a WebSocket to any address, and sends along where the page comes
//! from (`Origin`, RFC 6454). A page cannot forge that. It can have its own name resolve to this
//! machine (DNS rebinding); then `Host` still says that name.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host as a URL names it: comparable whatever its case, and whichever way an address is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name, in lower case, without a dot at its end.
    Name(String),
    /// An address; an IPv6 address that stands for an IPv4 one is that.
    Ip(IpAddr),
}

/// Where a page comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// In lower case.
    scheme: String,
    host: Host,
    /// That of the scheme where none is named.
    port: Option<u16>,
}

/// What a request says of the page that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// No page: there is no `Origin`.
    None,
    /// A page with this origin.
    At(Origin),
    /// `null`, several origins, or what cannot be read as one.
    Unknown,
}

/// What a request says of where it comes from and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The host that the client thinks it talks to; `None` where it does not say so.
    pub host: Option<Host>,
    /// The page it comes from.
    pub page: Page,
}

/// The pages that may use a server, beside those of its own host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Any page, and any host.
    pub any: bool,
    /// Pages of these origins.
    pub list: Vec<Origin>,
    /// Pages of this machine, and no host but loopback and those of `list`: for a server that
    /// takes clients at their word because only this machine reaches it.
    pub loopback: bool,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Its page is not allowed.
    Page,
    /// It is for another host.
    Host,
}

impl Host {
    /// Reads `host` or `host:port`, as the `Host` header has it; `None` where it is neither.
    pub fn parse(text: &str) -> Option<(Self, Option<u16>)> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            return Some((
                Self::Ip(IpAddr::V6(address).to_canonical()),
                port_behind(rest)?,
            ));
        }
        let end = text.find(':').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let port = port_behind(rest)?;
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let labels = name.split('.').all(|label| {
            let sign = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            !label.is_empty() && label.bytes().all(sign)
        });
        if !labels || name.len() > 253 {
            return None;
        }
        let host = match name.parse() {
            Ok(address) => Self::Ip(IpAddr::V4(address)),
            Err(_) => Self::Name(name),
        };
        Some((host, port))
    }

    /// Whether it is this machine, whatever a name server says.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Ip(address) => address.is_loopback(),
        }
    }
}

/// The port of `:port`; a colon alone, and nothing at all, name none.
#[allow(clippy::option_option)] // The outer one: it cannot be read.
fn port_behind(text: &str) -> Option<Option<u16>> {
    if text.is_empty() {
        return Some(None);
    }
    let digits = text.strip_prefix(':')?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if digits.is_empty() {
        return Some(None);
    }
    digits.parse().ok().map(Some)
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || {
            format!(
                "{text:?} is no origin: write scheme://host or scheme://host:port without a path, \
                 such as https://chat.example.com"
            )
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(problem)?;
        let sign = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(sign) {
            return Err(problem());
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = Host::parse(rest).ok_or_else(problem)?;
        let usual = match &*scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Ok(Self {
            scheme,
            host,
            port: port.or(usual),
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Ip(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        match (&*self.scheme, self.port) {
            (_, None) | ("http", Some(80)) | ("https", Some(443)) => Ok(()),
            (_, Some(port)) => write!(f, ":{port}"),
        }
    }
}

impl Origin {
    /// Whether a server on this machine gave the page out.
    fn is_loopback(&self) -> bool {
        matches!(&*self.scheme, "http" | "https") && self.host.is_loopback()
    }
}

impl Page {
    /// What the `Origin` lines of a request say.
    pub fn of<'v>(mut lines: impl Iterator<Item = &'v [u8]>) -> Self {
        let Some(first) = lines.next() else {
            return Self::None;
        };
        if lines.next().is_some() {
            return Self::Unknown;
        }
        let origin = std::str::from_utf8(first).ok();
        origin
            .and_then(|text| text.parse().ok())
            .map_or(Self::Unknown, Self::At)
    }
}

impl Allowed {
    /// Judges a request.
    ///
    /// # Errors
    /// Its page, or its host, is not allowed.
    pub fn admit(&self, caller: &Caller) -> Result<(), Foreign> {
        if self.any {
            return Ok(());
        }
        if self.loopback
            && let Some(host) = &caller.host
            && !host.is_loopback()
            && !self.list.iter().any(|origin| origin.host == *host)
        {
            return Err(Foreign::Host);
        }
        let allowed = match &caller.page {
            Page::None => true,
            Page::Unknown => false,
            Page::At(origin) => {
                let web = matches!(&*origin.scheme, "http" | "https");
                self.list.contains(origin)
                    || (self.loopback && origin.is_loopback())
                    || (web && caller.host.as_ref() == Some(&origin.host))
            }
        };
        if allowed { Ok(()) } else { Err(Foreign::Page) }
    }
}

impl Foreign {
    /// What is wrong and how to mend it.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Page => {
                "pages of this Origin may not connect: allow it with allowed_origins, such as \
                 --allowed-origins https://chat.example.com"
            }
            Self::Host => {
                "this port serves its own machine only: use localhost or 127.0.0.1 as the host, or \
                 allow another one with allowed_origins, such as \
                 --allowed-origins http://chat.example.com"
            }
        }
    }
}
