//! `trunkline admin-token`: makes a token for the admin API.

use anyhow::anyhow;
use trunkline_http::admin::{NewToken, Scopes};
use trunkline_proto::names::is_name;

use crate::print;

/// The command `admin-token`: prints a new token, and its line for the file of tokens.
#[derive(Debug, clap::Args)]
pub(crate) struct AdminTokenArgs {
    /// The name that the log has for what is done with the token
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// What the token allows: some of read, send, moderate and all, with commas between them
    #[arg(long, value_name = "SCOPES", value_parser = Scopes::parse)]
    scopes: Scopes,
}

fn name(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("this is no name: a name is 1 to 64 bytes of [A-Za-z0-9._@-]".to_owned()),
    }
}

impl AdminTokenArgs {
    /// Prints the token on the first line, and the line for the file on the second one.
    ///
    /// # Errors
    /// The system gives no random bytes, or standard output does not take the result.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let made = NewToken::make(&self.name, self.scopes).map_err(|problem| anyhow!(problem))?;
        print::text(&format!("{}\n{}\n", made.token, made.line))?;
        Ok(())
    }
}
