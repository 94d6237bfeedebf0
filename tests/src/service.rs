//! A gateway with tokens.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use trunkline_proto::Encoding::{self, Json, Proto};

use crate::client::{Client, End, error_code};
use crate::gateway::{Gateway, Setup};
use crate::tokens::{Signer, claims_with};

/// Returns when a token with these claims expires, in milliseconds since 1970.
///
/// # Panics
/// The claims have no `exp`.
pub fn ms(claims: &Value) -> u64 {
    claims["exp"].as_u64().expect("a number") * 1_000
}

/// The error code and the close code of a token that is not good.
pub const INVALID: (u64, u16) = (101, 3500);
/// The error code and the close code of a token that has expired.
pub const EXPIRED: (u64, u16) = (109, 3505);

/// A gateway that takes tokens, and the signer of these tokens.
#[derive(Debug)]
pub struct Service {
    /// The gateway.
    pub gateway: Gateway,
    /// Signs the tokens that the gateway takes.
    pub signer: Signer,
    /// The file with the key that the gateway checks tokens with.
    pub key: PathBuf,
    /// The folder of the key file.
    pub folder: TempDir,
}

/// Makes a folder for key files.
pub fn folder() -> TempDir {
    TempDir::with_prefix("trunkline-auth-").expect("a folder can be made")
}

impl Service {
    /// Starts a gateway that takes tokens of this signer, with further changes to its setup.
    pub fn new(signer: Signer, change: impl FnOnce(Setup) -> Setup) -> Self {
        let folder = folder();
        let key = signer.write(folder.path(), "key");
        let setup = Setup::default().tokens(&signer, &key);
        Self {
            // A test's clocks are one: sessions end when their tokens say.
            gateway: change(setup.flag("jwt-leeway", "0s")).start(),
            signer,
            key,
            folder,
        }
    }

    /// Starts a gateway that takes tokens of a new signer.
    pub fn start() -> Self {
        Self::new(Signer::edwards(), |setup| setup)
    }

    /// Opens a session of a user, with a token that has further claims.
    pub fn connect(&self, user: &str, others: Value) -> Client {
        self.connect_in(Json, user, others)
    }

    /// Opens a session of a user in this encoding, with a token that has further claims.
    pub fn connect_in(&self, encoding: Encoding, user: &str, others: Value) -> Client {
        let token = self.signer.sign(&claims_with(user, others));
        let dial = self.gateway.dial().encoding(encoding);
        dial.with("token", token).connect(user, "phone")
    }

    /// Returns how many tokens the gateway has refused for this reason.
    pub fn failures(&self, reason: &str) -> f64 {
        let name = format!("trunkline_token_failures_total{{reason={reason:?}}}");
        self.gateway.metric(&name)
    }

    /// Checks that a `connect` with this token fails with these codes of error and close, and is
    /// counted. Returns the message of the error.
    ///
    /// # Panics
    /// The token is taken, or refused in another way.
    #[track_caller]
    pub fn refuses(&self, token: &str, (code, close): (u64, u16), reason: &str) -> String {
        let mut said = String::new();
        for encoding in [Json, Proto] {
            let before = self.failures(reason);
            let mut client = self.gateway.dial().encoding(encoding).open();
            let reply = client.ask("connect", &json!({"token": token, "device": "phone"}));
            assert_eq!(error_code(&reply), code, "{reason}: {reply}");
            let push = client.push_of("disconnect");
            assert_eq!(
                (&push["code"], &push["reconnect"]),
                (&close.into(), &false.into())
            );
            let End::Close(ended, _) = client.end() else {
                panic!("{reason}: dropped")
            };
            assert_eq!(ended, close, "{reason}");
            assert_eq!(self.failures(reason), before + 1.0, "{reason}");
            said = reply["error"]["message"].as_str().expect("text").to_owned();
        }
        said
    }
}
