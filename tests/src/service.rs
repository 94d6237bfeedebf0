//! A gateway with tokens.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use trunkline_proto::Encoding::{self, Json, Proto};

use crate::client::{Client, End, error_code};
use crate::gateway::{Gateway, Setup};
use crate::tokens::{Signer, claims_with};

/// When a token with these claims expires, in milliseconds.
///
/// # Panics
/// They do not say.
pub fn ms(claims: &Value) -> u64 {
    claims["exp"].as_u64().expect("a number") * 1_000
}

/// The codes of a token that is not good.
pub const INVALID: (u64, u16) = (101, 3500);
/// The codes of one that was.
pub const EXPIRED: (u64, u16) = (109, 3505);

/// A gateway with tokens, who signs them, and a folder with the key.
#[derive(Debug)]
pub struct Service {
    /// The gateway.
    pub gateway: Gateway,
    /// Whose tokens it takes.
    pub signer: Signer,
    /// The file of the key.
    pub key: PathBuf,
    /// Where that is.
    pub folder: TempDir,
}

/// A folder for keys.
pub fn folder() -> TempDir {
    TempDir::with_prefix("trunkline-auth-").expect("a folder can be made")
}

impl Service {
    /// With tokens of this signer, and what else is to be changed.
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

    /// With tokens of any signer.
    pub fn start() -> Self {
        Self::new(Signer::edwards(), |setup| setup)
    }

    /// A session of a user with these claims too.
    pub fn connect(&self, user: &str, others: Value) -> Client {
        self.connect_in(Json, user, others)
    }

    /// The same in an encoding.
    pub fn connect_in(&self, encoding: Encoding, user: &str, others: Value) -> Client {
        let token = self.signer.sign(&claims_with(user, others));
        let dial = self.gateway.dial().encoding(encoding);
        dial.with("token", token).connect(user, "phone")
    }

    /// How many tokens were refused for a reason.
    pub fn failures(&self, reason: &str) -> f64 {
        let name = format!("trunkline_token_failures_total{{reason={reason:?}}}");
        self.gateway.metric(&name)
    }

    /// A `connect` with this token must fail with these codes of error and close, and be counted;
    /// what was said.
    ///
    /// # Panics
    /// It does not.
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
