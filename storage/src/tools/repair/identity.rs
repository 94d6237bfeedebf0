//! Restores the identity of a damaged store from its copy.

use super::RepairWork;
use super::files::is_lost;
use crate::error::OpenError;
use crate::error::io_error;
use crate::store::identity::{COPY, Identity, NAME};

/// Returns the identity of the store, restored from the copy if needed. Returns `None` if there is
/// no store yet.
pub(super) fn mend(work: &mut RepairWork<'_>) -> Result<Option<Identity>, OpenError> {
    let names = work.names()?;
    let has = |name: &str| names.iter().any(|known| known == name);
    if !has(NAME) && !has(COPY) {
        let part_of_a_store =
            |name: &String| name == "manifest" || name.ends_with(".seg") || name.ends_with(".tbl");
        // An empty folder, or an interrupted creation of a store: an opening completes it.
        if !names.iter().any(part_of_a_store) || is_new(work, &names)? {
            return Ok(None);
        }
        return Err(lost(work, "neither it nor its copy is there"));
    }
    let whole = |name: &str| match Identity::read(work.backend, name) {
        Ok(identity) => Ok(Some(identity)),
        Err(OpenError::Corrupt { .. }) => Ok(None),
        Err(OpenError::Io { source, .. }) if is_lost(&source) => Ok(None),
        Err(error) => Err(error),
    };
    let (found, copy) = (whole(NAME)?, whole(COPY)?);
    match (found, copy) {
        (None, None) => Err(lost(work, "it is damaged, and so is its copy")),
        (None, Some(copy)) => {
            restore(work, &copy, NAME, has(NAME), "restored from its copy")?;
            Ok(Some(copy))
        }
        (Some(identity), None) if has(COPY) => {
            restore(work, &identity, COPY, true, "made again")?;
            Ok(Some(identity))
        }
        (Some(identity), _) => Ok(Some(identity)),
    }
}

fn restore(
    work: &mut RepairWork<'_>,
    identity: &Identity,
    name: &str,
    damaged: bool,
    action: &str,
) -> Result<(), OpenError> {
    let copy = match damaged {
        true => Some(work.keep_copy(name, name)?),
        false => None,
    };
    if !work.dry_run {
        identity.write(work.backend, name)?;
    }
    let copy = copy.map(|copy| work.backend.path(&copy));
    let fault = match damaged {
        true => "not what was written",
        false => "the file is missing",
    };
    let step = work.damaged(name, 0, fault);
    step.action = format!("{action}; nothing is lost");
    step.records = Some(0);
    step.copy = copy;
    Ok(())
}

/// Returns whether the folder has only the first segment, and the segment is empty.
fn is_new(work: &RepairWork<'_>, names: &[String]) -> Result<bool, OpenError> {
    for name in names {
        if name == "manifest" || name.ends_with(".tbl") {
            return Ok(false);
        }
        if name.ends_with(".seg")
            && !crate::store::is_unused(work.backend, name).map_err(io_error(
                work.backend,
                name,
                "read",
            ))?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lost(work: &RepairWork<'_>, how: &str) -> OpenError {
    OpenError::Corrupt {
        file: work.backend.path(NAME),
        offset: 0,
        reason: format!(
            "{how}. The key of the timelines' ids is lost with it, and without it nothing of this \
             store can be found: only a backup of this file, or of the folder, brings it back"
        ),
    }
}
