//! The reasons to refuse a token.

use trunkline_proto::{CloseCode, ErrorCode};

/// A reason to refuse a token. Each has a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The `connect` has no token.
    Missing,
    /// The token is longer than `token_bytes`.
    TooLong,
    /// The text does not have the form of a token.
    Malformed,
    /// The token names another algorithm than its key has, such as `none`.
    Algorithm,
    /// The token names no key, or an unknown one.
    Key,
    /// The key did not make the signature.
    Signature,
    /// The token has expired.
    Expired,
    /// The token is not valid yet.
    NotYet,
    /// The token is for another audience.
    Audience,
    /// The token is from another issuer.
    Issuer,
    /// A claim is missing, or has another form.
    Claims,
    /// The names in the `connect` are not those in the token.
    Contradicted,
    /// The turn has checked another token of the connection already.
    TooMany,
    /// An operator has revoked the token.
    Revoked,
}

impl Reason {
    /// Every reason, in the order of its counter.
    pub const ALL: [Self; 14] = [
        Self::Missing,
        Self::TooLong,
        Self::Malformed,
        Self::Algorithm,
        Self::Key,
        Self::Signature,
        Self::Expired,
        Self::NotYet,
        Self::Audience,
        Self::Issuer,
        Self::Claims,
        Self::Contradicted,
        Self::TooMany,
        Self::Revoked,
    ];

    /// The label in /metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::Claims => "claims",
            Self::Contradicted => "contradicted",
            Self::TooMany => "too_many",
            Self::Revoked => "revoked",
        }
    }
}

/// The refusal of a token. The text for the client reveals nothing of what the gateway knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, for the counters.
    pub reason: Reason,
    /// The text for the client.
    pub message: &'static str,
}

impl Refusal {
    pub(super) const TOO_LONG: Self = Self::new(
        Reason::TooLong,
        "the token is longer than this gateway allows: token_bytes",
    );
    pub(super) const MALFORMED: Self = Self::new(
        Reason::Malformed,
        "the token is not a JSON Web Token, which is three parts in base64url with dots between them",
    );
    pub(super) const ALGORITHM: Self = Self::new(
        Reason::Algorithm,
        "the token is not signed with the algorithm that this gateway's key is for",
    );
    pub(super) const NO_KEY: Self = Self::new(
        Reason::Key,
        "the token does not say which key it is signed with (\"kid\")",
    );
    pub(super) const UNKNOWN_KEY: Self = Self::new(
        Reason::Key,
        "the token is signed with a key that this gateway does not know (\"kid\")",
    );
    pub(super) const SIGNATURE: Self = Self::new(
        Reason::Signature,
        "the token's signature is not that of this gateway's key",
    );
    pub(super) const EXPIRED: Self =
        Self::new(Reason::Expired, "the token has expired: use a new one");
    pub(super) const NOT_YET: Self =
        Self::new(Reason::NotYet, "the token is not valid yet (\"nbf\")");
    pub(super) const AUDIENCE: Self = Self::new(
        Reason::Audience,
        "the token is for another audience (\"aud\"): the gateway expects the one of jwt_audience",
    );
    pub(super) const NO_AUDIENCE: Self = Self::new(
        Reason::Audience,
        "the token names no audience: the gateway expects the one of jwt_audience in \"aud\"",
    );
    pub(super) const SOME_AUDIENCE: Self = Self::new(
        Reason::Audience,
        "the token is for an audience (\"aud\"), and the gateway is none: set jwt_audience, or leave \"aud\" out",
    );
    pub(super) const ISSUER: Self = Self::new(
        Reason::Issuer,
        "the token is not from the issuer (\"iss\") that this gateway expects: the one of jwt_issuer",
    );
    pub(crate) const MISSING: Self = Self::new(Reason::Missing, "connect needs a \"token\"");
    pub(crate) const OTHER_USER: Self = Self::new(
        Reason::Contradicted,
        "the token is for another user: leave \"user\" and \"namespace\" out, or name the token's",
    );
    pub(crate) const OTHER_DEVICE: Self = Self::new(
        Reason::Contradicted,
        "the token is for another device: leave \"device\" out, or name the token's",
    );

    pub(super) const REVOKED: Self = Self::new(
        Reason::Revoked,
        "the token has been revoked: use a new one, which says in \"iat\" when it was issued",
    );
    pub(crate) const TOO_MANY: Self = Self::new(
        Reason::TooMany,
        "one token at a time: wait for the answer to the last connect",
    );

    const fn new(reason: Reason, message: &'static str) -> Self {
        Self { reason, message }
    }

    pub(super) const fn claims(message: &'static str) -> Self {
        Self::new(Reason::Claims, message)
    }

    /// The code of the error reply.
    pub const fn code(&self) -> ErrorCode {
        match self.reason {
            Reason::Expired => ErrorCode::TokenExpired,
            Reason::Contradicted => ErrorCode::PermissionDenied,
            Reason::TooMany => ErrorCode::TooManyRequests,
            _ => ErrorCode::Unauthorized,
        }
    }

    /// The close code for a connection without a session. `None`: the connection may try again.
    pub const fn close(&self) -> Option<CloseCode> {
        match self.reason {
            Reason::Expired => Some(CloseCode::TOKEN_EXPIRED),
            Reason::Contradicted | Reason::TooMany => None,
            _ => Some(CloseCode::INVALID_TOKEN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn each_has_its_counter() {
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i, "{}", reason.name());
        }
    }
}
