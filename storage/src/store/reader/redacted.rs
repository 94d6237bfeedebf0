//! The new bodies of redacted records.

use crate::error::ReadError;
use crate::log::overwrite::present;
use crate::log::page::Replaced;
use crate::log::record;
use crate::log::window::Window;
use crate::run::redaction::{NewBody, Replacement, Target};
use crate::store::reader::{Reader, View};
use crate::{Page, TimelineId};

/// How often the body of a redaction is looked for that later redactions replace meanwhile.
const TRIES: usize = 8;

impl Reader {
    /// Applies redactions to the records in `page`. `view` is that through which they were read.
    ///
    /// # Errors
    /// The disk does not return a long new body.
    pub(super) fn redact(&self, view: &View, page: &mut Page) -> Result<(), ReadError> {
        let unread = {
            let index = self.shared.index.read();
            let redactions = index.redactions();
            if redactions.len() == 0 {
                return Ok(());
            }
            page.redact(|timeline, seq| {
                let replacement = redactions.get((timeline, seq))?;
                Some(match &replacement.body {
                    NewBody::Here(body) => Replaced::Body(body),
                    NewBody::Logged(len) => Replaced::Logged {
                        position: replacement.position,
                        len: *len,
                    },
                })
            })
        };
        if unread.is_empty() {
            return Ok(());
        }
        let mut window = std::mem::take(&mut page.window);
        let read = unread.iter().try_for_each(|one| {
            let target: (TimelineId, u64) = (one.timeline, one.seq);
            let body = self.new_body(view, target, one.position, &mut window)?;
            page.replace(one.number, &body);
            Ok(())
        });
        window.release();
        page.window = window;
        read
    }

    /// Reads the body of a redaction that is not in runs yet, into memory.
    ///
    /// # Errors
    /// The disk does not return it.
    pub(crate) fn whole(
        &self,
        target: Target,
        replacement: &mut Replacement,
    ) -> Result<(), ReadError> {
        if replacement.body.here().is_none() {
            let (view, ()) = self.look_up(|_| ());
            let position = replacement.position;
            let body = self.new_body(&view, target, position, &mut Window::default())?;
            replacement.body = NewBody::Here(body.into());
        }
        Ok(())
    }

    /// Returns the new body of a redacted record, from the redacting record at `position`, or from a later
    /// one that replaces it meanwhile.
    fn new_body(
        &self,
        view: &View,
        target: Target,
        mut position: u64,
        window: &mut Window,
    ) -> Result<Vec<u8>, ReadError> {
        for _ in 0..TRIES {
            let newer;
            let segment = match view.segment_of(position) {
                Some(segment) => Some(segment),
                None => {
                    (newer, _) = self.look_up(|_| ());
                    newer.segment_of(position)
                }
            };
            if let Some(segment) = segment {
                window.forget();
                let (_, payload) = self.read_frame(segment, position, window)?;
                let record = record::decode_payload(position, payload);
                let redaction = record.and_then(|record| record.redacts);
                let redaction = redaction.ok_or_else(|| self.corrupt(segment, position))?;
                let body = present(redaction.body);
                if !body.is_empty() {
                    return Ok(body.to_vec());
                }
            }
            // A later redaction replaces it, or its segment has become runs.
            let (newer, known) = self.look_up(|index| {
                let known = index.redactions().get(target);
                known.map(|known| (known.position, known.body.clone()))
            });
            match known {
                Some((_, NewBody::Here(body))) => return Ok(body.to_vec()),
                Some((later, NewBody::Logged(_))) if later != position => position = later,
                _ => return newer.runs.replacement(target),
            }
        }
        Ok(Vec::new())
    }
}
