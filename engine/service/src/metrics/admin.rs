//! The text of the counters of the admin API.

use trunkline_http::admin::ADMIN_ROUTES;

use super::families::{Families, Written};
use super::text::Exporter;

impl Exporter {
    /// Writes the counters of the admin API.
    pub(super) fn admin(&self, to: &mut Families<'_, '_>) -> Written {
        let admin = &self.metrics.admin;
        let requests = admin.requests.iter().map(|n| n.get());
        to.labelled(
            (
                "trunkline_admin_requests",
                "Answered requests to the admin API",
            ),
            "route",
            ADMIN_ROUTES.into_iter().zip(requests),
        )?;
        to.times(
            (
                "trunkline_admin_request",
                "Time until answers of the admin API were ready",
            ),
            "route",
            ADMIN_ROUTES
                .into_iter()
                .zip(admin.times.iter().map(|n| n.get())),
        )?;
        to.labelled(
            (
                "trunkline_admin_refused",
                "Requests to the admin API that were refused",
            ),
            "reason",
            [
                ("token", admin.strangers.get()),
                ("scope", admin.forbidden.get()),
            ],
        )?;
        to.gauge(
            "trunkline_admin_streams",
            "Open streams of numbers",
            admin.streams.get(),
        )?;
        to.counter(
            "trunkline_admin_ended_sessions",
            "Sessions that operators ended",
            admin.ended.get(),
        )?;
        to.gauge(
            "trunkline_admin_erasures_running",
            "Erasures of users under way",
            admin.erasing.get(),
        )?;
        to.labelled(
            (
                "trunkline_admin_erasures",
                "Erasures that ended, and attempts to go on that failed",
            ),
            "result",
            [
                ("ok", admin.erased.get()),
                ("failed", admin.erasures_failed.get()),
            ],
        )?;
        to.labelled(
            (
                "trunkline_admin_token_reloads",
                "Readings of the file of admin tokens while the gateway runs",
            ),
            "result",
            [
                ("ok", admin.reloaded.get()),
                ("failed", admin.reload_failed.get()),
            ],
        )
    }
}
