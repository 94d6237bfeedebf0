//! Names of nodes.

use std::fmt;
use std::str::FromStr;

use arrayvec::ArrayString;
use thiserror::Error;

/// The name of a node in its cluster: 1 to 32 letters, digits, `-` and `_` of ASCII. So it can be a part of a
/// subject of NATS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(ArrayString<32>);

/// The error of a name that no node can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the name of a node has 1 to 32 letters, digits, `-` and `_`")]
pub struct BadName;

impl NodeName {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = BadName;

    fn from_str(name: &str) -> Result<Self, BadName> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_allowed) {
            return Err(BadName);
        }
        ArrayString::from(name).map(Self).map_err(|_| BadName)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One life of a node, from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// The name of the node.
    pub node: NodeName,
    /// The number of the life, drawn at random at the start: no two lives of a node have the same.
    pub number: u64,
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:016x})", self.node, self.number)
    }
}
