//! docs/metrics.md lists what a gateway prints on `/metrics`: no more, no less.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_tests::gateway::Setup;
use trunkline_tests::http;
use trunkline_tests::process::workspace;
use trunkline_tests::tls::Authority;

/// The data of one metric on a page or of a gateway.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metric {
    /// `counter`, `gauge` or `histogram`.
    kind: String,
    /// The name of its label, if it has one.
    label: Option<String>,
    /// The values of that label.
    values: BTreeSet<String>,
}

/// Metrics by their names.
type Metrics = BTreeMap<String, Metric>;

/// Returns the text between backquotes, if that is all there is.
fn unquoted(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

/// Returns the metrics of the page: one for each row of six cells, and label values by headings.
fn documented() -> Metrics {
    let page = std::fs::read_to_string(workspace().join("docs/metrics.md")).expect("a page");
    let mut found = Metrics::new();
    let mut heading = None;
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("### ") {
            heading = Some(unquoted(text).expect("a metric's name"));
        }
        let Some(row) = line
            .strip_prefix("| ")
            .and_then(|row| row.strip_suffix(" |"))
        else {
            continue;
        };
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let Some(first) = unquoted(cells[0]) else {
            continue;
        };
        match (heading, &cells[..]) {
            (None, [_, kind, unit, label, meaning, alert]) => {
                for cell in [unit, meaning, alert] {
                    assert!(!cell.is_empty(), "{first}: a cell is empty");
                }
                let metric = Metric {
                    kind: (*kind).to_owned(),
                    label: unquoted(label).map(str::to_owned),
                    values: BTreeSet::new(),
                };
                let before = found.insert(first.to_owned(), metric);
                assert_eq!(before, None, "{first} is there twice");
            }
            (Some(name), [_, meaning]) => {
                let metric = found.get_mut(name).unwrap_or_else(|| panic!("no {name}"));
                // The head of the table names the label.
                if metric.label.as_deref() == Some(first) {
                    continue;
                }
                assert!(!meaning.is_empty(), "{name}: {first} has no meaning");
                assert!(metric.values.insert(first.to_owned()), "{name}: {first}");
            }
            _ => {}
        }
    }
    found
}

/// Returns the metrics in Prometheus text.
fn printed(text: &str) -> Metrics {
    let mut found = Metrics::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            let metric = found.entry(name.to_owned()).or_default();
            kind.clone_into(&mut metric.kind);
        }
        let Some((name, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let ends = ["_bucket", "_sum", "_count"].into_iter();
        let family = ends.filter_map(|end| name.strip_suffix(end));
        let name = family.chain([name]).find(|name| found.contains_key(*name));
        let metric = found
            .get_mut(name.expect("a type before the samples"))
            .expect("it is there");
        let (labels, _) = rest.split_once('}').expect("an end of the labels");
        let labels = labels.split(',').map(|label| label.split_once('='));
        let labels = labels.map(|label| label.expect("a label"));
        for (label, value) in labels.filter(|(label, _)| *label != "le") {
            let before = metric.label.replace(label.to_owned());
            assert!(before.is_none_or(|before| before == label), "{line}");
            metric.values.insert(value.trim_matches('"').to_owned());
        }
    }
    found
}

#[test]
fn every_metric_type_label_and_value() {
    let authority = Authority::new();
    let files = authority.issue("server");
    let gateway = Setup::default().tls(&files, &authority.trust()).start();
    let mut printed = printed(&http::get(gateway.control(), "/metrics").body);
    // The page is the same for all versions.
    let build = printed
        .get_mut("trunkline_build_info")
        .expect("the version");
    assert_eq!(build.values, [env!("CARGO_PKG_VERSION").to_owned()].into());
    build.values.clear();
    let documented = documented();
    for (name, metric) in &printed {
        assert_eq!(documented.get(name), Some(metric), "{name} of the gateway");
    }
    for name in documented.keys() {
        assert!(printed.contains_key(name), "{name} of the page");
    }
}
