//! Fuzz targets: functions that feed any bytes to code that takes bytes from outside, and panic
//! where that code breaks a promise.
//!
//! A target is tried in two ways. `fuzz/run` looks for inputs that break it, with libFuzzer. The
//! test `corpus` gives it the inputs that are checked in, in every run of the tests.

mod bytes;
mod cluster;
mod frames;
mod handshake;
mod json;
mod protobuf;
mod recovery;
mod runs;
mod scenarios;
mod store;
mod tokens;

/// A function that takes any bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, which is that of its folder in `fuzz/corpus` too.
    pub name: &'static str,
    /// Feeds one input.
    ///
    /// # Panics
    /// The code under test breaks a promise.
    pub feed: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 9] = [
    Target {
        name: "cluster",
        feed: cluster::feed,
    },
    Target {
        name: "frames",
        feed: frames::feed,
    },
    Target {
        name: "handshake",
        feed: handshake::feed,
    },
    Target {
        name: "json",
        feed: json::feed,
    },
    Target {
        name: "protobuf",
        feed: protobuf::feed,
    },
    Target {
        name: "recovery",
        feed: recovery::feed,
    },
    Target {
        name: "runs",
        feed: runs::feed,
    },
    Target {
        name: "scenarios",
        feed: scenarios::feed,
    },
    Target {
        name: "tokens",
        feed: tokens::feed,
    },
];

impl Target {
    /// The target of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }
}
