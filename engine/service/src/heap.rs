//! How the allocator of the C library gives memory back.
//!
//! By default, glibc keeps much of what a burst needed: it raises its thresholds to the size of the
//! largest freed block, and makes an arena for nearly every thread. It reads its settings from the
//! environment when a program begins. So the gateway starts itself once more with these settings, in
//! the same process.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The settings of glibc's allocator, as environment variables (mallopt(3)).
///
/// - Blocks from 32 KiB on, such as buffers of large messages, are mapped one by one and unmapped
///   when they are freed. At most 16,384 are: a process may have 65,530 mappings (vm.max_map_count).
/// - Free memory beyond 128 KiB at the end of the heap goes back to the kernel.
/// - The heap grows by 16 KiB more than it needs. The allocator looks for room at the end of the heap before it maps a
///   block: with 128 KiB, its default, more buffers of a crowd lay there, among blocks that stay.
/// - Up to 16 threads have an arena each, so that what a crowd leaves free lies at the end of the arena of the thread
///   that served it, and not below blocks of other threads.
/// - Threads keep no freed blocks, and small ones join their neighbours at once. A single block that is kept so would hold
///   all free memory below it in the process.
const SETTINGS: [(&str, &str); 6] = [
    ("MALLOC_MMAP_THRESHOLD_", "32768"),
    ("MALLOC_MMAP_MAX_", "16384"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
    ("MALLOC_TOP_PAD_", "16384"),
    ("MALLOC_ARENA_MAX", "16"),
    (
        "GLIBC_TUNABLES",
        "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0",
    ),
];

/// Gives the allocator its settings: replaces the running program with itself, with the same
/// arguments and process number. Returns if the settings are in force, or if the environment has
/// others. Call it before threads and files are opened.
pub(crate) fn settle() {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) || is_set(|name| std::env::var_os(name))
    {
        return;
    }
    let mut own = std::env::args_os();
    let (Ok(program), Some(name)) = (std::env::current_exe(), own.next()) else {
        return;
    };
    // Returns only if the program cannot be started again. Then it goes on as it is.
    let _ = Command::new(program)
        .arg0(name)
        .args(own)
        .envs(SETTINGS)
        .exec();
}

/// Returns whether the environment has a setting of the allocator.
fn is_set(variable: impl Fn(&OsStr) -> Option<OsString>) -> bool {
    let mut names = SETTINGS.iter().map(|(name, _)| *name);
    names.any(|name| variable(OsStr::new(name)).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_wait_for_long_are_mapped() {
        let (name, bytes) = SETTINGS[0];
        assert_eq!(name, "MALLOC_MMAP_THRESHOLD_");
        let mapped = [
            trunkline_gateway::mapped::MAPPED_BYTES,
            trunkline_http::MAPPED_BYTES,
        ];
        assert_eq!(mapped.map(|mapped| mapped.to_string()), [bytes; 2]);
    }

    #[test]
    fn an_operator_decides_by_any_of_the_variables() {
        assert!(!is_set(|_| None));
        for set in [
            "MALLOC_ARENA_MAX",
            "MALLOC_TRIM_THRESHOLD_",
            "GLIBC_TUNABLES",
        ] {
            assert!(is_set(|name| (name == set).then(OsString::new)), "{set}");
        }
    }
}
