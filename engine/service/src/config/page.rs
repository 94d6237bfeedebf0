//! The table of settings as JSON and as a page: `trunkline settings`.

use serde_json::{Value, json};

use super::row::{NAMES, Row};
use super::table::ROWS;

/// Returns a form's description in words.
fn words(row: &Row) -> &'static str {
    match row.value {
        "N" => "a whole number",
        "SIZE" => "a size, such as 64KiB",
        "TIME" => "a time, such as 10s",
        "TIME|keep" => "a time, such as 30d, or `keep`",
        "ADDR" => "an address and a port",
        "ADDR|off" => "an address and a port, or `off`",
        "FILE" => "a path of a file",
        "DIR" => "a path of a folder",
        "BOOL" => "true or false",
        "LEVEL" => "sync, `interval:<ms>` or os",
        "LIST" => "a list of origins",
        "PLACE" => "a folder, or s3://bucket/prefix",
        "TYPES" => "a list of media types",
        "NETWORKS" => "a list of addresses and networks",
        "HEADER" => "any, x-forwarded-for, forwarded or proxy-protocol",
        "WEIGHTS" => "a list of namespaces with weights from 1 to 1000",
        "FORMAT" => "text or json",
        "NAME" => "HS256, RS256, ES256 or EdDSA",
        "URL" => "an http:// or https:// address, such as http://127.0.0.1:9000/send",
        "ROUTES" => "a table of beginnings of methods with addresses",
        "deny|allow" => "deny or allow",
        "FILTER" => "a filter of log lines",
        _ => "text",
    }
}

/// Returns the settings as an array of objects: `name`, `flag`, `variable`,
/// `table` and `key` of the file, `form`, `default`,
/// `range`, `limit` (`what` and `beyond`), `reloaded`, `help`. A field that does not apply is null.
pub fn as_json() -> Value {
    let each = ROWS.iter().zip(NAMES.iter()).map(|(row, names)| {
        json!({
            "name": row.name,
            "flag": format!("--{}", names.flag),
            "variable": names.variable,
            "table": row.place().map(|(table, _)| table),
            "key": row.place().map_or(row.name, |(_, key)| key),
            "form": words(row).replace('`', ""),
            "default": row.default_text(),
            "range": row.range_text(),
            "limit": row.limit.map(|limit| json!({"what": limit.what, "beyond": limit.beyond})),
            "reloaded": row.is_reloaded,
            "help": row.help(),
        })
    });
    Value::Array(each.collect())
}

/// Returns the page `docs/settings.md`.
pub fn as_markdown() -> String {
    let mut page = String::from(HEAD);
    for (row, names) in ROWS.iter().zip(NAMES.iter()) {
        let mut line = format!("\n## {}\n\n{}\n\n", row.name, row.help());
        line.push_str(&format!("- Flag: `--{} {}`\n", names.flag, row.value));
        line.push_str(&format!("- Environment: `{}`\n", names.variable));
        if let Some((table, key)) = row.place() {
            line.push_str(&format!("- File: `{key}` in the table `[{table}]`\n"));
        }
        line.push_str(&format!("- Value: {}", words(row)));
        if let Some(range) = row.range_text() {
            line.push_str(&format!(", {range}"));
        }
        let default = row.default_text();
        line.push_str(&format!(
            "\n- Default: {}\n",
            default.as_deref().unwrap_or("none")
        ));
        if let Some(limit) = row.limit {
            line.push_str(&format!("- Limit: {}", limit.what));
            if !limit.beyond.is_empty() {
                line.push_str(&format!(". Beyond it: {}", limit.beyond));
            }
            line.push('\n');
        }
        if row.is_reloaded {
            line.push_str("- SIGHUP puts a new value into effect.\n");
        }
        page.push_str(&line);
    }
    page
}

const HEAD: &str = "\
# Settings

Every setting of the gateway. `trunkline settings --markdown` prints this page and
`trunkline settings` prints it as JSON; a test compares the page with the program.

1. A setting is a flag (`--max-pages 8`), an environment variable (`TRUNKLINE_MAX_PAGES=8`) and a key of
   the file that `--config FILE` or `TRUNKLINE_CONFIG` names (`max_pages = 8`). A few stand in a table of
   the file, such as `timeout` in `[callbacks]`.
2. A flag comes before the environment, the environment before the file, the file before the default.
3. Sizes, times and names stand in quotes in the file: `text_bytes = \"64KiB\"`. Numbers, `true` and
   `false` stand without.
4. A relative path in the file begins at the folder of the file. A relative path of a flag or a variable
   begins at the working directory.
5. `trunkline check-config` prints every setting with its value, or names everything that is wrong, with
   the flag, the variable, or the file and line. An unknown key and an unknown variable that begins with
   `TRUNKLINE_` are errors. Variables that a container platform makes for a service called `trunkline`
   (such as `TRUNKLINE_PORT_7700_TCP` and `TRUNKLINE_SERVICE_HOST`) are left alone.
6. SIGHUP reads the file again. Settings below that do not say so take effect at the next start.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_program_prints() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
        let page = std::fs::read_to_string(page).unwrap();
        assert!(
            page == as_markdown(),
            "docs/settings.md differs: trunkline settings --markdown > docs/settings.md"
        );
    }

    #[test]
    fn every_setting_says_what_it_takes() {
        for row in ROWS {
            assert!(words(row) != "text" || row.value == "TEXT", "{}", row.name);
            let help = row.help();
            assert!(
                help.ends_with('.') && help.len() > 10,
                "{}: {help}",
                row.name
            );
        }
    }
}
