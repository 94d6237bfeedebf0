//! Issues certificates for a test, and TLS clients that trust them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tempfile::TempDir;

use crate::wait::LIMIT;

/// The name in certificates, unless a test asks for another.
pub const NAME: &str = "gateway.test";

/// A TLS stream of a client.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// The files of a certificate and its key, as a gateway reads them.
#[derive(Debug, Clone)]
pub struct Files {
    /// The file with the certificate chain, as PEM.
    pub cert: PathBuf,
    /// The file with the private key, as PEM.
    pub key: PathBuf,
}

/// A certificate authority, with a folder for what it signs.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// How a client connects with TLS: trusted authorities, versions, expected name.
#[derive(Debug, Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    name: String,
}

impl Authority {
    /// Makes a new authority.
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let folder = TempDir::with_prefix("trunkline-tls-").expect("a folder can be made");
        // A name of its own, as any two have.
        let name = folder.path().display().to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate"),
            folder,
        }
    }

    /// Returns the file with the authority's own certificate, as PEM.
    pub fn root(&self) -> PathBuf {
        self.write("root.crt", &self.issuer.pem())
    }

    /// Signs a certificate for [`NAME`] and writes it and its key to files of this name, in place of
    /// earlier ones.
    pub fn issue(&self, file: &str) -> Files {
        self.issue_for(file, &KeyPair::generate().expect("a key"))
    }

    /// Signs a certificate for [`NAME`] with the caller's key, and writes both to files.
    pub fn issue_for(&self, file: &str, key: &KeyPair) -> Files {
        self.issue_with(file, key, |_| ())
    }

    /// Issues a certificate that is valid from the beginning of one year to the beginning of
    /// another.
    pub fn issue_between(&self, file: &str, years: [i32; 2]) -> Files {
        let [from, to] = years.map(|year| rcgen::date_time_ymd(year, 1, 1));
        self.issue_with(file, &KeyPair::generate().expect("a key"), |params| {
            (params.not_before, params.not_after) = (from, to);
        })
    }

    /// Issues a certificate that is valid from now on for this time, in whole seconds.
    pub fn issue_until(&self, file: &str, life: std::time::Duration) -> Files {
        self.issue_with(file, &KeyPair::generate().expect("a key"), |params| {
            params.not_after = (std::time::SystemTime::now() + life).into();
        })
    }

    fn issue_with(
        &self,
        file: &str,
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Files {
        let names = [NAME.to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let cert = params.signed_by(key, &self.issuer).expect("a certificate");
        let chain = cert.pem() + &self.issuer.pem();
        Files {
            cert: self.write(&format!("{file}.crt"), &chain),
            key: self.write(&format!("{file}.key"), &key.serialize_pem()),
        }
    }

    /// Writes a file into the authority's folder and returns its path.
    pub fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(file);
        std::fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Returns clients that trust this authority, with any version of TLS.
    pub fn trust(&self) -> Trust {
        self.trust_with(rustls::ALL_VERSIONS)
    }

    /// Returns clients that trust this authority, with these versions of TLS only.
    pub fn trust_with(&self, versions: &[&'static SupportedProtocolVersion]) -> Trust {
        let mut roots = RootCertStore::empty();
        let own = roots.add(self.issuer.der().clone());
        own.expect("a certificate of an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions that there are")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Trust {
            config: Arc::new(config),
            name: NAME.to_owned(),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Trust {
    /// Expects a certificate for another name than [`NAME`].
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Offers these application protocols (ALPN).
    #[must_use]
    pub fn protocols(mut self, protocols: &[&str]) -> Self {
        let mut config = (*self.config).clone();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        self.config = Arc::new(config);
        self
    }

    /// Connects and does not begin the hand-shake.
    ///
    /// # Panics
    /// The server does not listen.
    pub fn connect(&self, address: SocketAddr) -> TlsStream {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_read_timeout(Some(LIMIT)).expect("not zero");
        stream.set_write_timeout(Some(LIMIT)).expect("not zero");
        stream.set_nodelay(true).expect("a TCP option");
        self.connect_on(stream)
    }

    /// Uses an open connection. The hand-shake has not begun.
    pub(crate) fn connect_on(&self, stream: TcpStream) -> TlsStream {
        let name = ServerName::try_from(self.name.clone()).expect("a host name");
        let client = ClientConnection::new(Arc::clone(&self.config), name).expect("a client");
        StreamOwned::new(client, stream)
    }

    /// Connects and completes the hand-shake.
    ///
    /// # Errors
    /// The hand-shake fails.
    pub fn shake(&self, address: SocketAddr) -> io::Result<TlsStream> {
        let mut stream = self.connect(address);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }
}

/// Returns the TLS error in an error of input or output.
///
/// # Panics
/// The error is not from TLS.
pub fn failure(error: &io::Error) -> rustls::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    inner
        .cloned()
        .unwrap_or_else(|| panic!("no error of TLS: {error:?}"))
}

/// Returns the certificate that the server showed.
///
/// # Panics
/// The server showed no certificate.
pub fn shown(stream: &TlsStream) -> CertificateDer<'static> {
    let chain = stream.conn.peer_certificates().expect("a certificate");
    chain[0].clone().into_owned()
}

/// Reads the first certificate of a PEM file.
///
/// # Panics
/// The file has no certificate.
pub fn first_of(cert: &Path) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(cert).expect("a certificate")
}

/// The stream below a WebSocket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Returns the TCP socket.
    pub fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &mut stream.sock,
        }
    }

    /// Sends `close_notify`.
    ///
    /// # Panics
    /// The stream has no TLS, or the gateway does not take the alert.
    pub fn close_notify(&mut self) {
        let Self::Tls(stream) = self else {
            panic!("a plain connection");
        };
        stream.conn.send_close_notify();
        while stream.conn.wants_write() {
            let written = stream.conn.write_tls(&mut stream.sock);
            written.expect("the gateway reads");
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Self::Plain(stream) => stream.read(buffer),
                Self::Tls(stream) => stream.read(buffer),
            };
            // A process that was stopped goes on with this error: signal(7), SO_RCVTIMEO.
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
