//! Tokens of clients and sets of keys: only what is signed and in time opens a session, for a user
//! that has a name.
//!
//! Input: one byte, then
//!
//! | byte modulo 4 | what follows |
//! |---|---|
//! | 0 | a token as a client sends it |
//! | 1 | claims, which are signed with the right key |
//! | 2 | a length, a head of that length, and claims; signed with the right key |
//! | 3 | a set of keys (RFC 7517) |

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use tempfile::TempDir;
use trunkline_gateway::auth::{self, Authority, KeyFile, TokenAlgorithm, Tokens};
use trunkline_gateway::limits::TokenLimits;

use crate::bytes::Bytes;

/// The secret that tokens are signed with.
const SECRET: [u8; 32] = [0x5a; 32];
/// When tokens are checked, in milliseconds since 1970.
const NOW_MS: u64 = 1_767_225_600_000;
/// How much other clocks may differ.
const LEEWAY: Duration = Duration::from_secs(5);

/// As many bytes and topic patterns as the gateway takes by default.
const LIMITS: TokenLimits = TokenLimits {
    bytes: 4 << 10,
    topics: 100,
};

struct Service {
    folder: TempDir,
    authority: Authority,
}

static SERVICE: LazyLock<Service> = LazyLock::new(|| {
    let folder = TempDir::with_prefix("trunkline-fuzz-").expect("a folder can be made");
    let file = folder.path().join("secret.key");
    std::fs::write(&file, SECRET).expect("a file can be written");
    let algorithm = Some(TokenAlgorithm::HS256);
    let tokens = tokens(KeyFile::Key { file, algorithm });
    let authority = Authority::load(&tokens, LIMITS).expect("the secret is good");
    Service { folder, authority }
});

fn tokens(keys: KeyFile) -> Tokens {
    Tokens {
        keys,
        audience: None,
        issuer: None,
        leeway: LEEWAY,
    }
}

pub(crate) fn feed(input: &[u8]) {
    let mut input = Bytes(input);
    match input.byte() % 4 {
        0 => {
            if let Ok(token) = std::str::from_utf8(input.0) {
                check(token);
            }
        }
        1 => check_signed(br#"{"alg":"HS256","typ":"JWT"}"#, input.0),
        2 => {
            let length = usize::from(input.byte());
            check_signed(input.take(length), input.0);
        }
        _ => {
            let file = SERVICE.folder.path().join("keys.json");
            std::fs::write(&file, input.0).expect("a file can be written");
            check_keys(file);
        }
    }
}

/// Checks a token of this head and these claims, and that one whose signature is another is refused.
fn check_signed(head: &[u8], claims: &[u8]) {
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let signed = format!("{}.{}", encode(head), encode(claims));
    let key = EncodingKey::from_secret(&SECRET);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256);
    let signature = signature.expect("a secret signs anything");
    check(&format!("{signed}.{signature}"));
    let mut wrong = signature.into_bytes();
    wrong[0] = if wrong[0] == b'A' { b'B' } else { b'A' };
    let wrong = String::from_utf8_lossy(&wrong);
    let answer = SERVICE
        .authority
        .check(&format!("{signed}.{wrong}"), NOW_MS);
    assert!(answer.is_err(), "a wrong signature is taken: {answer:?}");
}

fn check(token: &str) {
    match SERVICE.authority.check(token, NOW_MS) {
        Ok(grant) => {
            assert!((1..=64).contains(&grant.user.len()), "{grant:?}");
            let least = NOW_MS - LEEWAY.as_millis() as u64;
            assert!((least..1 << 53).contains(&grant.expires_ms), "{grant:?}");
        }
        Err(refusal) => assert!(!format!("{refusal:?}").is_empty()),
    }
}

fn check_keys(file: PathBuf) {
    if let Err(error) = auth::check(&tokens(KeyFile::Jwks(file))) {
        assert!(error.to_string().contains("keys.json"), "{error}");
    }
}
