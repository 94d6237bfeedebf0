//! `trunkline store dump`.

use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;
use trunkline_core::ids::Ids;
use trunkline_proto::names::{self, Conversation};
use trunkline_storage::{Dump, OpenError, Position, Record, Store, StoreKey, TimelineId};

use super::output::LIVE;
use super::{Folder, code, refused};
use crate::print;
use crate::record_line::{Line, hex, hex_id};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    selection: Selection,
    /// Only records after this position: the number in a line of this output, or a client's
    /// position with its tag (the tag is not checked)
    #[arg(
        long,
        value_name = "POSITION",
        default_value = "0",
        value_parser = position,
        conflicts_with = "states"
    )]
    after: u64,
    /// Maximum number of lines
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// The records to print: all of them, or those that one flag selects.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Selection {
    /// Only records of this conversation, such as u:alice:bob or g:team
    #[arg(long, value_name = "ID", value_parser = conversation)]
    conversation: Option<String>,
    /// Only records that this user's devices receive, by position
    #[arg(long, value_name = "NAME", value_parser = user)]
    user: Option<String>,
    /// Only records of the timeline with this id: 32 hex digits, as in "timeline" of a line
    #[arg(long, value_name = "HEX", value_parser = timeline)]
    timeline: Option<TimelineId>,
    /// The stored value of each key instead of records; key and value in hex
    #[arg(long)]
    states: bool,
}

fn conversation(id: &str) -> Result<String, String> {
    match Conversation::parse(id) {
        Some(_) => Ok(id.to_owned()),
        None => Err("not u:<lesser name>:<greater name> or g:<name>".to_owned()),
    }
}

fn user(name: &str) -> Result<String, String> {
    if names::is_name(name) {
        Ok(name.to_owned())
    } else {
        Err("this is not a valid user name".to_owned())
    }
}

fn timeline(id: &str) -> Result<TimelineId, String> {
    let digits = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(id, 16).ok().filter(|_| digits);
    number
        .map(TimelineId)
        .ok_or_else(|| "not 32 hex digits".to_owned())
}

/// Reads a position, with its tag or without.
fn position(text: &str) -> Result<u64, String> {
    let address = text.split_once('-').map_or(text, |(_, address)| address);
    address.parse().map_err(|_| {
        "a position is a number, or a number behind a tag: 4096 or 5e884898-4096".to_owned()
    })
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut dump = Store::dump(&args.folder.data).map_err(refused)?;
    let mut read = Ok(());
    print::results(|out| {
        let mut lines = Lines {
            out,
            left: args.limit.unwrap_or(u64::MAX),
            failed: Ok(()),
        };
        read = args.read(&mut dump, &mut lines);
        lines.failed
    })?;
    read.map_err(refused)?;
    if dump.is_live() {
        let _ = writeln!(std::io::stderr(), "{LIVE}");
    }
    for fault in dump.faults() {
        // A program may read standard output, so the notes go to standard error.
        let _ = writeln!(
            std::io::stderr(),
            "left out: {} is damaged at offset {}: {}",
            fault.file.display(),
            fault.offset,
            fault.reason
        );
    }
    Ok(code(dump.faults()))
}

/// The output of the lines, up to the limit.
struct Lines<'a> {
    out: &'a mut dyn Write,
    left: u64,
    failed: std::io::Result<()>,
}

impl Lines<'_> {
    fn put(&mut self, line: &impl Serialize) -> ControlFlow<()> {
        self.left -= 1;
        self.failed = serde_json::to_writer(&mut *self.out, line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"));
        if self.left == 0 || self.failed.is_err() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl Args {
    fn read(&self, dump: &mut Dump, lines: &mut Lines<'_>) -> Result<(), OpenError> {
        if lines.left == 0 {
            return Ok(());
        }
        if self.selection.states {
            return dump.states(&mut |key, value| {
                lines.put(&json!({"key": hex_id(key), "value": hex(value)}))
            });
        }
        let (key, after) = (dump.key(), Position(self.after));
        let mut each = |record: &Record<'_>| lines.put(&Line::of(record));
        if let Some(user) = &self.selection.user {
            return dump.sync(Ids(key).user("", user), after, &mut each);
        }
        match self.selection.timeline_id(key) {
            Some(id) => dump.timeline(id, after, &mut each),
            None => dump.records(after, &mut each),
        }
    }
}

impl Selection {
    /// Returns the message timeline that the flags select; `None` if they select no timeline.
    fn timeline_id(&self, key: StoreKey) -> Option<TimelineId> {
        let ids = Ids(key);
        if self.timeline.is_some() {
            return self.timeline;
        }
        match Conversation::parse(self.conversation.as_deref()?) {
            Some(Conversation::Direct(lesser, greater)) => Some(ids.direct("", lesser, greater)),
            Some(Conversation::Group(name)) => Some(ids.group("", name)),
            None => None,
        }
    }
}
