//! Following the log: what looks for messages in its order have in common.

use std::ops::ControlFlow;

use trunkline_storage::{Position, Record};

use super::failure::is_lasting;
use super::reading::Reading;
use crate::exchange::Failure;

/// The maximum number of records that one look reads.
const RECORDS: usize = 1_000;

/// How far a look at the log came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The position up to which the log was looked through.
    pub reached: Position,
    /// The number of records that were passed because they, or what the store has of their message or group,
    /// are damaged or cannot be decoded.
    pub undecodable: u64,
    /// Why the store cannot be read after `reached`, if it cannot.
    pub failed: Option<String>,
}

/// What a look makes of one record.
pub(super) struct Looked {
    pub(super) result: Result<(), Failure>,
    /// Whether the look goes on with the next record.
    pub(super) flow: ControlFlow<()>,
}

/// Gives the records after a position up to `until` to `each`, in the order of the log, each with a position behind
/// all earlier ones of the look. Reads at most 1,000 records, and no more once `each` breaks off.
///
/// A record that fails for good is counted, and the next one is read: it would keep all later ones from being read.
/// A record that may be read later ends the look before it. So does a damaged record of the log: nothing says
/// where the next one begins.
pub(super) fn follow(
    reading: &Reading,
    after: Position,
    until: Position,
    each: &mut dyn FnMut(&Record<'_>, Position) -> Looked,
) -> Followed {
    let mut followed = Followed {
        reached: after,
        undecodable: 0,
        failed: None,
    };
    let (mut records, mut is_cut) = (0, false);
    let read = reading.store().follow(after, &mut |record| {
        if record.position > until {
            return ControlFlow::Break(());
        }
        records += 1;
        let looked = each(record, followed.reached);
        match looked.result {
            Ok(()) => {}
            Err(failure) if is_lasting(&failure) => followed.undecodable += 1,
            Err((_, why)) => {
                // All of this record is looked at again.
                followed.failed = Some(why.to_owned());
                return ControlFlow::Break(());
            }
        }
        followed.reached = record.position;
        is_cut = records >= RECORDS || looked.flow.is_break();
        match is_cut {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    reading.meter().take();
    match read {
        Err(error) => followed.failed = Some(error.to_string()),
        // What lies between here and the end has expired.
        Ok(_) if !is_cut && followed.failed.is_none() => {
            followed.reached = followed.reached.max(until);
        }
        Ok(_) => {}
    }
    followed
}
