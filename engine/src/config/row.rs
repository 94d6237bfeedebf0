//! What is declared of a setting beside its name and its form.

use std::sync::LazyLock;

use super::table::ROWS;

/// The default of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Default {
    /// Without a value the setting is off.
    Off,
    /// Always the same value.
    Value(&'static str),
    /// A value, and another one in development mode.
    Modes {
        tokens: &'static str,
        development: &'static str,
    },
    /// Follows from other settings or from the machine: the rule in words.
    Computed(&'static str),
}

/// What a setting limits of what clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    /// What is limited.
    pub(super) what: &'static str,
    /// What happens beyond the limit; empty where nothing does.
    pub(super) beyond: &'static str,
}

/// One setting of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The key in a file.
    pub(super) name: &'static str,
    /// What stands for the value in the help.
    pub(super) value: &'static str,
    help: &'static str,
    pub(super) default: Default,
    pub(super) least: Option<&'static str>,
    pub(super) most: Option<&'static str>,
    pub(super) limit: Option<Limit>,
    /// SIGHUP puts a new value into effect; otherwise the next start does.
    pub(super) is_reloaded: bool,
}

impl Row {
    pub(super) const fn new(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self {
            name,
            value,
            help,
            default: Default::Off,
            least: None,
            most: None,
            limit: None,
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

    /// Another default in development mode than the one given before.
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

    pub(super) const fn reloaded(mut self) -> Self {
        self.is_reloaded = true;
        self
    }

    /// What the setting is, for people.
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

    /// Returns the default in one of the modes, as text; `None` where it is none or follows from
    /// others.
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

/// The other names of a setting.
pub(super) struct Names {
    /// The flag, without its dashes.
    pub(super) flag: String,
    /// The environment variable.
    pub(super) variable: String,
}

/// The beginning of the names of all environment variables.
pub(super) const PREFIX: &str = "TRUNKLINE_";

/// The other names of each setting, in the order of the table.
pub(super) static NAMES: LazyLock<Vec<Names>> = LazyLock::new(|| {
    let names = ROWS.iter().map(|row| Names {
        flag: row.name.replace('_', "-"),
        variable: format!("{PREFIX}{}", row.name.to_uppercase()),
    });
    names.collect()
});
