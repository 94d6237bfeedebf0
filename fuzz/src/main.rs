//! The program that libFuzzer drives: feeds the target that `TRUNKLINE_FUZZ_TARGET` names.

#![no_main]

use std::sync::OnceLock;

use trunkline_fuzz::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

fn target() -> Target {
    let name = std::env::var("TRUNKLINE_FUZZ_TARGET").unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| panic!("TRUNKLINE_FUZZ_TARGET={name:?} names no target"))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (TARGET.get_or_init(target).feed)(data);
});
