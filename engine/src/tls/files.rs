//! Certificate and key as files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use crate::config::TlsFiles;

/// Longest file that is read: a chain is a few KiB.
const LONGEST: u64 = 1 << 20;

/// Why a file cannot be used, and what would mend it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: {source}: name a file that this process may read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no PEM, or a broken one.
    #[error("{}: no good PEM: {source}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// There is no certificate in it.
    #[error(
        "{}: no certificate in it: tls_cert takes PEM, the server's own certificate first and \
         behind it those up to the root", file.display()
    )]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// The certificate is none.
    #[error("{}: the first certificate cannot be read: {source}", file.display())]
    BadCertificate {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Error,
    },
    /// There is no key in it.
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
    /// The key is of no kind that can be used.
    #[error(
        "{}: the key cannot be used: {source}; take ECDSA (P-256, P-384, P-521), Ed25519, or RSA \
         of 2,048 to 8,192 bits", file.display()
    )]
    BadKey {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Error,
    },
    /// The key belongs to another certificate.
    #[error(
        "{}: not the key of the first certificate in {}: name the key that this was made with",
        key.display(), cert.display()
    )]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
    },
    /// TLS cannot work with any file.
    #[error("TLS cannot be set up: {0}")]
    Library(#[source] Error),
}

/// Reads both files and holds them against each other.
///
/// # Errors
/// One of them cannot be used.
pub(super) fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, FileError> {
    let chain = read_chain(&files.cert)?;
    let key = read_key(&files.key)?;
    let key_file = || files.key.clone();
    let private = provider.key_provider.load_private_key(key);
    let private = private.map_err(|source| FileError::BadKey {
        file: key_file(),
        source,
    })?;
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        // A key that does not tell its public half may be the right one.
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

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read_text(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let file = file.to_owned();
    match chain {
        Ok(chain) if chain.is_empty() => Err(FileError::NoCertificate { file }),
        Ok(chain) => Ok(chain),
        Err(source) => Err(FileError::Pem { file, source }),
    }
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let text = read_text(file)?;
    let file = file.to_owned();
    // Both forms say so in a line of their own: the header of PKCS#8, a field of older ones.
    if text.windows(9).any(|word| word == b"ENCRYPTED") {
        return Err(FileError::Encrypted { file });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|source| match source {
        pem::Error::NoItemsFound => FileError::NoKey { file },
        source => FileError::Pem { file, source },
    })
}

fn read_text(file: &Path) -> Result<Vec<u8>, FileError> {
    let mut text = Vec::new();
    let read = File::open(file).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(source) => Err(FileError::Unreadable {
            file: file.to_owned(),
            source,
        }),
    }
}
