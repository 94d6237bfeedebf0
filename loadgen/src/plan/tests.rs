//! Every formula, by numbers from a pocket calculator.

use super::model::Model;
use super::page::{Page, Unit};
use super::published;
use crate::scenario::load::{self, Loaded};
use crate::scenario::presets::PRESETS;

fn loaded(name: &str, edits: &[(&str, &str)]) -> Loaded {
    let mut text = load::load(name).unwrap().text;
    for (from, to) in edits {
        assert!(text.contains(from), "{name} has no {from}");
        text = text.replace(from, to);
    }
    load::parse(name.into(), name.into(), text).unwrap()
}

fn page(name: &str, edits: &[(&str, &str)]) -> Page {
    let loaded = loaded(name, edits);
    let assumed = loaded.scenario.plan.clone();
    Page::new(
        loaded.name,
        &loaded.scenario,
        &assumed,
        vec!["assumed".into()],
    )
}

fn model(name: &str, edits: &[(&str, &str)]) -> Model {
    page(name, edits).model
}

/// The figure of this key is this, but for rounding.
#[track_caller]
fn check(page: &Page, expected: &[(&str, f64)]) {
    for &(key, value) in expected {
        let found = page.figure(key);
        let found = found.unwrap_or_else(|| panic!("no {key} in {}", page.name));
        let apart = (found - value).abs() / value.abs().max(1.0);
        assert!(apart < 1e-5, "{}: {key} is {found}, not {value}", page.name);
    }
}

#[test]
fn im_75m() {
    let page = page("im-75m", &[]);
    check(
        &page,
        &[
            // 75 M × 30; ÷ 86,400; × 2.
            ("messages_per_day", 2.25e9),
            ("rate_day", 26_041.666_7),
            ("rate_window", 26_041.666_7),
            ("rate_peak", 52_083.333_3),
            // 2.25 G × 7,000 B; × 3,652.5; 26,041.67 × 7,000.
            ("text_per_day", 15.75e12),
            ("text_kept", 57_526.875e12),
            ("text_rate", 182_291_666.7),
            ("connections", 75e6),
            ("gateway_machines", 1500.0),
            // (7,000 + 120 + 2 × 68) × 2.25 G; × 3,652.5; × 3.
            ("stored_per_day", 16.326e12),
            ("stored_kept", 59_630.715e12),
            ("stored_copies", 178_892.145e12),
            ("connections_per_machine", 50_000.0),
            ("memory_per_machine", 250e6),
            ("descriptors_per_machine", 50_128.0),
            // 50,000 ÷ 28,232.
            ("proxy_addresses_per_machine", 2.0),
            ("storm_seconds", 5.0),
        ],
    );
}

#[test]
fn service_500m() {
    let page = page("service-500m", &[]);
    check(
        &page,
        &[
            ("messages_per_day", 20e9),
            ("rate_day", 231_481.481_5),
            ("rate_peak", 462_962.963),
            ("text_per_day", 2.4e12),
            ("text_rate", 27_777_777.8),
            ("text_kept", 8.766e15),
            ("gateway_machines", 10_000.0),
            ("rate_per_machine", 23.148_148),
            // One reader, one device: a push each; 3 writes; 2 receipts.
            ("pushes_peak", 462_962.963),
            ("writes_peak", 1_388_888.889),
            ("receipts_peak", 925_925.926),
            // 462,963 × (120 + 150) + 925,926 × 150.
            ("in_peak", 263_888_888.9),
            // 462,963 × 270 + (462,963 + 925,926) × 150.
            ("out_peak", 333_333_333.3),
        ],
    );
    assert_eq!(page.model.gateway.binding().name, "connections");
    // 1,388,889 ÷ 10,000; and (120 + 120 + 136) × 20 G × 3,652.5 ÷ 8 TB for the disk.
    let nodes = |i: usize| page.model.storage.resources[i].machines();
    assert_eq!((nodes(0), nodes(2)), (139.0, 3434.0));
    assert_eq!(page.model.storage.binding().name, "disk");
    assert_eq!(page.model.storage_machines, 3.0 * 3434.0);
}

#[test]
fn web_1b() {
    let page = page("web-1b", &[]);
    check(
        &page,
        &[
            ("messages_per_day", 360e9),
            ("text_per_day", 360e12),
            // 360 G ÷ 86,400, and ÷ 43,200; × 4.
            ("rate_day", 4_166_666.667),
            ("rate_window", 8_333_333.333),
            ("rate_peak", 33_333_333.333),
            ("gateway_machines", 10_000.0),
            ("nodes_for_writes", 3334.0),
            // Without copies in timelines: (1,000 + 120) × 360 G.
            ("stored_per_day", 403.2e12),
        ],
    );
}

#[test]
fn timeline_100k() {
    let page = page("timeline-100k", &[]);
    check(
        &page,
        &[
            ("rate_peak", 33_333.333),
            ("writes_peak", 100_000.0),
            ("reads_peak", 1_000_000.0),
            ("nodes_for_writes", 10.0),
        ],
    );
    // 1,000,000 ÷ 3 copies ÷ 50,000.
    assert_eq!(page.model.storage.resources[1].machines(), 7.0);
}

#[test]
fn large_group() {
    let model = model("large-group", &[]);
    // 10 × 9,999 + 1 × 99,999 + 110,000 × 40 ÷ 86,400 between two.
    assert!((model.pushes_peak - (99_990.0 + 99_999.0 + 50.925_926)).abs() < 1e-3);
    // Pulled: one write each; between two three.
    assert!((model.writes_peak - (11.0 + 152.777_778)).abs() < 1e-3);
    assert!((model.messages_day - (4_400_000.0 + 950_400.0)).abs() < 1e-3);
    // Pushed: one and one for each member.
    let pushed = self::model(
        "large-group",
        &[("fanout_limit = 200", "fanout_limit = 10000")],
    );
    assert!((pushed.writes_peak - (10.0 * 10_001.0 + 1.0 + 152.777_778)).abs() < 1e-3);
}

#[test]
fn groups_devices_and_those_offline() {
    let edits = [
        ("online = 1.0", "online = 0.5"),
        ("devices = 1.0", "devices = 1.5"),
        (
            "contacts = 8",
            "groups = { share = 0.1, size = \"exp(10)\" }",
        ),
    ];
    let model = model("service-500m", &edits);
    let [direct, groups] = &model.streams[..] else {
        panic!("{:?}", model.streams)
    };
    // One other, half of the time online, with 1.5 devices, and half a device of the sender.
    assert_eq!((direct.pushes, direct.writes), (1.25, 3.0));
    assert_eq!((direct.day, groups.day), (18e9, 2e9));
    // Nine others; 1 + 10 timelines.
    assert_eq!(groups.pushes, 7.25);
    assert!((groups.writes - 11.0).abs() < 1e-6);
    assert_eq!((direct.receipts, groups.receipts), (1.0, 9.0));
    assert_eq!(model.connections, 375e6);
    // 0.9 × 462,963 × 1.25 + 0.1 × 462,963 × 7.25.
    assert!((model.pushes_peak - 856_481.481).abs() < 0.01);
    // Where the limit is the mean, 10 − 20 ÷ e members are in groups with copies.
    let limit = ("connections_per_server = 50_000", "fanout_limit = 10");
    let model = self::model("service-500m", &[edits[2], limit]);
    assert!((model.streams[1].writes - 3.642_411).abs() < 1e-5);
}

#[test]
fn headroom_is_kept_free_on_every_machine() {
    let more = (
        "connections_per_server = 50_000",
        "connections_per_server = 50_000\nheadroom = 0.2",
    );
    let model = model("service-500m", &[more]);
    // 500 M ÷ 40,000.
    assert_eq!(model.gateway.machines(), 12_500.0);
    assert_eq!(model.storage.resources[0].machines(), 174.0);
}

#[test]
fn each_resource_can_bind() {
    for (key, binds) in [
        ("connections_per_server = 100", "connections"),
        ("messages_per_server = \"1/s\"", "messages"),
        ("deliveries_per_server = \"1/s\"", "pushes"),
        ("network_per_server = \"0.1Mbit/s\"", "network out"),
        ("memory_per_connection = \"50MB\"", "memory"),
    ] {
        let model = model("service-500m", &[("connections_per_server = 50_000", key)]);
        assert_eq!(model.gateway.binding().name, binds, "{key}");
    }
    for (key, binds) in [
        ("writes_per_node = \"10/s\"", "writes"),
        ("reads_per_node = \"1/s\"", "reads"),
        ("disk_per_node = \"1TB\"", "disk"),
    ] {
        let model = model("service-500m", &[("connections_per_server = 50_000", key)]);
        assert_eq!(model.storage.binding().name, binds, "{key}");
    }
}

fn with_cells(name: &str, edits: &[(&str, &str)]) -> Page {
    let mut page = page(name, edits);
    page.add_cells(&loaded(name, edits).scenario.plan);
    page
}

#[test]
fn cells_of_several_gateways() {
    let large = (
        "connections_per_server = 50_000",
        "connections_per_server = 1_000_000\nyears = 0.1",
    );
    let page = with_cells("im-75m", &[large]);
    check(
        &page,
        &[
            // 7,000 + 120 + 2 × 16 + 136 + 3 × 24; × 52,083.3.
            ("log_bytes_per_message", 7_360.0),
            ("log_peak", 383_333_333.3),
            // ÷ 75; × (2 + 3).
            ("log_peak_per_cell", 5_111_111.1),
            ("log_out_per_cell", 25_555_555.6),
            // 8 GiB ÷ 5,111,111; 8 TB × 75 ÷ 16.326 TB.
            ("away_seconds", 1_680.639),
            ("days_on_disk", 36.751_194),
            // 2 × 383.3 ÷ 78.
            ("logs_of_one_namespace", 10.0),
            // 75 M ÷ 225; × 5,000 B; 52,083.3 ÷ 75 × 7,256 B × 2; ÷ 2 ÷ 10,000.
            ("sessions_per_gateway", 333_334.0),
            ("memory_per_gateway", 1_666_666_666.7),
            ("written_per_gateway", 10_077_777.8),
            ("back_seconds", 16.666_667),
        ],
    );
    let machines = |page: &Page| {
        let tier = &page.cells.as_ref().unwrap().tier;
        let machines = tier.resources.iter().map(|resource| resource.machines());
        machines.collect::<Vec<_>>()
    };
    // 383.3 ÷ 78; 5 × 383.3 ÷ 1,250; 156,250 ÷ 200,000; 75 M ÷ 3 M; 375 GB ÷ 192 GB; 52,083 ÷ 600,000;
    // 413 MB/s ÷ 3,750 MB/s; 596 TB ÷ 8 TB.
    assert_eq!(machines(&page), [5.0, 2.0, 1.0, 25.0, 2.0, 1.0, 1.0, 75.0]);
    let json = page.json();
    assert_eq!(json["cluster"]["cells"]["binds"], "disk");
    let breaks = &json["cluster"]["breaks"];
    assert_eq!(breaks.as_array().map(Vec::len), Some(8));
    assert_eq!(
        (&breaks[0], &breaks[1]),
        (&"disk".into(), &"connections".into())
    );
    assert_eq!(breaks[2], "log", "{breaks}");
    assert_eq!(json["cluster"]["gateways"], 225.0);
    assert_eq!(json["figures"]["away_seconds"]["unit"], "s");
    let text = page.text().join("\n");
    for words in [
        "several cells is not built",
        "cells, by disk",
        "75 cells of 3 gateways",
        "what breaks first: disk (75 cells), connections (25 cells), log (5 cells)",
    ] {
        assert!(text.contains(words), "no {words} in {text}");
    }
    // The figures of docs/scaling.md.
    let page = with_cells("service-500m", &[]);
    assert_eq!(
        machines(&page),
        [3.0, 1.0, 7.0, 3334.0, 14.0, 1.0, 1.0, 3434.0]
    );
    let page = with_cells("web-1b", &[]);
    assert_eq!(
        machines(&page)[..6],
        [489.0, 153.0, 167.0, 3334.0, 27.0, 56.0]
    );
    assert_eq!(page.figure("logs_of_one_namespace"), Some(978.0));
    assert!(with_cells("smoke", &[]).json()["cluster"].is_object());
    assert!(self::page("smoke", &[]).json()["cluster"].is_null());
}

#[test]
fn each_resource_of_a_cell_can_bind() {
    for (key, binds) in [
        ("log_per_cell = \"0.1Mbit/s\"", "log"),
        ("network_per_server = \"0.1Mbit/s\"", "network of the log"),
        ("memory_per_connection = \"50MB\"", "memory"),
        ("commands_per_leader = \"1/s\"", "commands"),
        ("connections_per_server = 1", "connections"),
        ("deliveries_per_server = \"1/s\"", "pushes"),
        (
            "network_per_server = \"0.1Mbit/s\"\ngateways_per_cell = 1\nservers_per_cell = 1",
            "network out",
        ),
        ("disk_per_node = \"1GB\"", "disk"),
    ] {
        let page = with_cells("service-500m", &[("connections_per_server = 50_000", key)]);
        let cells = page.cells.unwrap();
        assert_eq!(cells.tier.binding().name, binds, "{key}");
    }
}

#[test]
fn a_page_is_a_page_and_says_the_same_as_json() {
    for preset in PRESETS {
        let page = page(preset.name, &[]);
        let text = page.text();
        assert!(text.len() <= 67, "{}: {} lines", preset.name, text.len());
        let json = page.json();
        for section in &page.sections {
            for figure in &section.figures {
                let shown = figure.unit.show(figure.value);
                let line = text.iter().find(|line| line.contains(&figure.how));
                assert!(line.is_some_and(|line| line.contains(&shown)), "{figure:?}");
                assert!(
                    figure.value.is_finite() && figure.value >= 0.0,
                    "{figure:?}"
                );
                let value = &json["figures"][&figure.key];
                assert_eq!(value["value"].as_f64(), Some(figure.value), "{figure:?}");
                assert_eq!(value["formula"], figure.how.as_str());
            }
        }
        let count: usize = page.sections.iter().map(|s| s.figures.len()).sum();
        assert_eq!(
            json["figures"].as_object().map(|it| it.len()),
            Some(count),
            "keys are unique"
        );
        let binds = page.model.gateway.binding().name.replace(' ', "_");
        assert_eq!(json["gateway"]["binds"], binds.as_str());
        assert_eq!(
            text.iter()
                .filter(|line| line.ends_with("<- binds"))
                .count(),
            2
        );
    }
}

#[test]
fn published_estimates_agree_but_for_the_one_that_is_wrong() {
    assert_eq!(published::names(), ["im-75m", "service-500m", "web-1b"]);
    for name in published::names() {
        let lines = published::explain(&page(name, &[])).unwrap();
        let differs: Vec<_> = lines
            .iter()
            .filter(|line| line.contains('×') && line.contains("  × "))
            .collect();
        match name {
            "web-1b" => {
                assert_eq!(differs.len(), 1, "{lines:#?}");
                let line = differs[0];
                assert!(line.contains(" 350 ") && line.contains("3,334"), "{line}");
                assert!(line.ends_with("× 9.53"), "{line}");
                let why = lines[lines.len() - 3..].join(" ");
                for word in ["3,500,000 writes/s", "a tenth of the peak", "834"] {
                    assert!(why.contains(word), "no {word} in {why}");
                }
            }
            _ => assert!(differs.is_empty(), "{lines:#?}"),
        }
        assert!(lines.iter().filter(|line| line.ends_with("agrees")).count() >= 4);
    }
    assert!(published::explain(&page("smoke", &[])).is_none());
}

#[test]
fn figures_are_shown_with_their_units() {
    for (unit, value, text) in [
        (Unit::Count, 20e9, "20,000,000,000"),
        (Unit::Count, 3.0, "3"),
        (Unit::Count, 7.25, "7.25"),
        (Unit::PerSecond, 23.148, "23.1/s"),
        (Unit::Bytes, 8.766e15, "8.77 PB"),
        (Unit::BytesPerSecond, 27_777_778.0, "27.8 MB/s"),
        (Unit::Seconds, 5.0, "5 s"),
        (Unit::Seconds, 3.6667, "3.667 s"),
        (Unit::PerSecond, 0.0, "0/s"),
        (Unit::PerSecond, 10.0, "10/s"),
        (Unit::Count, 0.5, "0.5"),
    ] {
        assert_eq!(unit.show(value), text);
    }
}
