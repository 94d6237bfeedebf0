//! The Trunkline load lab.
