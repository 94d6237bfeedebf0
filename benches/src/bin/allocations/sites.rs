//! The allocations that dhat counted, by thread and by place in the project's code.

use std::collections::HashMap;

use anyhow::Context;
use serde::Deserialize;

/// The parts of the gateway that allocate. The last one is the client of the measurement, which
/// does not count.
pub(crate) const ROLES: [&str; 6] = ["shards", "sequencer", "readers", "store", "other", "client"];
const OTHER: usize = ROLES.len() - 2;
const CLIENT: usize = ROLES.len() - 1;

/// The function in a stack that shows the part, as an index in [`ROLES`]. The store's work on the
/// sequencer's thread counts for the sequencer.
const MARKS: [(&str, usize); 5] = [
    ("blast.rs:", CLIENT),
    ("run_shard (", 0),
    ("src/sequencer/mod.rs:", 1),
    ("src/reader/mod.rs:", 2),
    ("begin_short_backtrace<trunkline_storage::", 3),
];

/// The paths of foreign code and of the counting allocator, whose frames do not name a place.
const FOREIGN: [&str; 11] = [
    "dhat-",
    "allocations/main.rs",
    "alloc/src/",
    "src/backtrace/",
    "src/raw_vec/",
    "src/vec/",
    "src/slice/",
    "src/iter/",
    "iter/adapters/",
    "iter/traits/",
    "src/alloc/",
];

/// The output of dhat: `pps` are places, and `fs` their stacks as indices of `ftbl`.
#[derive(Deserialize)]
struct Output {
    pps: Vec<Stack>,
    ftbl: Vec<String>,
}

#[derive(Deserialize)]
struct Stack {
    /// The number of allocated blocks. A block counts again when it grows.
    tbk: u64,
    /// The bytes of the allocated blocks.
    tb: u64,
    /// The stack, innermost function first.
    fs: Vec<usize>,
}

/// A place that allocates.
#[derive(Debug, Default)]
pub(crate) struct Site {
    /// The index in [`ROLES`].
    pub(crate) role: usize,
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    /// The innermost functions of the project, with their lines.
    pub(crate) place: String,
}

/// All places.
#[derive(Debug)]
pub(crate) struct Sites(Vec<Site>);

impl Sites {
    pub(crate) fn parse(json: &str) -> anyhow::Result<Self> {
        let output: Output = serde_json::from_str(json).context("dhat wrote something new")?;
        let mut sites: HashMap<(usize, String), Site> = HashMap::new();
        for stack in &output.pps {
            let frames = stack.fs.iter().filter_map(|&at| output.ftbl.get(at));
            let frames: Vec<&str> = frames.map(String::as_str).collect();
            let (role, place) = (role(&frames), place(&frames));
            let site = sites.entry((role, place.clone())).or_default();
            (site.role, site.place) = (role, place);
            site.blocks += stack.tbk;
            site.bytes += stack.tb;
        }
        Ok(Self(sites.into_values().collect()))
    }

    /// Returns the number of allocations of a role.
    pub(crate) fn of_role(&self, role: usize) -> u64 {
        let of_role = self.0.iter().filter(|site| site.role == role);
        of_role.map(|site| site.blocks).sum()
    }

    /// Returns the number of allocations of the gateway.
    pub(crate) fn gateway(&self) -> u64 {
        (0..CLIENT).map(|role| self.of_role(role)).sum()
    }

    /// Returns the places of the gateway with the most allocations.
    pub(crate) fn most(&self, count: usize) -> Vec<&Site> {
        let ours = self.0.iter().filter(|site| site.role != CLIENT);
        let mut sites: Vec<_> = ours.collect();
        sites.sort_by_key(|site| std::cmp::Reverse(site.blocks));
        sites.truncate(count);
        sites
    }
}

fn role(frames: &[&str]) -> usize {
    let found = MARKS.iter().find(|(mark, _)| {
        let marked = |frame: &&str| frame.contains(mark);
        frames.iter().any(marked)
    });
    found.map_or(OTHER, |(_, role)| *role)
}

/// A frame is `0xaddress: name<types> (file:line:column)`.
fn place(frames: &[&str]) -> String {
    let is_foreign = |frame: &str| FOREIGN.iter().any(|foreign| frame.contains(foreign));
    let ours = frames.iter().filter(|frame| !is_foreign(frame));
    let shown = ours.take(3).map(|frame| {
        let (_, frame) = frame.split_once(": ").unwrap_or(("", frame));
        let (name, file) = frame.rsplit_once(" (").unwrap_or((frame, ""));
        let (name, _) = name.split_once('<').unwrap_or((name, ""));
        let mut file = file.trim_end_matches(')').rsplitn(2, ':');
        let _column = file.next();
        format!("{name} {}", file.next().unwrap_or_default())
    });
    shown.collect::<Vec<_>>().join(" < ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_roles() {
        let json = r#"{"dhatFileVersion":2,"pps":[
            {"tb":300,"tbk":2,"fs":[0,1,2,3]},
            {"tb":100,"tbk":1,"fs":[0,1,2,3]},
            {"tb":9,"tbk":9,"fs":[0,4]},
            {"tb":7,"tbk":7,"fs":[0,1]}],
            "ftbl":["0x1: alloc (alloc/src/alloc.rs:1:1)",
            "0x2: grow_one<trunkline::Item, A> (src/raw_vec/mod.rs:188:29)",
            "0x3: submit (src/shard/core.rs:118:21)",
            "0x4: run_shard (engine/src/gateway.rs:249:11)",
            "0x5: input (benches/src/blast.rs:9:9)"]}"#;
        let sites = Sites::parse(json).unwrap();
        assert_eq!(sites.of_role(0), 3);
        assert_eq!(sites.of_role(CLIENT), 9);
        assert_eq!(sites.gateway(), 10);
        let most = sites.most(9);
        assert_eq!(most[0].role, OTHER);
        assert_eq!((most[1].blocks, most[1].bytes), (3, 400));
        assert_eq!(
            most[1].place,
            "submit src/shard/core.rs:118 < run_shard engine/src/gateway.rs:249"
        );
        assert_eq!(most.len(), 2, "the client's is not the gateway's");
    }
}
