//! The public key of a PEM file.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{SubjectPublicKeyInfoDer, alg_id};

use super::{Key, Problem, numbers};
use crate::files::{self, element};

/// Returns the public key of a PEM file, and warnings about the rest of the file.
///
/// # Errors
/// The file has no public key, several, or a private key; or the key cannot be used.
pub(super) fn public(pem: &[u8]) -> Result<(Key, Vec<Problem>), Problem> {
    const HOW: &str = "openssl pkey -in FILE -pubout";
    let labels = files::pem_labels(pem);
    if super::contains(pem, b"PRIVATE KEY-----") {
        return Err(format!(
            "a private key is in it: keep the private key where tokens are made, and give the \
             gateway the public key ({HOW})"
        ));
    }
    let keys = labels.iter().filter(|label| *label == "PUBLIC KEY").count();
    if keys > 1 {
        return Err(format!(
            "{keys} public keys are in it, and a token cannot say which one it means: leave one, \
             or make a set of the keys and name it with jwks"
        ));
    }
    let info = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| {
        "no public key in it, which is PEM with BEGIN PUBLIC KEY: openssl x509 -in FILE -noout \
         -pubkey prints the key of a certificate"
    })?;
    let others: Vec<_> = labels
        .iter()
        .filter(|label| *label != "PUBLIC KEY")
        .collect();
    let warnings = others
        .first()
        .map(|label| format!("only the public key in it is used, not the rest ({label})"));
    Ok((key(&info)?, warnings.into_iter().collect()))
}

/// Reads the key of a SubjectPublicKeyInfo (RFC 5280 §4.1).
fn key(info: &[u8]) -> Result<Key, Problem> {
    const UNREADABLE: &str = "the public key cannot be read";
    // A sequence of the algorithm and the bits of the key.
    let parts = element(info, 0x30).filter(|(_, behind)| behind.is_empty());
    let parts = parts.and_then(|(inside, _)| {
        let (algorithm, behind) = element(inside, 0x30)?;
        let (bits, _) = element(behind, 0x03)?;
        // The first byte says how many bits of the last byte are not used.
        Some((algorithm, bits.strip_prefix(&[0])?))
    });
    let (algorithm, bits) = parts.ok_or(UNREADABLE)?;
    if algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
        // RFC 8017 §A.1.1: a sequence of modulus and exponent.
        let (numbers, behind) = element(bits, 0x30).ok_or(UNREADABLE)?;
        let (modulus, rest) = element(numbers, 0x02).ok_or(UNREADABLE)?;
        let (exponent, rest) = element(rest, 0x02).ok_or(UNREADABLE)?;
        if !behind.is_empty() || !rest.is_empty() {
            return Err(UNREADABLE.into());
        }
        if [modulus, exponent].iter().any(|number| is_negative(number)) {
            return Err("the numbers of the RSA key are negative".into());
        }
        numbers::rsa(modulus, exponent)
    } else if algorithm == alg_id::ECDSA_P256.as_ref() {
        numbers::ecdsa(bits)
    } else if algorithm == alg_id::ED25519.as_ref() {
        numbers::edwards(bits)
    } else {
        Err("the key is of another kind: use RSA, EC on P-256, or Ed25519".into())
    }
}

fn is_negative(number: &[u8]) -> bool {
    number.first().is_some_and(|first| first & 0x80 != 0)
}
