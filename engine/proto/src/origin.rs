//! Decides which web pages may use a server, by the `Origin` and `Host` of a request.
//!
//! A browser lets any page open a WebSocket to any address, and sends the page's origin along
//! (`Origin`, RFC 6454). A page cannot forge its origin. It can make its own name resolve to this
//! machine (DNS rebinding), but then `Host` holds that name.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The host of a URL. Equal hosts compare equal in any case and in any notation of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A host name, in lower case, without a dot at its end.
    Name(String),
    /// An IP address. An IPv6 address that stands for an IPv4 address is stored as the IPv4
    /// address.
    Ip(IpAddr),
}

/// The origin of a web page: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The scheme, in lower case.
    scheme: String,
    host: Host,
    /// The port. If the origin names none, it is the default port of the scheme.
    port: Option<u16>,
}

/// The web page that sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// The request comes from no page: it has no `Origin`.
    None,
    /// The request comes from a page with this origin.
    At(Origin),
    /// The origin is `null`, is not readable, or is not a single one.
    Unknown,
}

/// The source and the destination of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The host that the request names; `None` if it names none.
    pub host: Option<Host>,
    /// The page that sends the request.
    pub page: Page,
}

/// The pages that may use a server, in addition to pages of the server's own host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Whether any page and any host may.
    pub any: bool,
    /// The origins whose pages may.
    pub list: Vec<Origin>,
    /// Whether pages of this machine may, while no host may except loopback and those of `list`.
    /// This suits a server that trusts its clients because only this machine reaches it.
    pub loopback: bool,
}

/// The reason to refuse a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// The page is not allowed.
    Page,
    /// The request names a host that is not allowed.
    Host,
}

impl Host {
    /// Reads `host` or `host:port`, as in the `Host` header. Returns `None` for any other text.
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

    /// Returns whether the host always is this machine, independent of name resolution.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Ip(address) => address.is_loopback(),
        }
    }
}

/// Reads the port of `:port`. The inner `None` stands for no port: the text is empty or a single
/// colon.
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
    /// Returns whether a server on this machine delivered the page.
    fn is_loopback(&self) -> bool {
        matches!(&*self.scheme, "http" | "https") && self.host.is_loopback()
    }
}

impl Page {
    /// Reads the page from the `Origin` lines of a request.
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
    /// Decides whether a request is allowed.
    ///
    /// # Errors
    /// The request's page or its host is not allowed.
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
    /// Returns what is wrong and how to correct it.
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
