//! Reloading on SIGHUP: which settings take effect while the gateway runs, and which at the next
//! start.

use trunkline_gateway::auth::Auth;

use crate::causes;
use crate::config::{self, Config, ConfigError};
use crate::gateway::Gateway;
use crate::log::Log;

/// A setting that differs between two configurations.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    setting: String,
    /// The old value as a file has it; "not set" without one.
    old: String,
    new: String,
}

/// The source of the configuration, and the configuration in force.
pub(crate) struct Reloader<R> {
    /// A function that resolves flags, environment and file again; `None` if there is no file.
    resolve: Option<R>,
    in_force: Config,
}

impl<R: Fn() -> Result<Config, ConfigError>> Reloader<R> {
    pub(crate) fn new(resolve: Option<R>, in_force: Config) -> Self {
        Self { resolve, in_force }
    }

    /// Reads the configuration file, the certificate and the keys again, and logs the result of
    /// each. A file that cannot be used changes nothing.
    pub(crate) fn reload(&mut self, gateway: &Gateway, log: &Log) {
        let mut wanted = self.in_force.clone();
        let read = self.resolve.as_ref().map(|resolve| resolve());
        let is_read = matches!(read, Some(Ok(_)));
        match read {
            Some(Ok(config)) => wanted = config,
            Some(Err(error)) => {
                gateway.count_reload(false);
                let error = error.one_line();
                tracing::error!(%error, "keeping the configuration that was read before");
            }
            None => {}
        }
        let changes = changes(&self.in_force, &wanted);
        self.reload_certificate(gateway, &wanted);
        self.reload_keys(gateway, &wanted);
        self.reload_secret(gateway, &wanted);
        self.reload_admin_tokens(gateway, &wanted);
        self.in_force.take_proxies(&wanted);
        self.reload_log(log, &wanted);
        if is_read {
            self.report(&changes, &wanted);
            gateway.count_reload(true);
        } else if self.resolve.is_none() && self.has_no_files() {
            tracing::info!(
                "SIGHUP changes nothing: there is no configuration file, certificate, key or file of admin tokens to read again"
            );
        }
    }

    fn has_no_files(&self) -> bool {
        let config = &self.in_force;
        config.tls.is_none()
            && config.auth.tokens().is_none()
            && config.admin_tokens.is_none()
            && config.callbacks_secret.is_none()
    }

    fn reload_certificate(&mut self, gateway: &Gateway, wanted: &Config) {
        // A reload cannot turn TLS on or off; only a start can.
        if let (Some(_), Some(files)) = (&self.in_force.tls, &wanted.tls)
            && gateway.reload_certificate(files)
        {
            self.in_force.take_tls(wanted);
        }
    }

    fn reload_keys(&mut self, gateway: &Gateway, wanted: &Config) {
        if let (Auth::Tokens(_), Auth::Tokens(tokens)) = (&self.in_force.auth, &wanted.auth)
            && gateway.reload_keys(tokens)
        {
            self.in_force.take_auth(wanted);
        }
    }

    fn reload_secret(&mut self, gateway: &Gateway, wanted: &Config) {
        if let Some(file) = &wanted.callbacks_secret
            && self.in_force.callbacks_secret.is_some()
            && gateway.reload_secret(file)
        {
            self.in_force.take_secret(wanted);
        }
    }

    fn reload_admin_tokens(&mut self, gateway: &Gateway, wanted: &Config) {
        // A reload cannot open the admin API to everybody, or close it to everybody.
        if let (Some(_), Some(file)) = (&self.in_force.admin_tokens, &wanted.admin_tokens)
            && gateway.reload_admin_tokens(file)
        {
            self.in_force.take_admin_tokens(wanted);
        }
    }

    fn reload_log(&mut self, log: &Log, wanted: &Config) {
        if wanted.log == self.in_force.log {
            return;
        }
        match log.set_filter(&wanted.log) {
            Ok(()) => self.in_force.take_log(wanted),
            Err(error) => {
                let error = causes::said_once(&error);
                tracing::error!(%error, "keeping the log's filter");
            }
        }
    }

    /// Logs each changed setting, and whether it takes effect now or at the next start.
    fn report(&self, changes: &[Change], wanted: &Config) {
        if changes.is_empty() {
            tracing::info!("configuration read again: no setting has changed");
            return;
        }
        // A setting that failed to take effect has its own line with the reason.
        let still = self::changes(&self.in_force, wanted);
        for change in changes {
            let Change { setting, old, new } = change;
            // The address of a back end may have a secret in its query.
            let is_secret = setting.starts_with("callbacks") || setting.starts_with("webhooks");
            let (old, new) = match is_secret {
                true => ("…", "…"),
                false => (old.as_str(), new.as_str()),
            };
            if !still.iter().any(|other| other.setting == *setting) {
                tracing::info!(%setting, %old, %new, "setting changed: in effect from now on");
            } else if !is_reloaded(setting, &self.in_force, wanted) {
                tracing::warn!(%setting, %old, %new, "setting changed: takes effect at the next start");
            } else {
                tracing::warn!(%setting, %old, %new, "setting changed, but not in effect");
            }
        }
    }
}

/// Returns whether a setting takes effect when the file is read again.
fn is_reloaded(setting: &str, in_force: &Config, wanted: &Config) -> bool {
    config::is_reloaded(setting)
        && (!setting.starts_with("tls") || in_force.tls.is_some() == wanted.tls.is_some())
        && (!setting.starts_with("jw")
            || in_force.auth.tokens().is_some() == wanted.auth.tokens().is_some())
        && (!setting.starts_with("callbacks") || in_force.has_back_ends() == wanted.has_back_ends())
        && (setting != "admin_tokens"
            || in_force.admin_tokens.is_some() == wanted.admin_tokens.is_some())
}

/// Returns the settings that differ between two configurations, by name.
fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let table = |config: &Config| -> toml::Table {
        let values = config.values();
        values
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    };
    let (old, new) = (table(old), table(new));
    let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let value = |table: &toml::Table, name: &String| {
        let value = table.get(name);
        value.map_or_else(|| "not set".to_owned(), ToString::to_string)
    };
    let change = |name: &String| Change {
        setting: name.clone(),
        old: value(&old, name),
        new: value(&new, name),
    };
    let differ = names.into_iter().map(change);
    differ.filter(|change| change.old != change.new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::of_text(text).unwrap()
    }

    #[test]
    fn what_has_changed_is_named_with_both_values() {
        let base = "dev_auth = true\nshards = 2\n";
        let names = |old: &str, new: &str| -> Vec<String> {
            let changes = changes(
                &config(&(base.to_owned() + old)),
                &config(&(base.to_owned() + new)),
            );
            changes
                .into_iter()
                .map(|change| format!("{} {} {}", change.setting, change.old, change.new))
                .collect()
        };
        assert_eq!(names("", ""), Vec::<String>::new());
        // A setting that is set to its default has not changed.
        assert_eq!(
            names("", "max_pages = 32\nlog = \"info\""),
            Vec::<String>::new()
        );
        assert_eq!(
            names("", "max_pages = 7\nlog = \"debug\""),
            ["log \"info\" \"debug\"", "max_pages 32 7"]
        );
        assert_eq!(
            names("text_bytes = \"1KiB\"", "text_bytes = \"2KiB\""),
            ["text_bytes \"1KiB\" \"2KiB\""]
        );
        assert_eq!(
            names("", "tls_cert = \"/c\"\ntls_key = \"/k\""),
            ["tls_cert not set \"/c\"", "tls_key not set \"/k\""]
        );
    }

    #[test]
    fn the_settings_that_take_effect_at_once_are_those_that_are_reloaded() {
        let config = config("dev_auth = true");
        for setting in [
            "tls_cert",
            "jwt_key",
            "jwks",
            "jwt_leeway",
            "log",
            "callbacks_secret_file",
            "trusted_proxies",
            "proxy_header",
        ] {
            assert!(is_reloaded(setting, &config, &config), "{setting}");
        }
        for setting in ["shards", "listen", "log_format", "data"] {
            assert!(!is_reloaded(setting, &config, &config), "{setting}");
        }
    }
}
