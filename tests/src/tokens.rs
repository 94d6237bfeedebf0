//! Makes tokens and the keys that sign them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Signs tokens with one key.
#[derive(Debug)]
pub struct Signer(Key);

#[derive(Debug)]
enum Key {
    Hmac(Vec<u8>),
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
}

/// Returns the time in seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is later than 1970").as_secs()
}

/// Returns the claims of a good token for this user. The token lasts an hour.
pub fn claims(user: &str) -> Value {
    json!({"sub": user, "exp": now() + 3_600})
}

/// Returns the claims of a good token for this user, with `others` added or in their place.
pub fn claims_with(user: &str, others: Value) -> Value {
    let mut claims = claims(user);
    let Value::Object(others) = others else {
        panic!("{others} is no object")
    };
    for (name, value) in others {
        claims[name] = value;
    }
    claims
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

impl Signer {
    /// Makes a signer with a random secret (HS256).
    pub fn hmac() -> Self {
        let mut secret = vec![0; 32];
        rand::fill(&mut secret).expect("random bytes");
        // As text it could be: the last byte would be taken for a line break.
        secret.push(0);
        Self(Key::Hmac(secret))
    }

    /// Makes a signer with these bytes as the secret (HS256).
    pub fn hmac_with(secret: &[u8]) -> Self {
        Self(Key::Hmac(secret.to_vec()))
    }

    /// Makes a signer with an RSA key of 2,048 bits (RS256).
    pub fn rsa() -> Self {
        Self(Key::Rsa(
            RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
        ))
    }

    /// Makes a signer with a key on P-256 (ES256).
    pub fn ecdsa() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self(Key::Ecdsa(key.expect("a key")))
    }

    /// Makes a signer with a key on Curve25519 (EdDSA).
    pub fn edwards() -> Self {
        Self(Key::Edwards(Ed25519KeyPair::generate().expect("a key")))
    }

    /// Returns one signer for each algorithm.
    pub fn all() -> [Self; 4] {
        [Self::hmac(), Self::rsa(), Self::ecdsa(), Self::edwards()]
    }

    /// Returns the name of the algorithm in tokens, such as `ES256`.
    pub const fn algorithm(&self) -> &'static str {
        match self.0 {
            Key::Hmac(_) => "HS256",
            Key::Rsa(_) => "RS256",
            Key::Ecdsa(_) => "ES256",
            Key::Edwards(_) => "EdDSA",
        }
    }

    /// Returns a token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"alg": self.algorithm(), "typ": "JWT"}), claims)
    }

    /// Returns a token with these claims, whose head names the key (`kid`).
    pub fn sign_by(&self, kid: &str, claims: &Value) -> String {
        self.sign_as(&json!({"alg": self.algorithm(), "kid": kid}), claims)
    }

    /// Returns a token with this head and these claims.
    pub fn sign_as(&self, head: &Value, claims: &Value) -> String {
        let message = format!(
            "{}.{}",
            base64(head.to_string()),
            base64(claims.to_string())
        );
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", base64(signature))
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.0 {
            Key::Hmac(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Key::Ecdsa(key) => {
                let signature = key.sign(&random, message).expect("a signature");
                signature.as_ref().to_vec()
            }
            Key::Edwards(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// Returns what a gateway checks tokens with: the public key as PEM, or the secret.
    pub fn public(&self) -> Vec<u8> {
        let der: Result<PublicKeyX509Der<'_>, _> = match &self.0 {
            Key::Hmac(secret) => return secret.clone(),
            Key::Rsa(key) => key.public_key().as_der(),
            Key::Ecdsa(key) => key.public_key().as_der(),
            Key::Edwards(key) => key.public_key().as_der(),
        };
        pem("PUBLIC KEY", der.expect("a public key").as_ref()).into()
    }

    /// Writes what a gateway checks tokens with into a file in this folder, and returns its path.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let file = folder.join(name);
        std::fs::write(&file, self.public()).expect("a file can be written");
        file
    }

    /// Returns what a gateway checks tokens with as a member of a JWKS, under a name (`kid`).
    pub fn jwk(&self, kid: &str) -> Value {
        match &self.0 {
            Key::Hmac(secret) => json!({"kid": kid, "kty": "oct", "k": base64(secret)}),
            Key::Rsa(key) => {
                let numbers: RsaPublicKeyComponents<Vec<u8>> = key.public_key().into();
                let (n, e) = (base64(numbers.n), base64(numbers.e));
                json!({"kid": kid, "kty": "RSA", "n": n, "e": e, "use": "sig", "alg": "RS256"})
            }
            Key::Ecdsa(key) => {
                let [_, point @ ..] = key.public_key().as_ref() else {
                    panic!("no point")
                };
                let [x, y] = [&point[..32], &point[32..]].map(base64);
                json!({"kid": kid, "kty": "EC", "crv": "P-256", "x": x, "y": y})
            }
            Key::Edwards(key) => {
                let x = base64(key.public_key().as_ref());
                json!({"kid": kid, "kty": "OKP", "crv": "Ed25519", "x": x, "key_ops": ["verify"]})
            }
        }
    }
}
