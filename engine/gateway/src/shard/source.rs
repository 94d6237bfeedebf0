//! The address under which a connection is counted.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 address, or the /64 network of an IPv6 address: one client has at least a whole /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source(u64);

impl Source {
    /// The source of a trusted proxy's connection whose client is not known yet. Such connections do
    /// not count for an address, and no account of an address pays for them.
    ///
    /// No IPv6 client has this network either.
    pub(crate) const UNNAMED: Self = Self(0xffff_fffe_0000_0000);

    /// Whether the client is not known yet.
    pub(crate) fn is_unnamed(self) -> bool {
        self == Self::UNNAMED
    }

    /// Returns the source of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // No IPv6 client has this network: ffff::/16 is multicast.
            IpAddr::V4(address) => Self(0xffff_ffff_0000_0000 | u64::from(address.to_bits())),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unnamed() {
            return f.write_str("a client behind a proxy");
        }
        match self.0 >> 32 {
            0xffff_ffff => Ipv4Addr::from_bits(self.0 as u32).fmt(f),
            _ => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(self.0) << 64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_each() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_eq!(of("10.0.0.1").to_string(), "10.0.0.1");
        assert_eq!(of("2001:db8::1").to_string(), "2001:db8::/64");
        let all = [
            "10.0.0.1",
            "10.0.0.2",
            "::1",
            "2001:db8::1",
            "2001:db8:0:1::1",
        ]
        .map(of);
        for (i, source) in all.iter().enumerate() {
            assert!(!all[..i].contains(source));
        }
    }
}
