//! Tests of the whole of Trunkline, and their helpers.
