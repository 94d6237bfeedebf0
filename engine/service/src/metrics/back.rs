//! The text of the counters of back ends and of webhooks.

use trunkline_core::clock::system_ms;
use trunkline_core::exchange::BackKind;
use trunkline_http::back::{ANSWER_BOUNDS_MS, KindNumbers, WebhookMetrics};

use super::families::{Families, Written};
use super::text::Exporter;

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
        )?;
        let answers = back.answers().map(|times| {
            let bounds = ANSWER_BOUNDS_MS.iter().map(|&ms| ms as f64 / 1e3);
            let bounds = bounds.chain([f64::INFINITY]);
            let buckets = bounds.zip(times.counts).collect();
            (times.result, buckets, times.nanos as f64 / 1e9)
        });
        to.histograms(
            (
                "trunkline_back_end_answer_seconds",
                "Time until back ends had answered a question or a webhook, or failed to",
            ),
            "result",
            answers,
        )?;
        webhooks(&back.webhooks, to)
    }
}

/// Writes the counters of webhooks.
fn webhooks(webhooks: &WebhookMetrics, to: &mut Families<'_, '_>) -> Written {
    to.gauge(
        "trunkline_webhooks_waiting",
        "Messages and changes of presence that wait until a back end was told of them",
        webhooks.waiting(),
    )?;
    to.gauge(
        "trunkline_webhooks_oldest_seconds",
        "Age of the oldest message that a back end was not told of yet",
        webhooks.oldest_age_ms(system_ms()) / 1_000,
    )?;
    to.gauge(
        "trunkline_webhooks_behind_bytes",
        "Bytes of the log that were not looked through for missed messages yet",
        webhooks.behind(),
    )?;
    to.gauge(
        "trunkline_webhooks_recipients_with_more",
        "Recipients of whom more messages wait in the log than in memory",
        webhooks.later(),
    )?;
    to.gauge(
        "trunkline_webhooks_senders_with_more",
        "Senders whose messages wait in the log, because a back end refuses many of them",
        webhooks.held(),
    )?;
    to.labelled(
        (
            "trunkline_webhooks_tries",
            "Tries to tell back ends, by what came of them",
        ),
        "result",
        webhooks.tries(),
    )?;
    to.labelled(
        (
            "trunkline_webhooks_given_up",
            "Messages and changes of presence that back ends could not be told of in time",
        ),
        "webhook",
        webhooks.given_up(),
    )?;
    to.labelled(
        (
            "trunkline_webhooks_dropped",
            "Messages and changes of presence that back ends were not told of",
        ),
        "reason",
        webhooks.dropped(),
    )
}
