//! Why a token was refused: for the counter, for the log, and for the caller.
//!
//! Invariant: nothing here ever holds bytes of a token beyond a key id short and plain enough to print.
//! Refuses: to tell the outside more than RFC 6750 section 3 needs.

use std::fmt;
use thiserror::Error;

/// Longest key id that is printed. Longer ones are somebody's payload.
const KID_PRINTED_BYTES_MAX: usize = 64;

/// A key id fit for a log line: shown if short and plain, else only said to exist.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyId(Option<Box<str>>);

impl KeyId {
    pub(crate) fn new(kid: &str) -> Self {
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'=');
        let printable =
            !kid.is_empty() && kid.len() <= KID_PRINTED_BYTES_MAX && kid.bytes().all(plain);
        Self(printable.then(|| kid.into()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("(unprintable)"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Why a token was not accepted. `Display` is for the log; [`Refusal::description`] is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no token.
    #[error("no bearer token")]
    Missing,
    /// Not a signed compact JWT (RFC 7515 section 7.1); the text says which part is wrong.
    #[error("malformed token: {0}")]
    Malformed(&'static str),
    /// Longer than [`crate::TOKEN_BYTES_MAX`].
    #[error("token is longer than {max} bytes", max = crate::TOKEN_BYTES_MAX)]
    TooLarge,
    /// `alg` is none of [`crate::Algorithm`], or the issuer does not allow it.
    #[error("token algorithm is not allowed")]
    UnsupportedAlgorithm,
    /// `alg` differs from the algorithm of the key that `kid` names.
    #[error("token algorithm is not the algorithm of its key")]
    AlgorithmMismatch,
    /// The header has `crit`: extensions are named that must be understood, and none are.
    #[error("token header has critical extensions")]
    CriticalHeader,
    /// `typ` is not one the issuer's tokens may have (RFC 8725 section 3.11).
    #[error("token type is not allowed")]
    WrongType,
    /// No key of the set fits. A new fetch of the set may help, see [`Refusal::wants_refetch`].
    #[error("no key for the token, kid `{}`", kid.as_ref().map_or("(none)".into(), KeyId::to_string))]
    UnknownKey {
        /// The key id that was asked for, if the token has one.
        kid: Option<KeyId>,
    },
    /// The signature is not the key's.
    #[error("bad signature")]
    BadSignature,
    /// `exp` plus the leeway has passed.
    #[error("token expired")]
    Expired,
    /// `nbf` minus the leeway has not come.
    #[error("token is not valid yet")]
    NotYetValid,
    /// `iss` is another issuer.
    #[error("token is from another issuer")]
    WrongIssuer,
    /// `aud` names none of the expected audiences.
    #[error("token is for another audience")]
    WrongAudience,
    /// A required claim is absent.
    #[error("claim `{0}` is missing")]
    MissingClaim(&'static str),
    /// A claim has a type or a value it must not have.
    #[error("claim `{0}` is invalid")]
    BadClaim(&'static str),
    /// The issuer's keys were never loaded: not the caller's fault, and answered with 503, not 401.
    #[error("no keys of the issuer are loaded")]
    NoKeys,
    /// Its session, its API key or its user has ended. Said by who follows that, not by the verifier.
    #[error("token is revoked")]
    Revoked,
    /// Nobody says which tokens are revoked: not the caller's fault, and answered with 503.
    #[error("revocations of the issuer are not heard")]
    NoRevocations,
}

impl Refusal {
    /// A stable name for metrics, problem documents and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Malformed(_) => "token_malformed",
            Self::TooLarge => "token_too_large",
            Self::UnsupportedAlgorithm => "token_algorithm_unsupported",
            Self::AlgorithmMismatch => "token_algorithm_mismatch",
            Self::CriticalHeader => "token_critical_header",
            Self::WrongType => "token_type_unsupported",
            Self::UnknownKey { .. } => "token_key_unknown",
            Self::BadSignature => "token_signature_invalid",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::WrongIssuer => "token_issuer_mismatch",
            Self::WrongAudience => "token_audience_mismatch",
            Self::MissingClaim(_) => "token_claim_missing",
            Self::BadClaim(_) => "token_claim_invalid",
            Self::NoKeys => "issuer_keys_unavailable",
            Self::Revoked => "token_revoked",
            Self::NoRevocations => "revocations_unavailable",
        }
    }

    /// What the caller is told: constant text, safe inside a quoted string of a header field.
    pub fn description(&self) -> &'static str {
        match self {
            Self::Missing => "a bearer token is required",
            Self::Malformed(_) => "the token is malformed",
            Self::TooLarge => "the token is too large",
            Self::UnsupportedAlgorithm | Self::AlgorithmMismatch => {
                "the token algorithm is not accepted"
            }
            Self::CriticalHeader => "the token has unsupported critical extensions",
            Self::WrongType => "the token type is not accepted",
            Self::UnknownKey { .. } => "the token key is unknown",
            Self::BadSignature => "the token signature is invalid",
            Self::Expired => "the token expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::WrongIssuer => "the token issuer is not accepted",
            Self::WrongAudience => "the token audience is not accepted",
            Self::MissingClaim(_) => "a required claim is missing",
            Self::BadClaim(_) => "a claim is invalid",
            Self::NoKeys | Self::NoRevocations => "tokens cannot be checked at the moment",
            Self::Revoked => "the token was revoked",
        }
    }

    /// The `WWW-Authenticate` value of RFC 6750 section 3. A request without a token gets the bare scheme
    /// (section 3.1); `None` where it is not the caller's fault and a challenge would make clients drop
    /// good tokens.
    pub fn challenge(&self) -> Option<String> {
        match self {
            Self::Missing => Some("Bearer".to_owned()),
            Self::NoKeys | Self::NoRevocations => None,
            _ => Some(format!(
                r#"Bearer error="invalid_token", error_description="{}""#,
                self.description()
            )),
        }
    }

    /// Whether reading the issuer's key set again could turn the answer. A bad signature never does:
    /// anyone can send one.
    pub fn wants_refetch(&self) -> bool {
        matches!(self, Self::UnknownKey { kid: Some(_) } | Self::NoKeys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_key_ids_are_printed() {
        for (kid, shown) in [
            ("2026-11_a.b=", "2026-11_a.b="),
            ("", "(unprintable)"),
            ("../../etc/passwd", "(unprintable)"),
            ("' OR 1=1 --", "(unprintable)"),
            ("a\nb", "(unprintable)"),
            (&"k".repeat(65), "(unprintable)"),
        ] {
            let kid = Some(KeyId::new(kid));
            let refusal = Refusal::UnknownKey { kid };
            assert_eq!(
                refusal.to_string(),
                format!("no key for the token, kid `{shown}`")
            );
        }
    }

    #[test]
    fn challenges_follow_rfc_6750() {
        let check = |refusal: Refusal, expected: Option<&str>| {
            assert_eq!(refusal.challenge().as_deref(), expected);
        };
        check(Refusal::Missing, Some("Bearer"));
        check(Refusal::NoKeys, None);
        check(Refusal::NoRevocations, None);
        check(
            Refusal::Revoked,
            Some(r#"Bearer error="invalid_token", error_description="the token was revoked""#),
        );
        check(
            Refusal::Expired,
            Some(r#"Bearer error="invalid_token", error_description="the token expired""#),
        );
    }
}
