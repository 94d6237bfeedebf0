//! Tokens for the users of a bench, for a gateway that asks for them.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// The secret of every bench: the gateway that it opens lives only as long as the bench.
const SECRET: &[u8; 32] = b"a secret that only a bench knows";

/// How long a token lasts, in seconds: longer than any bench.
const LIFE: u64 = 86_400;

/// Signs tokens with one secret (HS256).
#[derive(Debug)]
pub struct Signer {
    key: hmac::Key,
    /// When the tokens expire, in seconds since 1970.
    expires: u64,
}

impl Signer {
    /// Makes a signer, and writes the secret into `file` for the gateway.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(file: &Path) -> anyhow::Result<Self> {
        std::fs::write(file, SECRET)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, SECRET),
            expires: now + LIFE,
        })
    }

    /// Returns a token of a user, who may subscribe to every topic and publish to it.
    #[must_use]
    pub fn token(&self, user: &str) -> String {
        let topics = r#""topics":{"subscribe":["*"],"publish":["*"]}"#;
        let claims = format!(r#"{{"sub":"{user}","exp":{},{topics}}}"#, self.expires);
        let mut token = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = hmac::sign(&self.key, token.as_bytes());
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_claims_and_the_signature_of_both() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        let signer = Signer::new(&file).unwrap();
        let token = signer.token("alice");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (_, claims) = signed.split_once('.').unwrap();
        let decode = |text| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&decode(claims)).unwrap();
        assert_eq!(claims["sub"], "alice");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &std::fs::read(file).unwrap());
        hmac::verify(&key, signed.as_bytes(), &decode(signature)).unwrap();
    }
}
