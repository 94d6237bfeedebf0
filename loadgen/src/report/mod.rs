//! The results of a run: summaries for people and programs, and the files beside them.

mod about;
mod agents;
mod broke;
mod chart;
mod faults;
mod files;
mod html;
mod junit;
mod page;
pub(crate) mod results;
mod scale;
mod sessions;
mod spectrum;
mod summary;
mod text;
mod whole;

pub(crate) use agents::offset;
pub(crate) use faults::{FaultRow, lines as fault_lines, rows as fault_rows};
pub(crate) use files::{keep, make_room, may_make_room};
pub(crate) use junit::junit;
pub(crate) use page::{page_of, run};
pub(crate) use summary::summary;
pub(crate) use text::{header, text, verdict};
