//! Scenario files of `loadgen`: right ones are sized without an overflow, and wrong ones refused
//! with a text.
//!
//! Input: the file.

use trunkline_loadgen::check_scenario;

pub(crate) fn feed(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Err(why) = check_scenario(text) {
        assert!(!why.is_empty());
    }
}
