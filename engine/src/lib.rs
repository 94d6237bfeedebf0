//! The Trunkline connection gateway.
