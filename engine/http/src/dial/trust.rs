//! The certificates that servers with `https://` addresses have to show.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Where systems keep the certificates of authorities that they trust.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The certificates of authorities that vouch for other servers.
#[derive(Clone)]
pub struct Trust(pub(super) Arc<ClientConfig>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust(…)")
    }
}

impl Trust {
    /// Reads the certificates of a file in PEM; without a file those of the system. `setting` names the
    /// file in errors.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn load(file: Option<&Path>, setting: &str) -> Result<Self, String> {
        let file = match file {
            Some(file) => file.to_owned(),
            None => system(setting)?,
        };
        let refused = |why: String| format!("the certificates in {}: {why}", file.display());
        let mut roots = RootCertStore::empty();
        let each =
            CertificateDer::pem_file_iter(&file).map_err(|error| refused(error.to_string()))?;
        for certificate in each {
            let certificate = certificate.map_err(|error| refused(error.to_string()))?;
            // Systems have some that no library takes.
            let _ = roots.add(certificate);
        }
        if roots.is_empty() {
            let why = "there is no certificate of an authority in it: it needs them in PEM";
            return Err(refused(why.to_owned()));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(error.to_string()))?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

/// Returns the file of the system.
fn system(setting: &str) -> Result<PathBuf, String> {
    let mut all = SYSTEM.iter().map(Path::new);
    let found = all.find(|file| file.exists());
    found.map(Path::to_owned).ok_or_else(|| {
        format!("this system has no file of trusted certificates at a usual place: set {setting}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        assert!(
            Trust::load(Some(&file), "ca_file")
                .unwrap_err()
                .contains("ca.pem")
        );
        std::fs::write(&file, "no PEM\n").unwrap();
        let said = Trust::load(Some(&file), "ca_file").unwrap_err();
        assert!(said.contains("PEM"), "{said}");
    }
}
