//! Tokens for the users of a run, for a gateway that asks for them.

use crate::files;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{error, hmac};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

/// The lifetime of a token in seconds: longer than any run.
const LIFE: u64 = 90 * 86_400;

/// The key that a run's tokens are signed with.
#[derive(Debug)]
pub(crate) struct Signer {
    key: Key,
    /// The first part of each token (its header), with the dot behind it.
    head: String,
    /// The time at which the tokens expire, in seconds since 1970.
    expires: u64,
}

#[derive(Debug)]
enum Key {
    Hmac(Box<hmac::Key>),
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
}

impl Signer {
    /// Reads the key from a file: a private key as PEM (PKCS#8), or any other bytes as a secret
    /// (HS256).
    ///
    /// # Errors
    /// The file cannot be used. The text has the reason and a remedy.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let wrong = |why: &str| format!("--token-key {}: {why}", file.display());
        let bytes = files::secrets(file).map_err(|why| wrong(&why.to_string()))?;
        let is_pem = bytes.windows(11).any(|word| word == b"-----BEGIN ");
        let key = if is_pem {
            let der = PrivateKeyDer::from_pem_slice(&bytes);
            let der = der.map_err(|_| wrong("the file has no private key as PEM"))?;
            private(der.secret_der()).ok_or_else(|| {
                wrong("take RSA, EC on P-256 or Ed25519, in PKCS#8 (openssl genpkey)")
            })?
        } else {
            Key::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
        };
        let algorithm = match key {
            Key::Hmac(_) => "HS256",
            Key::Rsa(_) => "RS256",
            Key::Ecdsa(_) => "ES256",
            Key::Edwards(_) => "EdDSA",
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let head = format!(r#"{{"alg":"{algorithm}"}}"#);
        Ok(Self {
            key,
            head: BASE64_URL_SAFE_NO_PAD.encode(head) + ".",
            expires: now + LIFE,
        })
    }

    /// Signs a token for a user.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn token(&self, user: &str) -> Result<String, error::Unspecified> {
        let claims = format!(r#"{{"sub":"{user}","exp":{}}}"#, self.expires);
        let mut token = self.head.clone();
        BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Hmac(key) => hmac::sign(key, token.as_bytes()).as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature)?;
                signature
            }
            Key::Ecdsa(key) => key.sign(&random, token.as_bytes())?.as_ref().to_vec(),
            Key::Edwards(key) => key.sign(token.as_bytes()).as_ref().to_vec(),
        };
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

/// Returns the key in a PEM file, of whichever supported kind it is.
fn private(der: &[u8]) -> Option<Key> {
    let ecdsa = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
    if let Ok(key) = RsaKeyPair::from_pkcs8(der) {
        return Some(Key::Rsa(key));
    }
    if let Ok(key) = ecdsa() {
        return Some(Key::Ecdsa(key));
    }
    Ed25519KeyPair::from_pkcs8(der).ok().map(Key::Edwards)
}
