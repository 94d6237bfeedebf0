//! Reads the files of the certificate and its key.

use std::io;
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::validity::{self, Span, Validity};
use crate::files;
use crate::tls::TlsFiles;

/// An error in a file of TLS. Its text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("{}: {source}: name a file that this process may read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The error behind it.
        source: io::Error,
    },
    /// The file has another form, or something that must not be in it.
    #[error("{}: {problem}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The file is not valid PEM.
    #[error("{}: the PEM is not valid: {source}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// The error behind it.
        source: pem::Error,
    },
    /// The file has no certificate.
    #[error(
        "{}: no certificate in it: tls_cert takes PEM, the server's own certificate first, followed \
         by the certificates up to the root", file.display()
    )]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// The first certificate cannot be read.
    #[error("{}: the first certificate cannot be read: {source}", file.display())]
    BadCertificate {
        /// The file.
        file: PathBuf,
        /// The error behind it.
        source: Error,
    },
    /// The file has no private key.
    #[error(
        "{}: no private key in it: tls_key takes PEM with a key in PKCS#8, SEC1 or PKCS#1",
        file.display()
    )]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// The key is encrypted.
    #[error(
        "{}: the key is encrypted: decrypt it (openssl pkey -in FILE -out PLAIN) and let nobody \
         else read the file", file.display()
    )]
    Encrypted {
        /// The file.
        file: PathBuf,
    },
    /// The gateway does not support this kind of key.
    #[error(
        "{}: the key cannot be used: {source}; use ECDSA (P-256, P-384, P-521), Ed25519, or RSA \
         of 2,048 to 8,192 bits", file.display()
    )]
    BadKey {
        /// The file.
        file: PathBuf,
        /// The error behind it.
        source: Error,
    },
    /// The key belongs to another certificate.
    #[error(
        "{}: not the key of the first certificate in {}: name the key that the certificate was made for",
        key.display(), cert.display()
    )]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
    },
    /// TLS cannot be set up, whatever the files are.
    #[error("TLS cannot be set up: {0}")]
    Library(#[source] Error),
}

/// A certificate with its key, and warnings about their files.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) certified: CertifiedKey,
    /// When the certificate expires, in seconds since 1970 UTC. `None`: unknown.
    pub(super) expires: Option<i64>,
    /// Warnings: sentences that name the file.
    pub(super) warnings: Vec<String>,
    /// When each certificate of the chain is valid. The names contain the file.
    pub(super) spans: Vec<Span>,
}

/// Reads both files, and checks that they belong together. `now` is the time in seconds since 1970 UTC.
///
/// # Errors
/// A file cannot be used.
pub(super) fn read(
    files: &TlsFiles,
    provider: &CryptoProvider,
    now: i64,
) -> Result<Certificate, FileError> {
    let (chain, cert_labels) = read_chain(&files.cert)?;
    let (key, key_labels) = read_key(&files.key)?;
    let Validity {
        expires,
        warnings,
        mut spans,
    } = validity::examine(&chain, now);
    let cert = files.cert.display();
    let mut warnings: Vec<_> = warnings
        .into_iter()
        .map(|warning| format!("{cert}: {warning}"))
        .collect();
    for span in &mut spans {
        span.name = format!("{cert}: {}", span.name);
    }
    // Some services keep both in one file, on purpose.
    if files.cert != files.key {
        if cert_labels.iter().any(|label| is_private_key(label)) {
            warnings.push(format!(
                "{cert}: a private key is in it, which is not used: the gateway uses the key of \
                 tls_key. Remove it from the file, because anybody may read certificates"
            ));
        }
        if key_labels.iter().any(|label| label == "CERTIFICATE") {
            let key = files.key.display();
            warnings.push(format!(
                "{key}: a certificate is in it, which is not used: the gateway uses those of tls_cert"
            ));
        }
    }
    let certified = certify(files, chain, key, provider)?;
    Ok(Certificate {
        certified,
        expires,
        warnings,
        spans,
    })
}

fn is_private_key(label: &str) -> bool {
    label.ends_with("PRIVATE KEY")
}

/// Checks that a key belongs to the first certificate of a chain.
fn certify(
    files: &TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, FileError> {
    let key_file = || files.key.clone();
    let private = provider.key_provider.load_private_key(key);
    let private = private.map_err(|source| FileError::BadKey {
        file: key_file(),
        source,
    })?;
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        // A key without its public half may be the right one.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(FileError::Mismatch {
            key: key_file(),
            cert: files.cert.clone(),
        }),
        Err(source) => Err(FileError::BadCertificate {
            file: files.cert.clone(),
            source,
        }),
    }
}

/// Reads the certificates of a file. Returns them, and the labels of all PEM blocks in the file.
fn read_chain(file: &Path) -> Result<(Vec<CertificateDer<'static>>, Vec<String>), FileError> {
    let text = read_text(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let file = file.to_owned();
    match chain {
        Ok(chain) if chain.is_empty() => Err(FileError::NoCertificate { file }),
        Ok(chain) => Ok((chain, files::pem_labels(&text))),
        Err(source) => Err(FileError::Pem { file, source }),
    }
}

/// Reads the key of a file. Returns it, and the labels of all PEM blocks in the file.
fn read_key(file: &Path) -> Result<(PrivateKeyDer<'static>, Vec<String>), FileError> {
    let text = read_text(file)?;
    let file = file.to_owned();
    let labels = files::pem_labels(&text);
    let keys = labels.iter().filter(|label| is_private_key(label)).count();
    // Both forms have the word in a line of their own: PKCS#8 in its header, older keys in a field.
    if text.windows(9).any(|word| word == b"ENCRYPTED") {
        return Err(FileError::Encrypted { file });
    }
    if keys > 1 {
        let problem =
            format!("{keys} private keys are in it: leave the one that belongs to the certificate");
        return Err(FileError::Unusable { file, problem });
    }
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok((key, labels)),
        Err(pem::Error::NoItemsFound) => Err(FileError::NoKey { file }),
        Err(source) => Err(FileError::Pem { file, source }),
    }
}

fn read_text(file: &Path) -> Result<Vec<u8>, FileError> {
    let text = files::read(file).map_err(|source| FileError::Unreadable {
        file: file.to_owned(),
        source,
    })?;
    let unusable = |problem| FileError::Unusable {
        file: file.to_owned(),
        problem,
    };
    if text.len() > files::LONGEST {
        return Err(unusable(
            "the file is too long: files of certificates and keys are shorter than 1 MiB".into(),
        ));
    }
    match files::byte_order_mark(&text) {
        Some(problem) => Err(unusable(problem)),
        None => Ok(text),
    }
}
