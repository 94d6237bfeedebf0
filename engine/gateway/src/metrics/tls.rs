//! What is counted of TLS.

use rustls::{AlertDescription, Error, InvalidMessage};
use trunkline_core::metrics::Counter;
use trunkline_proto::tls::TlsError;

/// Why a TLS connection came to nothing, or to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFailure {
    /// HTTP without TLS.
    Http,
    /// Something else that is no TLS.
    NotTls,
    /// No version, cipher suite or protocol in common.
    Incompatible,
    /// The client does not take the certificate.
    Certificate,
    /// The client gave up for another reason.
    Alert,
    /// A record or hand-shake message that is too long.
    TooLong,
    /// What the client sent cannot be decrypted, or breaks the protocol.
    Broken,
    /// The client left in the middle of the hand-shake.
    Left,
    /// The hand-shake was not complete in time.
    Time,
}

impl TlsFailure {
    /// Every reason, in the order of its counter.
    pub const ALL: [Self; 9] = [
        Self::Http,
        Self::NotTls,
        Self::Incompatible,
        Self::Certificate,
        Self::Alert,
        Self::TooLong,
        Self::Broken,
        Self::Left,
        Self::Time,
    ];

    /// The label in /metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::Certificate => "certificate",
            Self::Alert => "alert",
            Self::TooLong => "too_long",
            Self::Broken => "broken",
            Self::Left => "left",
            Self::Time => "time",
        }
    }

    /// What an error comes down to; `first`: nothing good came before it.
    pub fn of(error: &TlsError, first: bool) -> Self {
        use AlertDescription as Alert;
        let TlsError::Tls(error) = error else {
            return Self::TooLong;
        };
        match error {
            Error::PeerSentOversizedRecord
            | Error::InvalidMessage(
                InvalidMessage::MessageTooLarge | InvalidMessage::HandshakePayloadTooLarge,
            ) => Self::TooLong,
            Error::InvalidMessage(_) if first => Self::NotTls,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            Error::AlertReceived(
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::BadCertificateStatusResponse,
            ) => Self::Certificate,
            Error::AlertReceived(_) => Self::Alert,
            _ => Self::Broken,
        }
    }
}

/// What is counted once for all shards: by the thread that reads the files.
#[derive(Debug, Default)]
pub struct TlsMetrics {
    /// Times that the files were read again.
    pub reloaded: Counter,
    /// Times that they could not be used.
    pub reload_failed: Counter,
}

#[cfg(test)]
mod tests {
    use super::TlsFailure;

    #[test]
    fn each_has_its_counter() {
        for (i, failure) in TlsFailure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, i, "{}", failure.name());
        }
    }
}
