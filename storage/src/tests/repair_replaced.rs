//! Tests of repairing a manifest beside files that were replaced and are still there.

use super::repair::replace;
use super::repair_runs::{Loss, check, fill, old_runs};
use super::*;
use crate::backend::Backend;

/// The name and the bytes of a removed file.
type Removed = (String, Vec<u8>);

/// A closed store, its events, and the files that it removed.
pub(super) struct Filled {
    pub(super) disk: SimDisk,
    pub(super) log: Vec<Event>,
    pub(super) removed: Vec<Removed>,
}

/// Returns a store that was filled with this many batches.
pub(super) fn with_removed(batches: u64, options: Options) -> Filled {
    let disk = SimDisk::new(5);
    let removed = Arc::new(std::sync::Mutex::new(Vec::new()));
    let guard = {
        let (disk, removed) = (disk.clone(), removed.clone());
        Arc::new(move |act, name: &str| {
            if act == watch::Act::Remove && !name.ends_with(".tmp") {
                let bytes = disk.contents(name).unwrap();
                removed.lock().unwrap().push((name.to_owned(), bytes));
            }
            Ok(())
        })
    };
    let mut opened = threads::open_watched(&disk, options, guard);
    let mut log = Vec::new();
    fill(&mut opened, &mut log, batches);
    drop(opened);
    let removed = removed.lock().unwrap().clone();
    Filled { disk, log, removed }
}

#[test]
fn files_that_were_replaced_do_not_confuse_a_new_manifest() {
    for batches in [18, 24] {
        let Filled { disk, log, removed } = with_removed(batches, old_runs());
        assert!(removed.len() > 10);
        // None of the files that were replaced is gone; or only runs, or only segments, or one.
        let alone = removed.iter().map(|(name, _)| name.as_str());
        for still_there in [".tbl", ".seg", ""].into_iter().chain(alone) {
            let disk = disk.fork(1);
            for (name, bytes) in removed
                .iter()
                .filter(|(name, _)| name.ends_with(still_there))
            {
                disk.create(name).unwrap();
                replace(&disk, name, bytes);
            }
            disk.flip("manifest", 700);
            let (_, loss) = check(&disk, &log, &format!("{batches}: {still_there}"));
            assert_eq!(loss, Loss::default(), "{batches}: {still_there}");
        }
    }
}
