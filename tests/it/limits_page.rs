//! docs/limits.md has the settings and defaults of the program.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::{Table, Value};
use trunkline_tests::back_end::{BackEnd, Says};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http;
use trunkline_tests::process::{Process, workspace};

/// Settings that limit nothing a client does.
const OTHERS: [&str; 26] = [
    "listen",
    "media",
    "control",
    "admin_tokens",
    "http",
    "callbacks_send",
    "callbacks_on_failure",
    "callbacks_secret_file",
    "webhooks_offline",
    "data",
    "shards",
    "durability",
    "dev_auth",
    "idempotency_window",
    "sync_life",
    "message_life",
    "store_cache",
    "segment_bytes",
    "store_reserve",
    "search",
    "search_purge",
    "conversation_cache",
    "members_add",
    "proxy_header",
    "log_format",
    "log",
];

/// Returns the page without its prices, and its prices.
fn parts() -> (String, String) {
    let page = std::fs::read_to_string(workspace().join("docs/limits.md")).expect("a page");
    let (limits, cost) = page.split_once("\n## Cost\n").expect("a section on cost");
    (limits.to_owned(), cost.to_owned())
}

fn page() -> String {
    parts().0
}

/// Returns the cells of each row of the tables, without their heads.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let cells = |line| {
        let cells = str::trim_matches(line, '|').split('|');
        cells.map(str::trim).collect::<Vec<_>>()
    };
    let lines = page.lines().filter(|line| line.starts_with("| "));
    let rows = lines.map(cells);
    rows.filter(|row| !["setting", "what"].contains(&row[0]))
        .collect()
}

/// Returns the rows that begin with a setting, by its name.
fn settings(page: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut found = BTreeMap::new();
    for row in rows(page) {
        let name = row[0]
            .strip_prefix('`')
            .and_then(|cell| cell.strip_suffix('`'));
        let Some(name) = name else { continue };
        assert_eq!(found.insert(name, row), None, "{name} stands there twice");
    }
    found
}

/// Returns the settings that `check-config` prints without a flag besides those of a back end.
fn defaults() -> Table {
    let back = BackEnd::start(|_| Says::Close);
    let setup = Setup::bare()
        .flag("dev-auth", "true")
        .flag("callbacks-send", back.url("/send"))
        .flag("webhooks-offline", back.url("/offline"))
        .flag("callbacks-secret-file", back.secret_file().display());
    let printed: Table = setup.run("check-config").stdout.parse().expect("TOML");
    let mut found = Table::new();
    for (name, value) in printed {
        match value {
            Value::Table(table) => {
                let named = |(key, value)| (format!("{name}_{key}"), value);
                found.extend(table.into_iter().map(named));
            }
            value => drop(found.insert(name, value)),
        }
    }
    found
}

/// Returns the defaults in `serve --help`, by setting.
fn documented() -> BTreeMap<String, String> {
    let mut command = Setup::bare().command("serve");
    let help = Process::start(command.arg("--help")).ended().stdout;
    let mut found = BTreeMap::new();
    for flag in help.split("\n      --").skip(1) {
        let name = flag
            .split([' ', '\n'])
            .next()
            .unwrap_or_default()
            .replace('-', "_");
        let default = flag
            .split_once("[default: ")
            .and_then(|(_, rest)| rest.split_once(']'));
        if let Some((default, _)) = default {
            found.insert(name, default.to_owned());
        }
    }
    found
}

#[test]
fn every_setting_and_its_default() {
    let page = page();
    let (rows, defaults, documented) = (settings(&page), defaults(), documented());
    for name in defaults.keys() {
        let other = OTHERS.contains(&&**name);
        assert_ne!(
            rows.contains_key(&**name),
            other,
            "{name}: a limit stands there"
        );
    }
    for (name, row) in &rows {
        let resolved = defaults
            .get(*name)
            .unwrap_or_else(|| panic!("no setting {name}"));
        let resolved = match resolved {
            Value::String(text) => text.clone(),
            Value::Array(list) => {
                let each: Vec<_> = list.iter().filter_map(Value::as_str).collect();
                each.join(",")
            }
            other => other.to_string(),
        };
        assert_eq!(
            documented.get(*name).map(String::as_str),
            Some(row[1]),
            "{name}"
        );
        // In development mode, where some limits are off.
        let expected = match row[1].split_once("; ") {
            Some((_, rest)) => rest.trim_end_matches(" with dev-auth"),
            None => row[1].split(", ").next().unwrap_or_default(),
        };
        if !expected.starts_with("twice") {
            assert_eq!(resolved, expected, "{name}");
        }
    }
}

#[test]
fn every_metric_and_test() {
    let page = page();
    let gateway = Gateway::start();
    let metrics = http::get(gateway.control(), "/metrics").body;
    for row in rows(&page) {
        let [metric, tests] = row[row.len() - 2..] else {
            panic!("{row:?}")
        };
        for metric in metric.split(", ").filter(|metric| !metric.is_empty()) {
            let metric = match metric.strip_prefix("limited: ") {
                Some(limit) => format!("trunkline_limited_total{{limit=\"{limit}\"}}"),
                None => metric.trim_matches('`').to_owned(),
            };
            let exported = metrics
                .lines()
                .any(|line| line.starts_with(&format!("{metric} ")));
            assert!(exported, "{metric} is not in /metrics");
        }
        for test in tests.split(", ").filter(|test| !test.is_empty()) {
            let (module, name) = test
                .trim_matches('`')
                .split_once("::")
                .unwrap_or_else(|| panic!("{test} is no test"));
            let file: PathBuf = workspace().join(format!("tests/it/{module}.rs"));
            let source = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(
                source.contains(&format!("#[test]\nfn {name}()")),
                "{test} is not there"
            );
        }
    }
    // Each counter of /metrics is explained.
    for line in metrics.lines() {
        let limit = line.strip_prefix("trunkline_limited_total{limit=\"");
        if let Some((limit, _)) = limit.and_then(|rest| rest.split_once('"')) {
            assert!(
                page.contains(&format!("limited: {limit}")),
                "{limit} is not there"
            );
        }
    }
}

/// The table of settings is where the page's first cells come from.
#[test]
fn the_rows_are_those_of_the_table_of_settings() {
    let mut command = Setup::bare().command("settings");
    let printed = Process::start(&mut command).ended().stdout;
    let table: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let page = page();
    let rows = settings(&page);
    let limits: Vec<_> = table
        .as_array()
        .expect("an array")
        .iter()
        .filter(|setting| !setting["limit"].is_null())
        .collect();
    assert_eq!(limits.len(), rows.len());
    for setting in limits {
        let name = setting["name"].as_str().expect("a name");
        let limit = &setting["limit"];
        let row = rows
            .get(name)
            .unwrap_or_else(|| panic!("no row for {name}"));
        let said = [&setting["default"], &limit["what"], &limit["beyond"]];
        for (cell, said) in row[1..4].iter().zip(said) {
            assert_eq!(Some(*cell), said.as_str(), "{name}");
        }
    }
}

/// The prices of the page are the constants of the code, and no price is missing.
#[test]
fn every_price() {
    const FILES: [&str; 9] = [
        "engine/core/src/cost.rs",
        "engine/core/src/exchange/back.rs",
        "engine/core/src/reader/mod.rs",
        "engine/core/src/reader/reading.rs",
        "engine/core/src/reader/search.rs",
        "engine/core/src/sequencer/price.rs",
        "engine/gateway/src/shard/backlog.rs",
        "engine/gateway/src/shard/ephemeral/commands.rs",
        "engine/gateway/src/shard/price.rs",
    ];
    /// Constants that bound a turn, or stand for work that is not done yet.
    const NO_PRICES: [&str; 4] = ["SLICE", "CONTINUED", "NAMED_BYTE", "GROUP_SEND"];
    let page = parts().1;
    let told: BTreeMap<String, u64> = rows(&page)
        .into_iter()
        .filter(|row| row.get(2).is_some_and(|cell| cell.contains(".rs`")))
        .map(|row| {
            let (number, unit) = row[1].split_once(' ').expect("a number with a unit");
            let factor = if unit == "µs" { 1_000 } else { 1 };
            let nanos = number.parse::<u64>().expect("a whole number") * factor;
            (row[2].replace('`', ""), nanos)
        })
        .collect();
    let mut found = BTreeMap::new();
    for file in FILES {
        let source = std::fs::read_to_string(workspace().join(file)).expect("a source file");
        for line in source.lines() {
            let Some((_, rest)) = line.split_once("const ").filter(|_| !line.starts_with(' '))
            else {
                continue;
            };
            let Some((name, value)) = rest.split_once(": ") else {
                continue;
            };
            let mut forms = vec![("Cost = Cost::micros(", 1_000), ("Cost = Cost::nanos(", 1)];
            if name.ends_with("_KIB") {
                forms.extend([("u64 = ", 1), ("usize = ", 1)]);
            }
            let price = forms.into_iter().find_map(|(form, nanos)| {
                let number = value.strip_prefix(form)?.trim_end_matches([')', ';']);
                Some(number.replace('_', "").parse::<u64>().ok()? * nanos)
            });
            if let Some(price) = price.filter(|_| !NO_PRICES.contains(&name)) {
                found.insert(format!("{file} {name}"), price);
            }
        }
    }
    assert_eq!(told, found);
}
