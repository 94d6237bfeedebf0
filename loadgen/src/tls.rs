//! TLS to a gateway: the trusted certificates, and the certificate of a local gateway.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use trunkline_proto::tls::{ClientTls, Tls, TlsError};

use crate::files;

/// The files in which systems keep the certificate authorities that they trust.
const BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The settings with which connections to a gateway begin TLS.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Trust {
    /// Makes the settings for a gateway of this host. They trust the authorities in a PEM file, or
    /// without a file those of the system.
    ///
    /// # Errors
    /// The file or the host cannot be used. The text has the reason and a remedy.
    pub(crate) fn new(ca: Option<&Path>, host: &str) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host}: this is not a name that a certificate can have"))?;
        let bundle = BUNDLES.iter().map(Path::new).find(|file| file.is_file());
        let file = ca
            .or(bundle)
            .ok_or("this system has no file of authorities: name one with --tls-ca FILE")?;
        let wrong = |why: String| {
            format!(
                "{}: {why}: --tls-ca takes certificates as PEM",
                file.display()
            )
        };
        let mut roots = RootCertStore::empty();
        let found = files::secrets(file).map_err(|why| wrong(why.to_string()))?;
        for certificate in CertificateDer::pem_slice_iter(&found) {
            let certificate = certificate.map_err(|why| wrong(why.to_string()))?;
            // The system's may hold some that no program reads any more; its own choice is not.
            match roots.add(certificate) {
                Err(why) if ca.is_some() => return Err(wrong(why.to_string())),
                _ => {}
            }
        }
        if roots.is_empty() {
            return Err(wrong("no certificate in it".into()));
        }
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&TLS13, &TLS12])
                .map_err(|why| why.to_string())?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Each session stands for another client, so each makes a full handshake.
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    /// Begins a connection.
    pub(crate) fn begin(&self) -> Result<ClientTls, TlsError> {
        Tls::client(Arc::clone(&self.config), self.name.clone())
    }
}

/// The certificate and the key of a gateway that is started for one run.
#[derive(Debug)]
pub(crate) struct ThrowAway {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// Makes a self-signed certificate for 127.0.0.1 and its key in a folder. Connections trust the
/// certificate itself. rcgen signs with the same cryptography as rustls.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn throw_away(folder: &Path) -> io::Result<ThrowAway> {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
    let own = own.map_err(io::Error::other)?;
    let write = |name: &str, text: String| {
        let file = folder.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(&file)?.write_all(text.as_bytes())?;
        Ok::<_, io::Error>(file)
    };
    Ok(ThrowAway {
        cert: write("gateway.crt", own.cert.pem())?,
        key: write("gateway.key", own.signing_key.serialize_pem())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_trusted_by_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let good = throw_away(folder.path()).unwrap();
        assert!(Trust::new(Some(&good.cert), "127.0.0.1").is_ok());
        let refused = |file: &Path, host: &str| Trust::new(Some(file), host).unwrap_err();
        for file in [
            good.key,
            write("empty", ""),
            write("broken", "-----BEGIN CERTIFICATE-----\n!!"),
            folder.path().join("missing"),
        ] {
            let why = refused(&file, "127.0.0.1");
            let named = why.starts_with(&file.display().to_string());
            assert!(
                named && why.ends_with("--tls-ca takes certificates as PEM"),
                "{why}"
            );
        }
        assert!(refused(&good.cert, "no host").contains("not a name"));
    }
}
