//! The scenarios that come with the program.

/// A scenario that comes with the program.
#[derive(Debug)]
pub(crate) struct Preset {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it is for, in one line.
    pub(crate) about: &'static str,
    /// Its TOML text.
    pub(crate) text: &'static str,
}

/// All presets, in the order they are listed.
pub(crate) const PRESETS: &[Preset] = &[Preset {
    name: "smoke",
    about: "20 s, 2,000 connections, every check on: for CI and for the first try",
    text: include_str!("../../presets/smoke.toml"),
}];

/// The preset of this name.
pub(crate) fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}
