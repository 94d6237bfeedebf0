//! The text of the counters of the client API.

use trunkline_http::{MediaMetrics, ROUTES};

use super::families::{Families, Written};
use super::text::Exporter;

impl Exporter {
    /// Writes the counters of the client API.
    pub(super) fn http(&self, to: &mut Families<'_, '_>) -> Written {
        let http = &self.metrics.http;
        to.gauge(
            "trunkline_http_connections",
            "Open connections to the client API",
            http.server.connections.get(),
        )?;
        to.gauge(
            "trunkline_http_waiting",
            "Requests to the client API that wait for events",
            http.polls.get(),
        )?;
        to.gauge(
            "trunkline_http_streams",
            "Open streams of events",
            http.streams.get(),
        )?;
        to.gauge(
            "trunkline_http_body_bytes",
            "Bytes of the bodies of requests to the client API without an answer",
            http.bodies.load(std::sync::atomic::Ordering::Relaxed) as u64,
        )?;
        to.gauge(
            "trunkline_http_unread_bytes",
            "Bytes of streams and answers of the client API that clients have not taken",
            http.unread.load(std::sync::atomic::Ordering::Relaxed) as u64,
        )?;
        to.gauge(
            "trunkline_http_held_bytes",
            "Memory of the connections of the client API",
            http.held_bytes() as u64,
        )?;
        to.counter(
            "trunkline_http_unread_dropped",
            "Streams and answers dropped because clients had not taken too many bytes",
            http.unread_dropped.get(),
        )?;
        to.labelled(
            (
                "trunkline_http_requests",
                "Answered requests to the client API",
            ),
            "route",
            ROUTES
                .into_iter()
                .zip(http.requests.iter().map(|n| n.get())),
        )?;
        to.times(
            (
                "trunkline_http_request",
                "Time until answers of the client API were ready",
            ),
            "route",
            ROUTES.into_iter().zip(http.times.iter().map(|n| n.get())),
        )?;
        to.labelled(
            (
                "trunkline_http_errors",
                "Answers of the client API that are errors",
            ),
            "fault",
            [
                ("client", http.refused.get()),
                ("gateway", http.failed.get()),
            ],
        )?;
        to.counter(
            "trunkline_http_woken",
            "Times that an event woke a waiting request or a stream",
            http.woken.get(),
        )?;
        media(&http.media, to)?;
        let reasons = [
            ("connections", http.server.crowded.get()),
            ("time", http.server.late.get()),
            ("origin", http.server.refused.get()),
            ("proxy", http.server.unclear.get()),
        ];
        to.labelled(
            (
                "trunkline_http_refused",
                "Connections and requests that the client API refused",
            ),
            "reason",
            reasons,
        )
    }
}

/// Writes the counters of media.
fn media(media: &MediaMetrics, to: &mut Families<'_, '_>) -> Written {
    for (name, help, counter) in [
        (
            "trunkline_media_uploads",
            "Files that clients have uploaded",
            &media.uploads,
        ),
        (
            "trunkline_media_uploaded_bytes",
            "Bytes of the files that clients have uploaded",
            &media.uploaded_bytes,
        ),
        (
            "trunkline_media_downloads",
            "Files and parts of files that clients have begun to download",
            &media.downloads,
        ),
        (
            "trunkline_media_removed",
            "Files that were removed because no message named them",
            &media.removed,
        ),
        (
            "trunkline_media_unreachable",
            "Times that the place of media could not be reached, or failed",
            &media.unreachable,
        ),
    ] {
        to.counter(name, help, counter.get())?;
    }
    Ok(())
}
