//! Flags and environment variables of all settings, as the command line takes them.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::layers::Layers;
use super::problem::{ConfigError, Origin};
use super::row::NAMES;
use super::table::ROWS;
use super::{Config, resolve};

/// The values of flags and environment variables, not yet parsed, so that their errors are reported
/// together with those of the file.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The values with their origins, by the index of the setting in the table.
    values: Vec<(usize, OsString, Origin)>,
}

impl Given {
    /// Returns the configuration of flags, environment and this file, in this order of precedence.
    ///
    /// # Errors
    /// The file cannot be read, or settings cannot work: the error names all that are wrong.
    pub fn resolve(&self, file: Option<&Path>) -> Result<Config, ConfigError> {
        let mut layers = self.layers();
        layers.check_variables(std::env::vars_os().map(|(name, _)| name));
        if let Some(file) = file {
            layers.add_file(file)?;
        }
        resolve::resolve(layers)
    }

    /// Returns the address of the control port, by the same precedence. Other settings may be wrong.
    ///
    /// # Errors
    /// The file cannot be read, or the address is wrong.
    pub(crate) fn control(&self, file: Option<&Path>) -> Result<SocketAddr, ConfigError> {
        let mut layers = self.layers();
        if let Some(file) = file {
            layers.add_file(file)?;
        }
        resolve::control(layers)
    }

    fn layers(&self) -> Layers {
        let mut layers = Layers::default();
        for (index, value, origin) in &self.values {
            layers.add_given(*index, value, origin.clone());
        }
        layers
    }
}

impl clap::Args for Given {
    fn augment_args(command: Command) -> Command {
        ROWS.iter()
            .zip(NAMES.iter())
            .fold(command, |command, (row, names)| {
                let help = match row.default_text() {
                    Some(default) => format!("{} [default: {default}]", row.help()),
                    None => row.help(),
                };
                let arg = Arg::new(row.name)
                    .long(names.flag.as_str())
                    .env(names.variable.as_str())
                    .value_name(row.value)
                    .value_parser(clap::value_parser!(OsString))
                    .allow_negative_numbers(true)
                    .help(help);
                command.arg(if row.value == "BOOL" {
                    arg.num_args(0..=1).default_missing_value("true")
                } else {
                    arg
                })
            })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Self::default();
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (index, (row, names)) in ROWS.iter().zip(NAMES.iter()).enumerate() {
            let Some(value) = matches.get_one::<OsString>(row.name) else {
                continue;
            };
            let origin = match matches.value_source(row.name) {
                Some(ValueSource::EnvVariable) => Origin::Variable(names.variable.clone()),
                _ => Origin::Flag(format!("--{}", names.flag)),
            };
            self.values.push((index, value.clone(), origin));
        }
        Ok(())
    }
}
