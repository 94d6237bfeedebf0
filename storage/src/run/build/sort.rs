//! Makes runs of a sealed segment from its index: files with the positions of its records. The segment
//! stays, and only its values are read.

use std::io;
use std::sync::atomic::AtomicU64;

use super::merge::latest_of_each;
use super::{MadeRuns, RunMaker, Sealed, as_io};
use crate::TimelineId;
use crate::error::ReadError;
use crate::log::frame::FrameKind;
use crate::log::record;
use crate::log::scan::ScanEnd;
use crate::log::segment::Segment;
use crate::log::window::Window;
use crate::run::postings::Posting;
use crate::run::redaction::{Applied, Replacement, Target};
use crate::run::write::RunWriter;
use crate::run::{Holder, RunForm, RunId, RunKind, encode_replacement};

/// The redactions in a segment, sorted by what holds the records that they redact.
#[derive(Default)]
struct FoundRedactions {
    /// Those of records in segments, by record. They are done: the bodies were overwritten before.
    in_segments: Vec<(u128, Posting)>,
    /// Those of records in runs of values, by record. They wait for a merge.
    in_runs: Vec<(Target, Replacement)>,
    /// Those that are done.
    applied: Vec<Applied>,
}

impl FoundRedactions {
    /// Finds the redactions in a segment that no later one replaces. Leaves out those of records that
    /// do not exist.
    fn of(sealed: &Sealed<'_>) -> Result<Self, ReadError> {
        let segment = sealed.segment;
        let pending = sealed.pending.iter();
        let inside = pending.filter(|(_, r)| (segment.base..segment.end()).contains(&r.position));
        let mut inside: Vec<(&Target, &Replacement)> = inside.collect();
        inside.sort_unstable_by_key(|(target, _)| **target);
        let mut found = FoundRedactions::default();
        for (&target, replacement) in inside {
            let holder = match sealed.entries.has(target) {
                true => Some(Holder::Segment(0)),
                false => sealed.older.holder_of(target)?,
            };
            match holder {
                Some(Holder::Run(_)) => {
                    found.in_runs.push((target, replacement.clone()));
                    continue;
                }
                Some(Holder::Segment(_)) => {
                    let posting = Posting {
                        number: target.1,
                        position: replacement.position,
                    };
                    found.in_segments.push((target.0.0, posting));
                }
                None => {}
            }
            found.applied.push((target, replacement.position));
        }
        Ok(found)
    }
}

impl RunMaker<'_> {
    /// Makes run files of a sealed segment, one for each kind of its content. The bodies of redacted
    /// records in it, and of those that it redacts, must be overwritten already. Also returns which
    /// of the pending redactions are now done.
    pub(crate) fn sort(&self, sealed: Sealed<'_>, numbers: &AtomicU64) -> io::Result<MadeRuns> {
        let known = sealed.entries.summary();
        let frames_end = match sealed.scan.pass(sealed.segment, known)? {
            ScanEnd::Sealed(end) => end,
            ScanEnd::Open(at) => return Err(self.damaged_segment(sealed.segment, at)),
        };
        let redactions = FoundRedactions::of(&sealed).map_err(as_io)?;
        let mut runs = Vec::new();
        let mut write = |kind, form, fill: &dyn Fn(&mut RunWriter<'_>) -> io::Result<()>| {
            let id = RunId {
                last_time: known.last_time,
                ..self.id_of(&sealed, (kind, form), numbers)
            };
            let made = self.write(id, fill)?;
            runs.extend(made.then_some(id));
            io::Result::Ok(())
        };
        for kind in [RunKind::Messages, RunKind::Syncs, RunKind::Keys] {
            write(kind, RunForm::Positions, &|writer| {
                sealed.entries.each_list(kind, &mut |id, list| {
                    self.go_on()?;
                    // Of entries with a number the latest counts.
                    if !list.is_sorted_by(|a, b| a.number < b.number) {
                        latest_of_each(list);
                    }
                    writer.add_list(id, list)
                })
            })?;
        }
        write(RunKind::Redactions, RunForm::Positions, &|writer| {
            self.fill(writer, &redactions.in_segments)
        })?;
        write(RunKind::States, RunForm::Values, &|writer| {
            self.fill_states(writer, &sealed)
        })?;
        write(RunKind::Redactions, RunForm::Values, &|writer| {
            for ((timeline, seq), replacement) in &redactions.in_runs {
                writer.add((timeline.0, *seq), &encode_replacement(replacement))?;
            }
            Ok(())
        })?;
        Ok(MadeRuns {
            runs,
            applied: redactions.applied,
            frames_end,
        })
    }

    /// Adds the latest value under each key in a segment to a run file.
    fn fill_states(&self, writer: &mut RunWriter<'_>, sealed: &Sealed<'_>) -> io::Result<()> {
        let mut window = Window::default();
        for (key, position) in sealed.entries.states() {
            self.go_on()?;
            let value = state_at(sealed.segment, position, key, &mut window)?;
            let value = value.ok_or_else(|| self.damaged_segment(sealed.segment, position))?;
            writer.add((key.0, 0), value)?;
        }
        Ok(())
    }
}

/// Returns the value under `key` that the frame at `position` sets; `None` if the frame sets none or is
/// damaged.
fn state_at<'a>(
    segment: &Segment,
    position: u64,
    key: TimelineId,
    window: &'a mut Window,
) -> io::Result<Option<&'a [u8]>> {
    let Some((header, payload)) = window.frame(segment, position)? else {
        return Ok(None);
    };
    Ok(match header.kind {
        FrameKind::State => record::decode_state(payload)
            .filter(|state| state.key == key)
            .map(|state| state.value),
        FrameKind::Record | FrameKind::Redacted => record::decode_payload(position, payload)
            .and_then(|record| record.states.filter(|state| state.key == key).last())
            .map(|state| state.value),
        FrameKind::Anchor | FrameKind::Seal | FrameKind::Hole => None,
    })
}
