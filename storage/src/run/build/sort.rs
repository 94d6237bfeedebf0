//! Makes runs of a sealed segment from its index: files with the positions of its records. The segment
//! stays, and only its values are read.

use std::io;
use std::sync::atomic::AtomicU64;

use super::merge::latest_of_each;
use super::{MadeRuns, RunMaker, Sealed, as_io};
use crate::error::ReadError;
use crate::log::frame::FrameKind;
use crate::log::record::{self, StateEntry};
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
    /// Those of records in runs of values, by record, which wait for a merge, and of records whose
    /// bodies could not be overwritten.
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
                Some(Holder::Segment(_)) if !sealed.stays.contains(&target) => {
                    let posting = Posting {
                        number: target.1,
                        position: replacement.position,
                    };
                    found.in_segments.push((target.0.0, posting));
                }
                // Readers keep such a redaction in memory. If its record is in a segment, the next opening
                // tries again.
                Some(_) => {
                    let mut whole = replacement.clone();
                    (sealed.whole)(target, &mut whole)?;
                    found.in_runs.push((target, whole));
                    continue;
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
                writer.add((timeline.0, *seq), &encode_replacement(replacement)?)?;
            }
            Ok(())
        })?;
        Ok(MadeRuns {
            runs,
            applied: redactions.applied,
            held: redactions.in_runs,
            frames_end,
        })
    }

    /// Adds the latest value under each key in a segment to a run file.
    fn fill_states(&self, writer: &mut RunWriter<'_>, sealed: &Sealed<'_>) -> io::Result<()> {
        // Frame by frame, because a look at a frame with thousands of values checks all of it.
        let mut wanted = sealed.entries.states();
        wanted.sort_unstable_by_key(|&(key, position)| (position, key));
        let (mut window, mut bytes, mut values) = (Window::default(), Vec::new(), Vec::new());
        for same in wanted.chunk_by(|a, b| a.1 == b.1) {
            self.go_on()?;
            let position = same[0].1;
            let damaged = || self.damaged_segment(sealed.segment, position);
            let found = states_at(sealed.segment, position, &mut window)?;
            for &(key, _) in same {
                let behind = found.partition_point(|state| state.key <= key);
                let last = found[..behind].last().filter(|state| state.key == key);
                let value = last.ok_or_else(damaged)?.value;
                let from = bytes.len();
                bytes.extend_from_slice(value);
                values.push((key, from..bytes.len()));
            }
        }
        values.sort_unstable_by_key(|value| value.0);
        for (key, range) in values {
            self.go_on()?;
            writer.add((key.0, 0), &bytes[range])?;
        }
        Ok(())
    }
}

/// Returns the values that the frame at `position` sets, by key; of values under the same key the
/// last counts. None if the frame is damaged.
fn states_at<'a>(
    segment: &Segment,
    position: u64,
    window: &'a mut Window,
) -> io::Result<Vec<StateEntry<'a>>> {
    let Some((header, payload)) = window.frame(segment, position)? else {
        return Ok(Vec::new());
    };
    let mut states: Vec<StateEntry<'a>> = match header.kind {
        FrameKind::State | FrameKind::Inner => record::decode_state(payload).into_iter().collect(),
        FrameKind::Record | FrameKind::Redacted => record::decode_payload(position, payload)
            .map_or_else(Vec::new, |record| record.states.collect()),
        FrameKind::Anchor | FrameKind::Seal | FrameKind::Hole => Vec::new(),
    };
    for state in &mut states {
        state.value = segment.present(state.value);
    }
    // Stable: values under the same key keep their order.
    states.sort_by_key(|state| state.key);
    Ok(states)
}
