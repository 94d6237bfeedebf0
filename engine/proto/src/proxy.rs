//! The address of a client that comes through a reverse proxy.
//!
//! Everybody can claim to come through a proxy. So only what a trusted proxy says counts
//! ([`Proxies::trusts`]): the lines `X-Forwarded-For` and `Forwarded` (RFC 7239) of a request, or the
//! PROXY protocol before the first byte of the client ([`preamble`]).

use std::net::IpAddr;

mod forwarded;
mod networks;
pub mod preamble;

pub use networks::Network;

/// The way in which trusted proxies name the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// `X-Forwarded-For` or `Forwarded`. A request with both must name one client in both.
    #[default]
    AnyHeader,
    /// `X-Forwarded-For` alone.
    XForwardedFor,
    /// `Forwarded` alone.
    Forwarded,
    /// The PROXY protocol, version 1 or 2, at the beginning of each connection.
    Protocol,
}

/// The trusted proxies, and how they name clients. By default there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// The addresses of the proxies.
    pub networks: Vec<Network>,
    /// The way in which they name clients.
    pub naming: Naming,
}

/// The reason why the headers of a trusted proxy name no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclear {
    /// `X-Forwarded-For` and `Forwarded` name different clients.
    Differ,
    /// `Forwarded` is not written as RFC 7239 asks for.
    Syntax,
}

impl Unclear {
    /// Returns what is wrong and how to correct it.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Differ => {
                "X-Forwarded-For and Forwarded name different clients: let the proxy remove the one \
                 that it does not write, or name the other one in proxy_header, such as \
                 --proxy-header x-forwarded-for"
            }
            Self::Syntax => {
                "the header Forwarded is not written as RFC 7239 asks for: let the proxy replace what \
                 clients send, or set --proxy-header x-forwarded-for"
            }
        }
    }
}

impl Proxies {
    /// Returns whether a peer is a trusted proxy.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(peer))
    }

    /// Returns whether connections of trusted proxies begin with the PROXY protocol.
    pub fn speak_first(&self) -> bool {
        self.naming == Naming::Protocol
    }

    /// Returns the client of a request that a trusted proxy sent: the rightmost address of the list that
    /// is not a trusted proxy. What is left of an entry that cannot be read does not count: the proxy
    /// that wrote that entry is the client then. Without a list, `peer` is the client itself.
    ///
    /// `list` has the lines of `X-Forwarded-For`, `standard` those of `Forwarded`, in their order.
    ///
    /// # Errors
    /// The headers do not name one client. Refuse the request: its client could otherwise choose
    /// under which address it counts.
    pub fn client<'v>(
        &self,
        peer: IpAddr,
        list: impl Iterator<Item = &'v [u8]>,
        standard: impl Iterator<Item = &'v [u8]>,
    ) -> Result<IpAddr, Unclear> {
        let list = || forwarded::list(self, peer, list);
        let standard = || forwarded::standard(self, peer, standard);
        match self.naming {
            Naming::Protocol => Ok(peer),
            Naming::XForwardedFor => Ok(list().unwrap_or(peer)),
            Naming::Forwarded => Ok(standard()?.unwrap_or(peer)),
            Naming::AnyHeader => match (list(), standard()?) {
                (Some(one), Some(other)) if one != other => Err(Unclear::Differ),
                (one, other) => Ok(one.or(other).unwrap_or(peer)),
            },
        }
    }
}
