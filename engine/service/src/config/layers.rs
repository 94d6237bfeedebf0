//! The sources of settings in their precedence: flags, environment, file.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use trunkline_gateway::files;

use super::problem::{ConfigError, Origin, Problem};
use super::row::{NAMES, PREFIX, Row, TABLES};
use super::suggest;
use super::table::{ROWS, Settings};
use super::written::Written;

/// The variable that names the file of settings.
const FILE: &str = "TRUNKLINE_CONFIG";

/// The prefixes of the variables that the project's own tests read.
const OF_TESTS: [&str; 2] = ["TRUNKLINE_GENERATE", "TRUNKLINE_TEST_"];

/// The variables that only other programs of the project read.
const OF_TOOLS: [&str; 1] = ["TRUNKLINE_NATS_SERVER"];

/// Settings of all sources, each with its origin, and the problems found.
///
/// The sources are added in the order of precedence: flags and environment before the file. A setting
/// that has a value keeps it, and its value in the file is only checked.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) settings: Settings,
    origins: BTreeMap<&'static str, Origin>,
    pub(super) problems: Vec<Problem>,
    /// The lines of the file that are no TOML. What the reader makes of them is nobody's setting.
    torn: BTreeSet<usize>,
}

impl Layers {
    /// Adds the value that a flag or an environment variable has for the setting `ROWS[index]`.
    pub(super) fn add_given(&mut self, index: usize, value: &OsString, origin: Origin) {
        self.add(index, &Written::Word(value.clone()), Path::new(""), origin);
    }

    fn add(&mut self, index: usize, written: &Written, folder: &Path, origin: Origin) {
        let name = ROWS[index].name;
        let mut apart = Settings::default();
        let is_first = !self.origins.contains_key(name);
        let into = if is_first {
            &mut self.settings
        } else {
            &mut apart
        };
        let read = into.read(name, written, folder);
        if let Err(text) = read {
            self.problems.push(Problem {
                setting: ROWS[index].in_file(),
                text,
                origin: Some(origin.clone()),
            });
        }
        if is_first {
            self.origins.insert(name, origin);
        }
    }

    /// Notes a problem for each variable that begins with `TRUNKLINE_` and is no setting.
    ///
    /// Container platforms add variables of their own for a service that is called `trunkline`
    /// (`TRUNKLINE_PORT_7700_TCP_ADDR`, `TRUNKLINE_SERVICE_HOST`): these are left alone.
    pub(super) fn check_variables(&mut self, names: impl Iterator<Item = OsString>) {
        for name in names {
            let name = name.to_string_lossy().into_owned();
            let is_known = !name.starts_with(PREFIX)
                || NAMES.iter().any(|names| names.variable == name)
                || name == FILE
                || OF_TOOLS.contains(&name.as_str())
                || OF_TESTS.iter().any(|other| name.starts_with(other))
                || is_of_a_service(&name);
            if is_known {
                continue;
            }
            let hint = variable_like(&name);
            self.problems.push(Problem {
                text: format!(
                    "this environment variable is no setting of the gateway{hint}: correct or unset it"
                ),
                setting: name,
                origin: None,
            });
        }
    }

    /// Adds the settings of a file.
    ///
    /// # Errors
    /// The file cannot be read, or is not text.
    pub(super) fn add_file(&mut self, file: &Path) -> Result<(), ConfigError> {
        let text = read(file)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        self.add_text(&text, file, folder);
        Ok(())
    }

    /// Adds the settings of a text in TOML, as that of `file`.
    pub(super) fn add_text(&mut self, text: &str, file: &Path, folder: &Path) {
        let line = |at: usize| text.as_bytes()[..at].split(|byte| *byte == b'\n').count();
        let origin = |at: usize| Origin::Line {
            file: file.to_owned(),
            line: line(at),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            if !self.torn.insert(line(at)) {
                // One mistake has several errors.
                continue;
            }
            let shown = text.lines().nth(line(at) - 1).unwrap_or_default().trim();
            let setting = shown.split(['=', ' ']).next().unwrap_or_default();
            let why = mended(shown).unwrap_or_else(|| error.message().replace('\n', "; "));
            self.problems.push(Problem {
                setting: if setting.is_empty() {
                    "the file".to_owned()
                } else {
                    setting.to_owned()
                },
                text: format!("this is not TOML: {why}"),
                origin: Some(origin(at)),
            });
        }
        let mut keys: Vec<_> = table.get_ref().iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            let at = key.span().start;
            if self.torn.contains(&line(at)) {
                continue;
            }
            let name: &str = key.get_ref();
            match TABLES.into_iter().find(|table| *table == name) {
                Some(table) => self.add_table(table, value, &origin, at, folder),
                None => self.add_key(None, name, value.get_ref(), folder, origin(at)),
            }
        }
    }

    /// Adds the settings of a table in a file.
    fn add_table(
        &mut self,
        table: &'static str,
        value: &toml::Spanned<DeValue<'_>>,
        origin: &impl Fn(usize) -> Origin,
        at: usize,
        folder: &Path,
    ) {
        let DeValue::Table(keys) = value.get_ref() else {
            self.problems.push(Problem {
                setting: table.to_owned(),
                text: format!("this is a table of settings: write [{table}] and its keys below it"),
                origin: Some(origin(at)),
            });
            return;
        };
        let mut keys: Vec<_> = keys.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            let origin = origin(key.span().start);
            if matches!(&origin, Origin::Line { line, .. } if self.torn.contains(line)) {
                continue;
            }
            self.add_key(Some(table), key.get_ref(), value.get_ref(), folder, origin);
        }
    }

    /// Adds the value of a key in a file, or in one of its tables.
    fn add_key(
        &mut self,
        table: Option<&'static str>,
        name: &str,
        value: &DeValue<'_>,
        folder: &Path,
        origin: Origin,
    ) {
        let is_here = |row: &Row| match (row.place(), table) {
            (Some((of, key)), Some(table)) => of == table && key == name,
            (None, None) => row.name == name,
            _ => false,
        };
        if let Some(index) = ROWS.iter().position(is_here) {
            let written = Written::of_file(value);
            return self.add(index, &written, folder, origin);
        }
        let elsewhere = ROWS.iter().find(|row| table.is_none() && row.name == name);
        let text = match elsewhere.and_then(Row::place) {
            Some((table, key)) => format!("in a file this is {key} in the table [{table}]"),
            None => {
                let known = ROWS.iter().filter_map(|row| match (row.place(), table) {
                    (Some((of, key)), Some(table)) if of == table => Some(key),
                    (None, None) => Some(row.name),
                    _ => None,
                });
                let tables = TABLES.into_iter().filter(|_| table.is_none());
                let known: Vec<_> = known.chain(tables).collect();
                let hint = suggest::hint(name, &known);
                format!("there is no setting of this name{hint}")
            }
        };
        self.problems.push(Problem {
            setting: table.map_or_else(|| name.to_owned(), |table| format!("{table}.{name}")),
            text,
            origin: Some(origin),
        });
    }

    /// Returns whether lines of the file cannot be read.
    pub(super) fn is_torn(&self) -> bool {
        !self.torn.is_empty()
    }

    /// Notes a problem of a setting, unless the setting has one already.
    pub(super) fn refuse(&mut self, setting: &'static str, text: impl Into<String>) {
        if !self.is_refused(setting) {
            self.problems.push(Problem {
                setting: in_file(setting),
                text: text.into(),
                origin: self.origins.get(setting).cloned(),
            });
        }
    }

    /// Returns whether a problem of a setting is noted.
    pub(super) fn is_refused(&self, setting: &str) -> bool {
        let setting = in_file(setting);
        let mut problems = self.problems.iter();
        problems.any(|problem| problem.setting == setting)
    }

    /// Returns whether a source has a value for the setting.
    pub(super) fn is_given(&self, setting: &str) -> bool {
        self.origins.contains_key(setting)
    }
}

/// Returns what is wrong with a line of a file whose value is one word that is no TOML, and the line as it should be.
/// `None` for any other line.
fn mended(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let is_word = value.starts_with(|c: char| c.is_ascii_alphanumeric() || "./~:*".contains(c));
    if !is_word || value.contains(['"', '\'', '#']) {
        return None;
    }
    let is_here = |row: &&Row| row.name == key || row.place().is_some_and(|(_, of)| of == key);
    Some(match ROWS.iter().find(is_here).map(|row| row.value) {
        Some("N") => format!("this is a whole number, such as {key} = 4"),
        Some("BOOL") => format!("this is true or false, such as {key} = true"),
        _ => format!("text is in quotes: {key} = \"{value}\""),
    })
}

/// Returns a setting as a file names it.
fn in_file(setting: &str) -> String {
    let row = ROWS.iter().find(|row| row.name == setting);
    row.map_or_else(|| setting.to_owned(), Row::in_file)
}

/// Returns the text `; did you mean VARIABLE?`, or an empty text where no variable is like the
/// name.
fn variable_like(name: &str) -> String {
    // The beginning that all share would make any two of them alike.
    let rest = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let known: Vec<_> = NAMES.iter().map(|names| rest(&names.variable)).collect();
    let mut known: Vec<_> = known.iter().map(String::as_str).collect();
    let file = rest(FILE);
    known.push(&file);
    suggest::similar(&rest(name), &known).map_or_else(String::new, |like| {
        format!("; did you mean {PREFIX}{like}?")
    })
}

/// Returns whether a container platform makes a variable of this name for a service.
fn is_of_a_service(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    let is_port = |rest: &str| {
        let protocol = rest.split('_').nth(1);
        matches!(protocol, Some("TCP" | "UDP" | "SCTP"))
    };
    rest == "PORT"
        || rest == "NAME"
        || rest == "SERVICE_HOST"
        || rest == "SERVICE_PORT"
        || rest.starts_with("SERVICE_PORT_")
        || rest.starts_with("ENV_")
        || rest.strip_prefix("PORT_").is_some_and(is_port)
}

/// Reads a file of settings as text.
fn read(file: &Path) -> Result<String, ConfigError> {
    let refused = |problem: String| ConfigError::File {
        file: PathBuf::from(file),
        problem,
    };
    let bytes = files::read(file).map_err(|error| refused(error.to_string()))?;
    if bytes.len() > files::LONGEST {
        return Err(refused(
            "the file is too long: a file of settings is shorter than 1 MiB".to_owned(),
        ));
    }
    if let Some(problem) = files::byte_order_mark(&bytes) {
        return Err(refused(problem));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good]
            .split(|byte| *byte == b'\n')
            .count();
        refused(format!("line {line} is not UTF-8: save the file as UTF-8"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(layers: &Layers) -> Vec<&str> {
        let problems = layers.problems.iter();
        problems.map(|problem| &*problem.setting).collect()
    }

    #[test]
    fn variables_that_are_no_settings_are_named() {
        let mut layers = Layers::default();
        let variables = [
            "HOME",
            "TRUNKLINE_SHARDS",
            "TRUNKLINE_CONFIG",
            "TRUNKLINE_TEST_SEED",
            "TRUNKLINE_NATS_SERVER",
            "TRUNKLINE_PORT",
            "TRUNKLINE_PORT_7700_TCP",
            "TRUNKLINE_PORT_7700_TCP_ADDR",
            "TRUNKLINE_SERVICE_HOST",
            "TRUNKLINE_SERVICE_PORT_WS",
        ];
        layers.check_variables(variables.into_iter().map(OsString::from));
        assert_eq!(names(&layers), <[&str; 0]>::default());
        let variables = [
            "TRUNKLINE_SHARD",
            "TRUNKLINE_PORTS",
            "TRUNKLINE_PING_INTERVALL",
        ];
        layers.check_variables(variables.into_iter().map(OsString::from));
        assert_eq!(names(&layers), variables);
        let said = layers.problems[0].to_string();
        assert!(said.contains("did you mean TRUNKLINE_SHARDS?"), "{said}");
        for (name, like) in [
            ("TRUNKLINE_CONFG", "; did you mean TRUNKLINE_CONFIG?"),
            ("TRUNKLINE_CONFIG_FILE", "; did you mean TRUNKLINE_CONFIG?"),
            ("TRUNKLINE_QQQQQQ", ""),
        ] {
            let mut layers = Layers::default();
            layers.check_variables([OsString::from(name)].into_iter());
            assert_eq!(names(&layers), [name]);
            assert_eq!(variable_like(name), like);
        }
    }

    #[test]
    fn every_wrong_line_of_a_file_is_named() {
        let mut layers = Layers::default();
        let text = "shard = 3\nshards = \"3\"\n# fine\nping_interval = \"3s\"\npong_timeout = 4\n";
        layers.add_text(text, Path::new("gateway.toml"), Path::new(""));
        let said: Vec<_> = layers.problems.iter().map(Problem::to_string).collect();
        assert_eq!(
            said,
            [
                "shard: there is no setting of this name; did you mean shards? (set by gateway.toml, line 1)",
                "shards: '3' is not a whole number without quotes, such as 4 (set by gateway.toml, line 2)",
                "pong_timeout: '4' needs a unit, one of ms, s, m, h, d, such as 4s, in quotes (set by gateway.toml, line 5)",
            ]
        );
    }

    #[test]
    fn what_is_no_toml_is_named_beside_what_is_wrong_elsewhere() {
        let mut layers = Layers::default();
        layers.add_text("shard = 1\nlisten\n", Path::new("g.toml"), Path::new(""));
        let said: Vec<_> = layers.problems.iter().map(Problem::to_string).collect();
        assert!(
            said.iter()
                .any(|line| line.contains("not TOML") && line.contains("line 2")),
            "{said:?}"
        );
        assert!(
            said.iter().any(|line| line.starts_with("shard:")),
            "{said:?}"
        );
    }

    #[test]
    fn a_value_without_quotes_is_one_problem_that_shows_them() {
        for line in [
            "data = ./d2",
            "listen = 127.0.0.1:7700",
            "durability = sync",
            "http = off",
            "media = s3://bucket/prefix",
            "jwt_key = key.pem",
            "data = /var/lib/trunkline",
            "ping_interval = 25s",
        ] {
            let mut layers = Layers::default();
            let text = format!("shards = 2\n{line}\nmax_pages = 4\n");
            layers.add_text(&text, Path::new("g.toml"), Path::new(""));
            let said: Vec<_> = layers.problems.iter().map(Problem::to_string).collect();
            let (key, value) = line.split_once(" = ").unwrap();
            let expected = format!(
                "{key}: this is not TOML: text is in quotes: {key} = \"{value}\" (set by g.toml, line 2)"
            );
            assert_eq!(said, [expected]);
            assert!(layers.is_torn() && layers.settings.shards == Some(2));
        }
        let mut layers = Layers::default();
        let text = "[webhooks]\ngive_up = 3d\noffline = http://127.0.0.1:9/\n";
        layers.add_text(text, Path::new("g.toml"), Path::new(""));
        assert_eq!(names(&layers), ["give_up", "offline"]);
        for (line, words) in [
            ("dev_auth = True", "true or false, such as dev_auth = true"),
            ("shards = four", "a whole number, such as shards = 4"),
        ] {
            let mut layers = Layers::default();
            layers.add_text(line, Path::new("g.toml"), Path::new(""));
            let said = layers.problems[0].to_string();
            assert!(layers.problems.len() == 1 && said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_later_source_is_checked_and_changes_nothing() {
        let mut layers = Layers::default();
        let shards = ROWS.iter().position(|row| row.name == "shards").unwrap();
        layers.add_given(shards, &"2".into(), Origin::Flag("--shards".to_owned()));
        layers.add_text("shards = 3\n", Path::new("g.toml"), Path::new(""));
        assert_eq!(layers.settings.shards, Some(2));
        assert!(layers.problems.is_empty());
    }
}
