//! Published estimates, compared with a plan line by line.

use super::page::{Page, Unit};

/// A published figure.
#[derive(Debug)]
struct Published {
    /// The key of our figure for the same quantity.
    key: &'static str,
    label: &'static str,
    value: f64,
    unit: Unit,
    /// The reason why our figure differs; empty if it does not.
    why: &'static str,
}

/// The largest relative difference between two figures that count as equal after rounding.
const ROUNDED: f64 = 0.01;

const fn published(key: &'static str, label: &'static str, value: f64, unit: Unit) -> Published {
    Published {
        key,
        label,
        value,
        unit,
        why: "",
    }
}

/// Returns the published figures for a preset, and what the estimate is for.
fn of(preset: &str) -> Option<(&'static str, Vec<Published>)> {
    use Unit::{Bytes, BytesPerSecond, Count, PerSecond};
    Some(match preset {
        "im-75m" => (
            "75 M daily users × 30 messages × 7 KB",
            vec![
                published("messages_per_day", "messages per day", 2.25e9, Count),
                published("rate_day", "messages per second", 26_042.0, PerSecond),
                published("text_per_day", "storage per day", 15.75e12, Bytes),
                published("text_rate", "bandwidth", 182e6, BytesPerSecond),
            ],
        ),
        "service-500m" => (
            "500 M daily users × 40 messages × 120 B, 50,000 connections per server",
            vec![
                published("messages_per_day", "messages per day", 20e9, Count),
                published("rate_day", "messages per second", 231_481.0, PerSecond),
                published("text_per_day", "storage per day", 2.4e12, Bytes),
                published("text_rate", "bandwidth, each way", 27.8e6, BytesPerSecond),
                published("gateway_machines", "servers", 10_000.0, Count),
                published("rate_per_machine", "messages per server", 23.0, PerSecond),
                published(
                    "text_kept",
                    "storage in ten years, one copy",
                    8.77e15,
                    Bytes,
                ),
            ],
        ),
        "web-1b" => (
            "1 B clients × 1 message in 2 minutes over 12 hours × 1 KB, peak × 4, 100,000 \
             connections per server, 10,000 writes/s per database node",
            vec![
                published("messages_per_day", "messages per day", 360e9, Count),
                published("text_per_day", "storage per day", 360e12, Bytes),
                published("rate_window", "messages per second", 8.33e6, PerSecond),
                published("rate_peak", "at the peak", 33.3e6, PerSecond),
                published("gateway_machines", "servers", 10_000.0, Count),
                Published {
                    why: "350 nodes × 10,000/s take 3,500,000 writes/s: a tenth of the peak of \
                          33,333,333/s (a digit was lost on the way), and not half of the mean \
                          within the window, 8,333,333/s, for which 834 are needed",
                    ..published(
                        "nodes_for_writes",
                        "database nodes, for the writes",
                        350.0,
                        Count,
                    )
                },
            ],
        ),
        _ => return None,
    })
}

/// Returns the comparison in lines; `None` if nothing is published for the preset.
pub(super) fn explain(page: &Page) -> Option<Vec<String>> {
    let (basis, figures) = of(&page.name)?;
    let mut lines = vec![format!(
        "loadgen plan {} beside the published estimate",
        page.name
    )];
    lines.extend(wrapped(basis).iter().map(|line| format!("  {line}")));
    lines.push(String::new());
    lines.push(format!(
        "  {:<34} {:>16} {:>16}",
        "", "published", "this plan"
    ));
    for published in &figures {
        let Some(ours) = page.figure(published.key) else {
            continue;
        };
        let ratio = ours / published.value;
        let verdict = if (ratio - 1.0).abs() <= ROUNDED {
            "agrees".to_owned()
        } else {
            format!("× {ratio:.2}")
        };
        lines.push(format!(
            "  {:<34} {:>16} {:>16}  {verdict}",
            published.label,
            published.unit.show(published.value),
            published.unit.show(ours)
        ));
        if verdict != "agrees" {
            lines.extend(
                wrapped(published.why)
                    .iter()
                    .map(|line| format!("      {line}")),
            );
        }
    }
    Some(lines)
}

/// Wraps a text into lines that fit a terminal.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.len() + word.len() < 90);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Returns the presets with published estimates.
pub(super) fn names() -> Vec<&'static str> {
    let presets = crate::scenario::presets::PRESETS.iter();
    presets
        .map(|preset| preset.name)
        .filter(|name| of(name).is_some())
        .collect()
}
