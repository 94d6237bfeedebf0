//! Networks of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The bits of an address in front of those of an IPv4 address, in IPv6 notation (`::ffff:0:0/96`).
const MAPPED: u8 = 96;

/// An address, or all addresses that begin with the same bits, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The first address, in IPv6 notation. The bits behind the prefix are 0.
    first: u128,
    /// The number of bits of the prefix, in IPv6 notation: at most 128.
    prefix: u8,
}

/// Returns an address in IPv6 notation, so that each address has one form.
const fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Returns the bits of an address behind a prefix.
const fn behind(prefix: u8) -> u128 {
    match u128::MAX.checked_shr(prefix as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

impl Network {
    /// Returns whether an address is in the network.
    pub const fn contains(&self, address: IpAddr) -> bool {
        (bits(address) ^ self.first) & !behind(self.prefix) == 0
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let wrong = || {
            format!(
                "{text:?} is no address or network: write 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32"
            )
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let (longest, offset) = match address {
            IpAddr::V4(_) => (32, MAPPED),
            IpAddr::V6(_) => (128, 0),
        };
        let is_number = |prefix: &str| prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = match prefix {
            None => longest,
            Some(prefix) if is_number(prefix) => prefix.parse().map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
        };
        if prefix > longest {
            return Err(format!("{text:?}: the prefix has at most {longest} bits"));
        }
        let prefix = prefix + offset;
        let network = Self {
            first: bits(address) & !behind(prefix),
            prefix,
        };
        if network.first == bits(address) {
            Ok(network)
        } else {
            Err(format!(
                "{text:?} has bits behind its prefix: write {network}"
            ))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.first);
        let (address, prefix, longest) = match address.to_ipv4_mapped() {
            Some(address) if self.prefix >= MAPPED => {
                (IpAddr::V4(address), self.prefix - MAPPED, 32)
            }
            _ => (IpAddr::V6(address), self.prefix, 128),
        };
        write!(f, "{address}")?;
        if prefix == longest {
            return Ok(());
        }
        write!(f, "/{prefix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_written() {
        for (text, written) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), written);
        }
        for (text, words) in [
            ("", "no address"),
            ("proxy.example", "no address"),
            ("10.0.0.0/", "no address"),
            ("10.0.0.0/+8", "no address"),
            ("10.0.0.0/8/8", "no address"),
            ("10.0.0.0/256", "no address"),
            ("10.0.0.0/33", "at most 32"),
            ("::/129", "at most 128"),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("2001:db8::1/32", "write 2001:db8::/32"),
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_network_has_the_addresses_with_its_prefix() {
        let holds = |network: &str, address: &str| {
            let network: Network = network.parse().unwrap();
            network.contains(address.parse().unwrap())
        };
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::a01:203"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "255.255.255.255", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::", "2001:db9::"),
            ("::1", "::1", "::2"),
        ] {
            assert!(holds(network, inside), "{network} {inside}");
            assert!(!holds(network, outside), "{network} {outside}");
        }
        assert!(holds("::/0", "::1") && holds("::/0", "10.0.0.1"));
    }
}
