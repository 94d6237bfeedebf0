//! The row of a setting in the table: its name, default, range, limit and help.

use std::sync::LazyLock;

use super::table::ROWS;

/// The default of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Default {
    /// No default: without a value the setting is off.
    Off,
    /// Always the same value.
    Value(&'static str),
    /// A value, and another one in development mode.
    Modes {
        tokens: &'static str,
        development: &'static str,
    },
    /// A value that follows from other settings or from the machine. The text is the rule in words.
    Computed(&'static str),
}

/// A limit of clients, as `docs/limits.md` describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    /// The limited thing, in words.
    pub(super) what: &'static str,
    /// The effect of going beyond the limit, in words; empty if there is none.
    pub(super) beyond: &'static str,
}

/// One setting of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The key in a file.
    pub(super) name: &'static str,
    /// The placeholder of the value in the help.
    pub(super) value: &'static str,
    help: &'static str,
    pub(super) default: Default,
    pub(super) least: Option<&'static str>,
    pub(super) most: Option<&'static str>,
    pub(super) limit: Option<Limit>,
    /// A value as a file has it, for a setting without a fixed default.
    pub(super) example: Option<&'static str>,
    /// Whether SIGHUP puts a new value into effect. Otherwise the next start does.
    pub(super) is_reloaded: bool,
}

/// The tables of a file that have settings. The name of such a setting begins with that of its table.
pub(super) const TABLES: [&str; 2] = ["callbacks", "webhooks"];

impl Row {
    /// Returns the table of a file in which the setting stands, and its key there. Returns `None` for a
    /// setting outside of all tables.
    pub(super) fn place(&self) -> Option<(&'static str, &'static str)> {
        TABLES.into_iter().find_map(|table| {
            let key = self.name.strip_prefix(table)?.strip_prefix('_')?;
            Some((table, key))
        })
    }

    /// Returns the setting as a file names it: the key, behind the table if it stands in one.
    pub(super) fn in_file(&self) -> String {
        match self.place() {
            Some((table, key)) => format!("{table}.{key}"),
            None => self.name.to_owned(),
        }
    }

    pub(super) const fn new(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self {
            name,
            value,
            help,
            default: Default::Off,
            least: None,
            most: None,
            limit: None,
            example: None,
            is_reloaded: false,
        }
    }

    pub(super) const fn value(mut self, value: &'static str) -> Self {
        self.value = value;
        self
    }

    pub(super) const fn default(mut self, value: &'static str) -> Self {
        self.default = Default::Value(value);
        self
    }

    /// Sets another default for development mode. Call it after the default is set.
    pub(super) const fn dev(mut self, development: &'static str) -> Self {
        if let Default::Value(tokens) = self.default {
            self.default = Default::Modes {
                tokens,
                development,
            };
        }
        self
    }

    pub(super) const fn computed(mut self, rule: &'static str) -> Self {
        self.default = Default::Computed(rule);
        self
    }

    pub(super) const fn least(mut self, least: &'static str) -> Self {
        self.least = Some(least);
        self
    }

    pub(super) const fn most(mut self, most: &'static str) -> Self {
        self.most = Some(most);
        self
    }

    pub(super) const fn range(self, least: &'static str, most: &'static str) -> Self {
        self.least(least).most(most)
    }

    pub(super) const fn limits(mut self, what: &'static str, beyond: &'static str) -> Self {
        self.limit = Some(Limit { what, beyond });
        self
    }

    pub(super) const fn example(mut self, value: &'static str) -> Self {
        self.example = Some(value);
        self
    }

    pub(super) const fn reloaded(mut self) -> Self {
        self.is_reloaded = true;
        self
    }

    /// Returns the help of the setting.
    pub(super) fn help(&self) -> String {
        // The lines of a doc comment, put together, keep the blank before each.
        self.help.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Returns the default as people read it; `None` where the setting is off without a value.
    pub(super) fn default_text(&self) -> Option<String> {
        match self.default {
            Default::Off => None,
            Default::Value(value) => Some(value.to_owned()),
            Default::Modes {
                tokens,
                development,
            } => Some(format!("{tokens}; {development} with dev-auth")),
            Default::Computed(rule) => Some(rule.to_owned()),
        }
    }

    /// Returns the range as people read it; `None` where every value of the form is good.
    pub(super) fn range_text(&self) -> Option<String> {
        match (self.least, self.most) {
            (Some(least), Some(most)) => Some(format!("from {least} to {most}")),
            (Some(least), None) => Some(format!("at least {least}")),
            (None, Some(most)) => Some(format!("at most {most}")),
            (None, None) => None,
        }
    }

    /// Returns the default in one of the modes, as text; `None` if there is none or it follows from
    /// other settings.
    pub(super) fn fixed_default(&self, is_development: bool) -> Option<&'static str> {
        match self.default {
            Default::Value(value) => Some(value),
            Default::Modes {
                tokens,
                development,
            } => Some(if is_development { development } else { tokens }),
            Default::Off | Default::Computed(_) => None,
        }
    }
}

/// The flag and the environment variable of a setting.
pub(super) struct Names {
    /// The flag, without its dashes.
    pub(super) flag: String,
    /// The environment variable.
    pub(super) variable: String,
}

/// The beginning of the names of all environment variables.
pub(super) const PREFIX: &str = "TRUNKLINE_";

/// The flag and the environment variable of each setting, in the order of the table.
pub(super) static NAMES: LazyLock<Vec<Names>> = LazyLock::new(|| {
    let names = ROWS.iter().map(|row| Names {
        flag: row.name.replace('_', "-"),
        variable: format!("{PREFIX}{}", row.name.to_uppercase()),
    });
    names.collect()
});
