//! IPv4 networks for source addresses.

use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network in CIDR form, `127.0.0.0/28`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    base: u32,
    prefix: u8,
}

impl Network {
    /// The whole loopback network.
    pub(crate) const LOOPBACK: Self = Self {
        base: 0x7f00_0000,
        prefix: 8,
    };

    /// Returns the number of usable addresses. The network and the broadcast address are not
    /// usable.
    pub(crate) fn len(self) -> u32 {
        match self.prefix {
            32 => 1,
            31 => 2,
            prefix => (1u64 << (32 - prefix))
                .saturating_sub(2)
                .min(u64::from(u32::MAX)) as u32,
        }
    }

    /// Returns the `n`th usable address, beginning again behind the last.
    pub(crate) fn address(self, n: u32) -> Ipv4Addr {
        let first = if self.prefix >= 31 { 0 } else { 1 };
        Ipv4Addr::from(self.base + first + n % self.len())
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an IPv4 network; write \"127.0.0.0/28\"");
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > 32 {
            return Err(wrong());
        }
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        Ok(Self {
            base: u32::from(address) & mask,
            prefix,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stay_inside() {
        let network: Network = "127.0.0.0/28".parse().unwrap();
        assert_eq!(network.len(), 14);
        assert_eq!(network.address(0), Ipv4Addr::new(127, 0, 0, 1));
        assert_eq!(network.address(13), Ipv4Addr::new(127, 0, 0, 14));
        assert_eq!(network.address(14), Ipv4Addr::new(127, 0, 0, 1));
        assert_eq!(
            "10.1.2.3".parse::<Network>().unwrap().address(7),
            Ipv4Addr::new(10, 1, 2, 3)
        );
        assert!("127.0.0/8".parse::<Network>().is_err());
        assert!("127.0.0.0/33".parse::<Network>().is_err());
    }
}
