//! Benchmarks of Trunkline.
