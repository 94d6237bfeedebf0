//! The gateway's certificate, and the TLS connections that are begun with it.
//!
//! A connection keeps the configuration that it began with: reading the files again changes what
//! new ones get, and ends none. What a connection does with it is in `trunkline_proto::tls`, and
//! where its bytes go in `shard::tls`.

mod files;

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use trunkline_proto::tls::{ServerTls, Tls, TlsError};

pub use self::files::FileError;
use crate::config::TlsFiles;

/// Tickets that a client gets to resume with: it opens one connection at a time.
const TICKETS: usize = 1;

/// Begins the TLS connections of all shards.
#[derive(Debug)]
pub(crate) struct Acceptor {
    /// Locked to take or to replace the reference, never while anything is done with it.
    config: RwLock<Arc<ServerConfig>>,
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used; the text names it and says what would mend it.
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, FileError> {
        Ok(Self {
            config: RwLock::new(configure(files)?),
        })
    }

    /// Reads the files again, for connections that begin from now on.
    ///
    /// # Errors
    /// One of them cannot be used: what was read before stays.
    pub(crate) fn reload(&self, files: &TlsFiles) -> Result<(), FileError> {
        let fresh = configure(files)?;
        *self.config.write() = fresh;
        Ok(())
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// The configuration cannot work.
    pub(crate) fn begin(&self) -> Result<ServerTls, TlsError> {
        let config = Arc::clone(&self.config.read());
        Tls::server(config)
    }
}

/// Whether the files can be used.
///
/// # Errors
/// One of them cannot; the text names it and says what would mend it.
pub fn check(files: &TlsFiles) -> Result<(), FileError> {
    files::read(files, &provider()).map(|_| ())
}

/// The cryptography. aws-lc-rs builds with a C compiler alone on Linux: neither cmake nor nasm,
/// which a fresh machine lacks, nor bindgen is needed. A connection takes 3.4 KB with it and 3.2 with
/// `ring`, a hand-shake the same time.
fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn configure(files: &TlsFiles) -> Result<Arc<ServerConfig>, FileError> {
    let provider = Arc::new(provider());
    let certified: CertifiedKey = files::read(files, &provider)?;
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
    Ok(Arc::new(config))
}
