//! Benchmarks of Trunkline, and what they share.

pub mod appends;
pub mod arrivals;
pub mod blast;
pub mod capture;
pub mod child;
pub mod crowd;
pub mod delay;
pub mod figures;
pub mod frames;
pub mod install;
pub mod machine;
pub mod metering;
pub mod nats;
pub mod open_loop;
pub mod ours;
pub mod peer;
pub mod plot;
pub mod prototype;
pub mod raw;
pub mod rival;
pub mod rounds;
pub mod scrape;
pub mod sink;
pub mod talk;
pub mod tokens;
pub mod trace;
