//! The names of a session, in one place: there are as many as there are connections.

use compact_str::CompactString;
use trunkline_proto::names::MAX_NAME_BYTES;

/// The lengths of user and device, then user, device and namespace. Up to 24 bytes in all need no
/// allocation.
#[derive(Debug, Clone)]
pub struct Names(CompactString);

// So that a length is one character of one byte.
const _: () = assert!(MAX_NAME_BYTES < 128);

impl Names {
    /// Of names as the protocol has them: at most 64 bytes each.
    pub fn new(user: &str, device: &str, namespace: &str) -> Self {
        let length = 2 + user.len() + device.len() + namespace.len();
        let mut all = CompactString::with_capacity(length);
        all.push(char::from(user.len() as u8));
        all.push(char::from(device.len() as u8));
        for name in [user, device, namespace] {
            all.push_str(name);
        }
        Self(all)
    }

    /// Where the device's name begins, and the namespace.
    fn ends(&self) -> (usize, usize) {
        let [user, device] = [0, 1].map(|at| usize::from(self.0.as_bytes()[at]));
        (2 + user, 2 + user + device)
    }

    /// Returns the user's name.
    pub fn user(&self) -> &str {
        &self.0[2..self.ends().0]
    }

    /// Returns the device's name.
    pub fn device(&self) -> &str {
        let (device, namespace) = self.ends();
        &self.0[device..namespace]
    }

    /// The organisation; empty without one.
    pub fn namespace(&self) -> &str {
        &self.0[self.ends().1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_comes_back() {
        let long = "x".repeat(MAX_NAME_BYTES);
        for (user, device, namespace) in [
            ("alice", "phone", ""),
            ("a", "b", "c"),
            (&*long, &*long, &*long),
            ("alice", &*long, "org"),
        ] {
            let names = Names::new(user, device, namespace);
            assert_eq!(
                (names.user(), names.device(), names.namespace()),
                (user, device, namespace)
            );
        }
    }
}
