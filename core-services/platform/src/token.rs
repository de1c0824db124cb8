//! Access tokens (RFC 9068): their claims, and the check every service makes
//! itself instead of believing what the edge forwards.
//! Invariant: EdDSA only, the key named by `kid`, `typ` at+jwt, our issuer, our
//! audience; times are judged against the `now` that is passed in.
//! Refuses keys that arrive inside a token (`jwk`, `jku`, `x5c` are not read).

use std::{collections::HashMap, sync::Arc};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::UnixMicros;

/// The `typ` of an access token (RFC 9068 section 2.1).
pub const TYPE: &str = "at+jwt";
/// Ours are below 600 bytes; what is longer isn't worth a signature check.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Clocks of two machines that keep NTP time differ by far less.
const LEEWAY_SECONDS: i64 = 30;

/// The claims of an access token. Numbers are `NumericDate`s: seconds, integers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    /// The account.
    pub sub: Uuid,
    /// The session the token was issued in; ends with it at the services.
    pub sid: Uuid,
    pub jti: Uuid,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
    /// Space-separated (RFC 6749 section 3.3).
    pub scope: String,
    pub roles: Vec<String>,
}

/// Who is calling, proved by a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub user: Uuid,
    pub session: Uuid,
    pub scopes: Vec<String>,
    pub roles: Vec<String>,
}

/// Why a token was not accepted. Never holds a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("an access token is needed")]
    Missing,
    #[error("the access token is not valid")]
    Invalid,
    #[error("the access token has expired")]
    Expired,
}

impl Refusal {
    /// The `ErrorInfo` reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "TOKEN_MISSING",
            Self::Invalid => "TOKEN_INVALID",
            Self::Expired => "TOKEN_EXPIRED",
        }
    }
}

/// The keys and names that tokens are checked against; clones share them.
#[derive(Clone)]
pub struct Verifier {
    keys: Arc<HashMap<String, DecodingKey>>,
    validation: Arc<Validation>,
}

impl Verifier {
    /// `keys`: `kid` and the raw 32-byte Ed25519 public key.
    pub fn new(
        issuer: &str,
        audience: &str,
        keys: impl IntoIterator<Item = (String, [u8; 32])>,
    ) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Judged below, by the caller's `now`.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let keys = keys
            .into_iter()
            .map(|(kid, key)| (kid, DecodingKey::from_ed_der(&key)))
            .collect();
        Self {
            keys: Arc::new(keys),
            validation: Arc::new(validation),
        }
    }

    /// # Errors
    /// See [`Refusal`]; which check failed is not told, as it would help only a forger.
    pub fn verify(&self, token: &str, now: UnixMicros) -> Result<Caller, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Invalid)?;
        let typed = header
            .typ
            .as_deref()
            .is_some_and(|typ| typ.eq_ignore_ascii_case(TYPE));
        // RFC 7515 section 4.1.11: an extension we don't know that must be understood.
        if !typed || header.crit.is_some() {
            return Err(Refusal::Invalid);
        }
        let key = header
            .kid
            .and_then(|kid| self.keys.get(&kid))
            .ok_or(Refusal::Invalid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)
            .map_err(|_| Refusal::Invalid)?
            .claims;
        let now = now.seconds();
        if claims.nbf > now.saturating_add(LEEWAY_SECONDS) {
            return Err(Refusal::Invalid);
        }
        if claims.exp.saturating_add(LEEWAY_SECONDS) <= now {
            return Err(Refusal::Expired);
        }
        Ok(Caller {
            user: claims.sub,
            session: claims.sid,
            scopes: claims
                .scope
                .split_ascii_whitespace()
                .map(str::to_owned)
                .collect(),
            roles: claims.roles,
        })
    }
}

/// The token of an `authorization` value: `Bearer <token>` (RFC 6750 section 2.1).
///
/// # Errors
/// [`Refusal::Missing`] without one, [`Refusal::Invalid`] for another scheme.
pub fn bearer(headers: &http::HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    // Two values: the edge may have judged one and we the other.
    if values.next().is_some() {
        return Err(Refusal::Invalid);
    }
    let text = value.to_str().map_err(|_| Refusal::Invalid)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::Invalid)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim_start_matches(' '))
    } else {
        Err(Refusal::Invalid)
    }
}

#[cfg(test)]
mod tests;
