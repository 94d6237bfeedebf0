//! The gateway's certificate, and the configuration of TLS connections.
//!
//! A connection keeps the configuration that it began with. When the gateway reads the files again, new
//! connections get the new certificate, and open connections stay. `trunkline_proto::tls` encrypts and
//! decrypts; `shard::tls` moves the bytes.

mod der;
mod files;
mod validity;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use trunkline_core::clock::system_ms;
use trunkline_proto::tls::{ServerTls, Tls, TlsError};

use self::validity::Span;

pub use self::files::FileError;
pub use self::watch::TlsWatch;

/// The number of session tickets for a client: it opens one connection at a time.
const TICKETS: usize = 1;

/// The files of a TLS server, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The file with the server's certificate, followed by the certificates up to the root.
    pub cert: PathBuf,
    /// The file with the private key.
    pub key: PathBuf,
}

/// Begins the TLS connections of all shards.
#[derive(Debug)]
pub struct Acceptor {
    /// The lock is held only to copy or to replace the reference.
    config: RwLock<Arc<ServerConfig>>,
    /// When the certificate expires, in seconds since 1970 UTC. 0: unknown.
    expires: AtomicU64,
    /// When each certificate of the chain is valid. Each reading of the files makes a new list.
    spans: RwLock<Arc<[Span]>>,
}

/// The result of reading the files.
struct Configured {
    config: Arc<ServerConfig>,
    /// When the certificate expires, in seconds since 1970 UTC. 0: unknown.
    expires: u64,
    spans: Arc<[Span]>,
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be used. The text names the file and says what to do.
    pub fn load(files: &TlsFiles) -> Result<Self, FileError> {
        let made = configure(files)?;
        Ok(Self {
            config: RwLock::new(made.config),
            expires: AtomicU64::new(made.expires),
            spans: RwLock::new(made.spans),
        })
    }

    /// Reads the files again, for later connections.
    ///
    /// # Errors
    /// A file cannot be used. The certificate from before stays in use.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), FileError> {
        let made = configure(files)?;
        *self.config.write() = made.config;
        self.expires.store(made.expires, Relaxed);
        *self.spans.write() = made.spans;
        Ok(())
    }

    /// When the certificate expires, in seconds since 1970 UTC. `None`: unknown.
    pub fn expires(&self) -> Option<u64> {
        Some(self.expires.load(Relaxed)).filter(|expires| *expires > 0)
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// The configuration is not complete.
    pub fn begin(&self) -> Result<ServerTls, TlsError> {
        Tls::server(self.config())
    }

    /// Returns the configuration for a new connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read())
    }
}

/// Checks the files. Returns warnings: sentences that name the file, such as the reason for which clients
/// may refuse the certificate.
///
/// # Errors
/// A file cannot be used. The text names the file and says what to do.
pub fn check(files: &TlsFiles) -> Result<Vec<String>, FileError> {
    files::read(files, &provider(), now()).map(|read| read.warnings)
}

/// Returns the time in seconds since 1970 UTC.
fn now() -> i64 {
    i64::try_from(system_ms() / 1_000).unwrap_or(i64::MAX)
}

/// The cryptography. aws-lc-rs builds with a C compiler alone on Linux: neither cmake nor nasm,
/// which a fresh machine lacks, nor bindgen is needed. A connection takes 3.4 KB with it and 3.2 with
/// `ring`, a hand-shake the same time.
fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// Reads the files, and logs warnings about them.
fn configure(files: &TlsFiles) -> Result<Configured, FileError> {
    let provider = Arc::new(provider());
    let certificate = files::read(files, &provider, now())?;
    for warning in &certificate.warnings {
        tracing::warn!("{warning}");
    }
    let certified = certificate.certified;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(FileError::Library)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    // WebSocket begins with HTTP/1.1. A client that offers only other protocols gets an alert.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Clients keep their session tickets, encrypted with a key that changes every few hours and with
    // each certificate. The gateway keeps nothing for them. It does not accept early data, which could
    // be replayed.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(FileError::Library)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    config.max_early_data_size = 0;
    let expires = certificate.expires.unwrap_or(0);
    Ok(Configured {
        config: Arc::new(config),
        expires: u64::try_from(expires).unwrap_or(0),
        spans: certificate.spans.into(),
    })
}
