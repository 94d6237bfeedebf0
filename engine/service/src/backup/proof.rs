//! The proof that a process may read the data folder of a gateway.
//!
//! The control port has no passwords, and everybody on the machine can reach it. A backup writes
//! files with the rights of the gateway. So it needs a proof, which is made with the secret key of the
//! store: only a process that may read the data folder can make it.

use trunkline_core::ids::Ids;
use trunkline_storage::StoreKey;

/// Returns the proof for the store with this key, as it stands in the header `Authorization`.
pub(crate) fn proof(key: StoreKey) -> String {
    format!("Bearer {:032x}", Ids(key).backup_proof())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_store_has_its_own() {
        let [one, other] = [1, 2].map(|byte| proof(StoreKey::from_bytes([byte; 16])));
        assert!(one.len() == 39 && one.starts_with("Bearer ") && one != other);
    }
}
