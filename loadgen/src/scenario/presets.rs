//! The presets: scenarios that come with the program.

/// A preset: a scenario that comes with the program.
#[derive(Debug)]
pub(crate) struct Preset {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// The purpose, in one line.
    pub(crate) about: &'static str,
    /// The TOML text.
    pub(crate) text: &'static str,
}

/// Makes a preset from its file.
macro_rules! preset {
    ($name:literal, $about:literal) => {
        Preset {
            name: $name,
            about: $about,
            text: include_str!(concat!("../../presets/", $name, ".toml")),
        }
    };
}

/// All presets, in the order they are listed.
pub(crate) const PRESETS: &[Preset] = &[
    preset!(
        "smoke",
        "20 s, 2,000 connections, every check on: for CI and for the first try"
    ),
    preset!(
        "im-75m",
        "a messenger's day: 75 M users × 30 messages × 7 KB, replayed in a minute"
    ),
    preset!(
        "service-500m",
        "a large service's day: 500 M users × 40 messages × 120 B, replayed in 40 s"
    ),
    preset!(
        "web-1b",
        "the peak of 1 G clients with a message of 1 KB every 2 minutes"
    ),
    preset!(
        "timeline-100k",
        "100,000 timeline writes/s and ten reads for each"
    ),
    preset!(
        "large-group",
        "deliveries/s of a group of 10,000 members online, or of 100,000"
    ),
    preset!("storm", "everybody reconnects at once"),
    preset!("million", "1,000,000 connections held, with light traffic"),
];

/// The text that `loadgen init` writes: a valid scenario with a comment on every key.
pub(crate) const INIT: &str = include_str!("init.toml");

/// Returns the preset of this name.
pub(crate) fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}
