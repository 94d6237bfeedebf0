//! The names on the NATS servers that belong to a cluster.

use thiserror::Error;

/// The most bytes of the name of a cluster or a node.
const NAME_MAX: usize = 32;

/// The names of a cluster on its NATS servers, as one node uses them.
///
/// | name | what it is |
/// |---|---|
/// | `TRUNKLINE_C` | the stream that has the log of the cluster C |
/// | `trunkline.C.log` | the subject of the records of the log |
/// | `trunkline.C.live` | the subject on which the server repeats each record as soon as it is stored |
/// | `TRUNKLINE-KEPT_C` | the stream that has what the cluster keeps beside the log |
/// | `trunkline.C.kept.KEY` | the subjects of its facts |
/// | `trunkline.C.LANE` | messages to all nodes, LANE being `heartbeat`, `forward`, `answers`, `orders` or `digest` |
/// | `trunkline.C.LANE.N` | messages to the node N |
/// | `trunkline.C.inbox.N.…` | answers of the servers to the node N |
///
/// An account that may use `trunkline.C.>`, and `$JS.API.STREAM.INFO.S`, `$JS.API.DIRECT.GET.S` and
/// `$JS.API.STREAM.MSG.GET.S` of both streams S, can run a node, and cannot touch another cluster. A client that may publish there is trusted as a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNames {
    cluster: String,
    node: String,
}

/// A name that the servers would not take, or that would be read as another.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "the name {name:?} has other characters than A-Z, a-z, 0-9, - and _, or not 1 to {NAME_MAX} of them"
)]
pub struct BadName {
    /// The name.
    pub name: String,
}

impl ClusterNames {
    /// Returns the names for a node of a cluster.
    ///
    /// # Errors
    /// A name has a character that would be a separator or a pattern on the servers, is empty or too long.
    pub fn new(cluster: &str, node: &str) -> Result<Self, BadName> {
        for name in [cluster, node] {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_plain) {
                return Err(BadName { name: name.into() });
            }
        }
        Ok(Self {
            cluster: cluster.into(),
            node: node.into(),
        })
    }

    /// Returns the name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Returns the name of the node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Returns the name of the stream.
    pub fn stream(&self) -> String {
        format!("TRUNKLINE_{}", self.cluster)
    }

    /// Returns the name of the stream with what the cluster keeps beside the log. No cluster can have a name with which
    /// this is the stream of a log.
    pub fn kept(&self) -> String {
        format!("TRUNKLINE-KEPT_{}", self.cluster)
    }

    /// Returns the subject of a fact.
    pub(crate) fn fact(&self, key: &str) -> String {
        self.below(&format!("kept.{key}"))
    }

    /// Returns the subject of the records of the log.
    pub fn log(&self) -> String {
        self.below("log")
    }

    /// Returns the subject on which the server repeats the records.
    pub fn live(&self) -> String {
        self.below("live")
    }

    /// Returns the beginning of the subjects on which servers answer this node.
    pub(crate) fn inbox(&self) -> String {
        self.below(&format!("inbox.{}", self.node))
    }

    /// Returns the subject of a lane to all nodes.
    pub(crate) fn to_all(&self, lane: &str) -> String {
        self.below(lane)
    }

    /// Returns the subject of a lane to one node.
    pub(crate) fn to_node(&self, lane: &str, node: &str) -> String {
        self.below(&format!("{lane}.{node}"))
    }

    fn below(&self, name: &str) -> String {
        format!("trunkline.{}.{name}", self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_server_reads_otherwise_are_refused() {
        for name in ["", "a.b", "a*", ">", "a b", "ä", &"a".repeat(NAME_MAX + 1)] {
            assert!(ClusterNames::new(name, "n").is_err(), "{name:?}");
            assert!(ClusterNames::new("c", name).is_err(), "{name:?}");
        }
        let longest = "a".repeat(NAME_MAX);
        assert!(ClusterNames::new(&longest, "A-z_9").is_ok());
    }
}
