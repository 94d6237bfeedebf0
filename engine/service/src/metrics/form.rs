//! The two text forms of metrics: OpenMetrics 1.0, and Prometheus text 0.0.4 made of it.

use std::fmt::Write as _;

/// A text form of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Form {
    /// Returns the value of the `Content-Type` header.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Converts OpenMetrics text into this form.
    pub(crate) fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => text(&open_metrics),
        }
    }
}

/// OpenMetrics as text 0.0.4. Samples are the same in both. The older form names a counter's family
/// as its samples, with `_total`, and knows no `UNIT`, no `EOF` and no type `info`, whose samples are a
/// gauge there.
fn text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (kind, suffix) = match kind {
                "counter" => (kind, "_total"),
                "info" => ("gauge", "_info"),
                _ => (kind, ""),
            };
            // A String grows: writing to it does not fail.
            if let Some((_, said)) = help.take().filter(|(helped, _)| *helped == name) {
                let _ = writeln!(out, "# HELP {name}{suffix} {said}");
            }
            let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_samples() {
        let open_metrics = "# HELP a_seconds Time.\n# TYPE a_seconds counter\n# UNIT a_seconds \
                            seconds\na_seconds_total{b=\"# x\"} 1.5\n# HELP g Now.\n# TYPE g \
                            gauge\ng 2\n# HELP h Sizes.\n# TYPE h histogram\nh_sum \
                            3.0\nh_bucket{le=\"+Inf\"} 1\n# HELP v What.\n# TYPE v info\n\
                            v_info{of=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_seconds_total Time.\n# TYPE a_seconds_total \
                        counter\na_seconds_total{b=\"# x\"} 1.5\n# HELP g Now.\n# TYPE g \
                        gauge\ng 2\n# HELP h Sizes.\n# TYPE h histogram\nh_sum \
                        3.0\nh_bucket{le=\"+Inf\"} 1\n# HELP v_info What.\n# TYPE \
                        v_info gauge\nv_info{of=\"1\"} 1\n";
        assert_eq!(Form::Text.of(open_metrics.to_owned()), expected);
        let same = Form::OpenMetrics.of(open_metrics.to_owned());
        assert_eq!(same, open_metrics);
    }
}
