//! `trunkline admin-token`: makes a token for the admin API.

use anyhow::anyhow;
use trunkline_http::admin::{NewToken, Scopes};

use crate::print;

/// The command `admin-token`: prints a new token, and its line for the file of tokens.
#[derive(Debug, clap::Args)]
pub(crate) struct AdminTokenArgs {
    /// The name that the log has for what is done with the token
    #[arg(value_name = "NAME")]
    name: String,
    /// What the token allows: some of read, send, moderate and all, with commas between them
    #[arg(long, value_name = "SCOPES")]
    scopes: String,
}

impl AdminTokenArgs {
    /// Prints the token on the first line, and the line for the file on the second one.
    ///
    /// # Errors
    /// The name or the scopes are wrong, or standard output does not take the result.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let scopes =
            Scopes::parse(&self.scopes).map_err(|problem| anyhow!("--scopes: {problem}"))?;
        let made = NewToken::make(&self.name, scopes).map_err(|problem| anyhow!(problem))?;
        print::text(&format!("{}\n{}\n", made.token, made.line))?;
        Ok(())
    }
}
