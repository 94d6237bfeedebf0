//! The text of the counters of back ends.

use trunkline_core::exchange::BackKind;
use trunkline_http::back::KindNumbers;

use super::text::{Exporter, Families, Written};

impl Exporter {
    /// Writes the counters of back ends.
    pub(super) fn back(&self, to: &mut Families<'_, '_>) -> Written {
        let back = &self.metrics.back;
        let each =
            |of: fn(KindNumbers) -> u64| BackKind::ALL.map(|kind| (kind.name(), of(back.of(kind))));
        to.gauge(
            "trunkline_callbacks_waiting",
            "Questions to back ends without an answer",
            back.waiting(),
        )?;
        to.gauge(
            "trunkline_callbacks_resting",
            "Back ends that are not asked for a while, because they failed",
            back.resting(),
        )?;
        to.labelled(
            ("trunkline_callbacks", "Questions that back ends answered"),
            "callback",
            each(|numbers| numbers.answered),
        )?;
        to.labelled(
            (
                "trunkline_callbacks_refused",
                "Answers of back ends that refuse",
            ),
            "callback",
            each(|numbers| numbers.refused),
        )?;
        to.labelled(
            (
                "trunkline_callbacks_failed",
                "Questions that back ends did not answer in time, or not as expected",
            ),
            "callback",
            each(|numbers| numbers.failed),
        )?;
        to.labelled(
            (
                "trunkline_callbacks_turned_away",
                "Questions that no back end was asked: too many waited, or the back end rested",
            ),
            "callback",
            each(|numbers| numbers.turned_away),
        )?;
        to.times(
            (
                "trunkline_callback",
                "Time until back ends had answered, or questions had failed",
            ),
            "callback",
            each(|numbers| numbers.nanos),
        )
    }
}
