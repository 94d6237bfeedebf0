//! The gateway's certificate, and the TLS connections that are begun with it.
//!
//! A connection keeps the configuration that it began with: reading the files again changes what
//! new ones get, and ends none. What a connection does with it is in `trunkline_proto::tls`, and
//! where its bytes go in `shard::tls`.

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

/// Tickets that a client gets to resume with: it opens one connection at a time.
const TICKETS: usize = 1;

/// The files of a TLS server, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and behind it those up to the root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Begins the TLS connections of all shards.
#[derive(Debug)]
pub struct Acceptor {
    /// Locked to take or to replace the reference, never while anything is done with it.
    config: RwLock<Arc<ServerConfig>>,
    /// When the certificate expires, in seconds since 1970 UTC; 0 where that cannot be read.
    expires: AtomicU64,
    /// When each certificate of the chain is valid; another list after each reading.
    spans: RwLock<Arc<[Span]>>,
}

/// What is made of the files.
struct Configured {
    config: Arc<ServerConfig>,
    /// As [`Acceptor::expires`] has it.
    expires: u64,
    spans: Arc<[Span]>,
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used; the text names it and says what would mend it.
    pub fn load(files: &TlsFiles) -> Result<Self, FileError> {
        let made = configure(files)?;
        Ok(Self {
            config: RwLock::new(made.config),
            expires: AtomicU64::new(made.expires),
            spans: RwLock::new(made.spans),
        })
    }

    /// Reads the files again, for connections that begin from now on.
    ///
    /// # Errors
    /// One of them cannot be used: what was read before stays.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), FileError> {
        let made = configure(files)?;
        *self.config.write() = made.config;
        self.expires.store(made.expires, Relaxed);
        *self.spans.write() = made.spans;
        Ok(())
    }

    /// When the certificate expires, in seconds since 1970 UTC, if that can be read.
    pub fn expires(&self) -> Option<u64> {
        Some(self.expires.load(Relaxed)).filter(|expires| *expires > 0)
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// The configuration cannot work.
    pub fn begin(&self) -> Result<ServerTls, TlsError> {
        let config = Arc::clone(&self.config.read());
        Tls::server(config)
    }
}

/// Whether the files can be used, and what clients may refuse them for or what is odd about them:
/// sentences that name the file.
///
/// # Errors
/// One of them cannot; the text names it and says what would mend it.
pub fn check(files: &TlsFiles) -> Result<Vec<String>, FileError> {
    files::read(files, &provider(), now()).map(|read| read.warnings)
}

/// The time in seconds since 1970 UTC.
fn now() -> i64 {
    i64::try_from(system_ms() / 1_000).unwrap_or(i64::MAX)
}

/// The cryptography. aws-lc-rs builds with a C compiler alone on Linux: neither cmake nor nasm,
/// which a fresh machine lacks, nor bindgen is needed. A connection takes 3.4 KB with it and 3.2 with
/// `ring`, a hand-shake the same time.
fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// Reads the files, and logs what there is to say of them.
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
    // WebSocket is begun with HTTP/1.1; who offers other protocols only is told so.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Clients hold what is needed to resume, encrypted with a key that is made anew every few hours
    // and with each certificate. Nothing is kept here for those who may come back, and early data,
    // which could be replayed, is not taken.
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
