//! The choice of the metrics' text form by a client's `Accept` header (RFC 9110 §12.5.1).

use axum::http::{HeaderMap, header};

use crate::metrics::Form;

/// Returns the form that the client prefers: OpenMetrics if the header names it with a weight no
/// less than that of plain text. Any other header selects plain text, as scrapers expect.
pub(super) fn form(headers: &HeaderMap) -> Form {
    let lines = headers.get_all(header::ACCEPT).into_iter();
    let ranges = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    let (mut open_metrics, mut text, mut any_text, mut any) = (None, None, None, None);
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter = |name: &str| {
            let found = parameters
                .iter()
                .find(|(it, _)| it.trim().eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim().trim_matches('"'))
        };
        let weight = weight(parameter("q"));
        let version = parameter("version");
        let best = match &*kind {
            "application/openmetrics-text"
                if version.is_none_or(|v| v == "1.0.0" || v == "0.0.1") =>
            {
                &mut open_metrics
            }
            "text/plain" if version.is_none_or(|v| v == "0.0.4") => &mut text,
            "text/*" => &mut any_text,
            "*/*" => &mut any,
            _ => continue,
        };
        *best = (*best).max(Some(weight));
    }
    let text = text.or(any_text).or(any).unwrap_or(0);
    match open_metrics {
        Some(weight) if weight > 0 && weight >= text => Form::OpenMetrics,
        _ => Form::Text,
    }
}

/// Returns a weight in thousandths: 1000 without a `q`, 0 if `q` cannot be read.
fn weight(q: Option<&str>) -> u32 {
    let Some(q) = q else { return 1_000 };
    let value: f64 = q.parse().unwrap_or(0.0);
    (value.clamp(0.0, 1.0) * 1_000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_only_where_it_is_asked_for() {
        const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (&[][..], Form::Text),
            (&["*/*"], Form::Text),
            (&["text/plain"], Form::Text),
            (&["text/html,*/*;q=0.8"], Form::Text),
            (&[PROMETHEUS], Form::OpenMetrics),
            (&["application/openmetrics-text"], Form::OpenMetrics),
            (
                &["Application/OpenMetrics-Text; Version=\"1.0.0\""],
                Form::OpenMetrics,
            ),
            (
                &["application/openmetrics-text, */*;q=0.1"],
                Form::OpenMetrics,
            ),
            (
                &["text/plain", "application/openmetrics-text"],
                Form::OpenMetrics,
            ),
            (
                &["application/openmetrics-text;q=0.5,text/plain;q=0.9"],
                Form::Text,
            ),
            (&["application/openmetrics-text;q=0.5,text/*"], Form::Text),
            (&["application/openmetrics-text;q=0"], Form::Text),
            (&["application/openmetrics-text;q=x"], Form::Text),
            (&["application/openmetrics-text;version=2.0.0"], Form::Text),
            (&["application/vnd.google.protobuf;q=0.7"], Form::Text),
        ] {
            let mut headers = HeaderMap::new();
            for line in accept {
                headers.append(header::ACCEPT, line.parse().unwrap());
            }
            assert_eq!(form(&headers), expected, "{accept:?}");
        }
    }
}
