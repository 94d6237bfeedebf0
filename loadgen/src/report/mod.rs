//! What people and programs are told.

mod about;
mod broke;
mod chart;
mod files;
mod html;
mod page;
pub(crate) mod results;
mod scale;
mod sessions;
mod spectrum;
mod summary;
mod text;
mod whole;

pub(crate) use files::{keep, make_room, may_make_room};
pub(crate) use page::{page_of, run};
pub(crate) use summary::summary;
pub(crate) use text::{header, text};

/// Six letters and digits from a number: names a run in user names.
pub(crate) fn short_name(number: u64) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mixed = crate::random::mix(number);
    (0..6)
        .map(|i| char::from(LETTERS[(mixed >> (i * 5)) as usize % 32]))
        .collect()
}
