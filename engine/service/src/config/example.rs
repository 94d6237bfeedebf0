//! The table of settings as a file with every setting in a comment: `trunkline settings --toml`.

use super::row::{Default, Row, TABLES};
use super::table::ROWS;

/// The longest line of a comment, in characters.
const WIDTH: usize = 100;

const HEAD: &str = "\
# Settings of the Trunkline gateway. Every setting stands here in a comment, with its default or
# with an example. To set one, remove the # before its name and change the value.
#
# - A flag (--max-pages 8) and an environment variable (TRUNKLINE_MAX_PAGES=8) come before this file.
# - A relative path begins at the folder of this file.
# - `trunkline check-config --config FILE` prints what a file sets, or everything that is wrong.
# - `trunkline settings --toml` prints this file.
";

/// Returns the file `deploy/trunkline.toml`: every setting with its meaning, in comments.
pub fn as_toml() -> String {
    let mut text = HEAD.to_owned();
    for row in ROWS.iter().filter(|row| row.place().is_none()) {
        text.push_str(&entry(row));
    }
    for table in TABLES {
        text.push_str(&format!("\n[{table}]\n"));
        for row in ROWS {
            if row.place().is_some_and(|(of, _)| of == table) {
                text.push_str(&entry(row));
            }
        }
    }
    text
}

/// Returns the lines of one setting: its meaning, and its key with a value.
fn entry(row: &Row) -> String {
    let mut says = vec![row.help()];
    let default = row.default_text().unwrap_or_default();
    match row.default {
        Default::Value(_) => {}
        Default::Modes { .. } => says.push(format!("Default: {default}.")),
        Default::Computed(_) => says.push(format!("Default: {default}. The line is an example.")),
        Default::Off => says.push("There is no default. The line is an example.".to_owned()),
    }
    if let Some(range) = row.range_text() {
        says.push(format!("Range: {range}."));
    }
    if row.is_reloaded && !row.help().contains("SIGHUP") {
        says.push("SIGHUP puts a new value into effect.".to_owned());
    }
    let key = row.place().map_or(row.name, |(_, key)| key);
    let says: String = says.iter().map(|text| comment(text)).collect();
    format!("\n{says}#{key} = {}\n", value(row))
}

/// Returns the value of a setting as a file has it: the default, or the example.
fn value(row: &Row) -> String {
    match row.fixed_default(false) {
        Some(default) if matches!(row.value, "N" | "BOOL") => default.to_owned(),
        Some(default) => toml::Value::String(default.to_owned()).to_string(),
        None => row.example.unwrap_or_default().to_owned(),
    }
}

/// Breaks a text into lines of a comment.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = "#".to_owned();
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_the_program_prints() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/trunkline.toml");
        let file = std::fs::read_to_string(file).unwrap();
        assert!(
            file == as_toml(),
            "deploy/trunkline.toml differs: trunkline settings --toml > deploy/trunkline.toml"
        );
    }

    #[test]
    fn every_setting_has_a_value_to_show() {
        for row in ROWS {
            let has_default = row.fixed_default(false).is_some();
            assert_eq!(row.example.is_none(), has_default, "{}", row.name);
            assert!(!value(row).is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn comments_break_between_words() {
        let text = ["word"; 60].join(" ");
        let lines = comment(&text);
        assert_eq!(
            lines.replace("\n#", "").replace('\n', ""),
            format!("# {text}")
        );
        assert!(
            lines
                .lines()
                .all(|line| line.len() <= WIDTH && line.starts_with("# "))
        );
        assert_eq!(lines.lines().count(), 4);
    }
}
