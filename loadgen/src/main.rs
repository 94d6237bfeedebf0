//! The load generator program.
fn main() {}
