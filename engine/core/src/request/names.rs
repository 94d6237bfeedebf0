//! The names of a session in one small value, because each connection has one.

use compact_str::CompactString;
use trunkline_proto::names::MAX_NAME_BYTES;

use crate::exchange::BackUser;

/// The names of the user, the device and the namespace of a session.
///
/// The text holds the lengths of the first two names as one byte each, and then all names. Up to 24
/// bytes need no allocation.
#[derive(Debug, Clone)]
pub struct Names(CompactString);

// A length below 128 is one character of one byte.
const _: () = assert!(MAX_NAME_BYTES < 128);

/// The ends of the first two names in the text, in bytes.
struct Ends {
    user: usize,
    device: usize,
}

impl Names {
    /// Returns the names of a session. Each has at most 64 bytes, as the protocol says.
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

    /// Returns where the name of the user ends, and where the name of the device ends.
    fn ends(&self) -> Ends {
        let [user, device] = [0, 1].map(|at| usize::from(self.0.as_bytes()[at]));
        Ends {
            user: 2 + user,
            device: 2 + user + device,
        }
    }

    /// Returns the user's name.
    pub fn user(&self) -> &str {
        &self.0[2..self.ends().user]
    }

    /// Returns the device's name.
    pub fn device(&self) -> &str {
        let Ends { user, device } = self.ends();
        &self.0[user..device]
    }

    /// Returns the namespace; empty in a gateway without namespaces.
    pub fn namespace(&self) -> &str {
        &self.0[self.ends().device..]
    }
}

impl From<&Names> for BackUser {
    fn from(names: &Names) -> Self {
        Self {
            namespace: names.namespace().to_owned(),
            user: names.user().to_owned(),
            device: names.device().to_owned(),
        }
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
