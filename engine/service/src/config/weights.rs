//! The setting `namespace_weights`: the shares of namespaces.

use std::str::FromStr;

use trunkline_core::ids::Ids;
use trunkline_core::turns::Weights;
use trunkline_proto::names::is_name;

/// The entry for all namespaces that the list does not name.
const OTHERS: &str = "*";

/// The largest weight.
const MOST_WEIGHT: u16 = 1_000;

/// The most entries of the list.
const MOST: usize = 1_000;

/// The weights of namespaces: entries such as `acme=4`, and `*=2` for all others. A file has a text
/// with commas, or an array.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceWeights(Vec<Weighted>);

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Weighted {
    /// The namespace, or [`OTHERS`].
    namespace: String,
    /// The weight, from 1 to [`MOST_WEIGHT`].
    weight: u16,
}

impl FromStr for NamespaceWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim);
        Self::of(entries.filter(|entry| !entry.is_empty()))
    }
}

impl From<NamespaceWeights> for Vec<String> {
    fn from(weights: NamespaceWeights) -> Self {
        let entry = |entry: Weighted| format!("{}={}", entry.namespace, entry.weight);
        weights.0.into_iter().map(entry).collect()
    }
}

impl NamespaceWeights {
    /// Makes the list of these entries.
    ///
    /// # Errors
    /// An entry is no weight of a namespace, names one again, or there are too many entries.
    pub(super) fn of<'e>(entries: impl Iterator<Item = &'e str>) -> Result<Self, String> {
        let mut list: Vec<Weighted> = Vec::new();
        for entry in entries {
            let wrong = || {
                format!(
                    "{entry:?} is not a namespace with a weight from 1 to {MOST_WEIGHT}, such as \
                     acme=4 or *=2"
                )
            };
            let (namespace, weight) = entry.split_once('=').ok_or_else(wrong)?;
            let (namespace, weight) = (namespace.trim(), weight.trim().parse::<u16>());
            let weight = weight.map_err(|_| wrong())?;
            let is_known = namespace == OTHERS || is_name(namespace);
            if !is_known || !(1..=MOST_WEIGHT).contains(&weight) {
                return Err(wrong());
            }
            if list.iter().any(|other| other.namespace == namespace) {
                return Err(format!("{namespace} has two weights: give it one"));
            }
            list.push(Weighted {
                namespace: namespace.to_owned(),
                weight,
            });
        }
        if list.len() > MOST {
            return Err(format!("{} weights: at most {MOST}", list.len()));
        }
        Ok(Self(list))
    }

    /// Returns the weights by the ids of the namespaces.
    pub(crate) fn resolve(&self, ids: &Ids) -> Weights {
        let (others, named): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .partition(|weighted| weighted.namespace == OTHERS);
        let named = named
            .into_iter()
            .map(|one| (ids.namespace(&one.namespace), one.weight));
        Weights::new(others.first().map_or(1, |others| others.weight), named)
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::ids::NamespaceId;
    use trunkline_storage::StoreKey;

    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (text, expected) in [
            ("", &[][..]),
            ("acme=4", &["acme=4"]),
            (" acme = 4,*=2, ", &["acme=4", "*=2"]),
            ("a.b-c_d=1000", &["a.b-c_d=1000"]),
        ] {
            let list: NamespaceWeights = text.parse().unwrap();
            assert_eq!(Vec::from(list), expected, "{text}");
        }
        for bad in [
            "acme",
            "acme=0",
            "acme=1001",
            "=3",
            "a b=3",
            "acme=x",
            "**=1",
        ] {
            let error = bad.parse::<NamespaceWeights>().unwrap_err();
            assert!(error.contains(bad), "{error}");
        }
        let error = "acme=4,acme=5".parse::<NamespaceWeights>().unwrap_err();
        assert!(error.contains("acme has two weights"), "{error}");
    }

    #[test]
    fn each_namespace_has_its_weight_and_others_that_of_all_others() {
        let ids = Ids(StoreKey::from_bytes([7; 16]));
        let weights = |text: &str| text.parse::<NamespaceWeights>().unwrap().resolve(&ids);
        let some = weights("acme=4,*=2");
        assert_eq!(some.of(ids.namespace("acme")), 4);
        assert_eq!(some.of(ids.namespace("other")), 2);
        assert_eq!(some.of(NamespaceId::default()), 2);
        assert_eq!(weights("acme=4").of(ids.namespace("other")), 1);
    }
}
