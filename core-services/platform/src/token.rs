//! Access tokens (RFC 9068): their claims, and the check every service makes
//! itself instead of believing what the edge forwards.
//! Invariant: the check is the edge's (`palisade-token`), with one set of vectors
//! for both; on top of it an account and a session must be named.
//! Refuses algorithms other than EdDSA, and keys that arrive inside a token.

pub(crate) mod trusted;

use std::{path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use palisade_token::{Algorithm, Claims as Verified, IssuerSpec, Refusal as Fault};
pub use palisade_token::{FixedKeysError, JwksSource, SpecError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock::UnixMicros;
use trusted::Trusted;

/// The `typ` of an access token (RFC 9068 section 2.1).
pub const TYPE: &str = "at+jwt";
/// Clocks of two machines that keep NTP time differ by far less.
pub(crate) const LEEWAY: Duration = Duration::from_secs(30);

/// So much later than at its source a key that leaked is gone in a service that follows it:
/// only edges are told.
const KEYS_READ_EVERY: Duration = Duration::from_secs(30);

/// The claims of an access token. Numbers are `NumericDate`s: seconds, integers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    /// The account.
    pub sub: Uuid,
    /// The session the token was issued in; ends with it at the services. Of an
    /// API key: the key.
    pub sid: Uuid,
    pub jti: Uuid,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
    /// Space-separated (RFC 6749 section 3.3).
    pub scope: String,
    pub roles: Vec<String>,
    /// When the user last proved who they are (OpenID Connect Core section 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// How they did (RFC 8176).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// How well they did (RFC 9470 section 6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    #[serde(default)]
    pub kind: Kind,
}

/// What acts with the account's rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A person in a session.
    #[default]
    User,
    /// A program with a key of the person's.
    ApiKey,
}

/// Who is calling, proved by a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub user: Uuid,
    pub session: Uuid,
    pub scopes: Vec<String>,
    pub roles: Vec<String>,
    pub auth_time: Option<i64>,
    pub amr: Vec<String>,
    pub acr: Option<String>,
    pub kind: Kind,
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
    #[error("access tokens cannot be checked at the moment")]
    KeysUnavailable,
}

impl Refusal {
    /// The `ErrorInfo` reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "TOKEN_MISSING",
            Self::Invalid => "TOKEN_INVALID",
            Self::Expired => "TOKEN_EXPIRED",
            Self::KeysUnavailable => "TOKEN_KEYS_UNAVAILABLE",
        }
    }
}

impl From<Fault> for Refusal {
    /// Which check failed is not told: it would help only a forger.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Missing => Self::Missing,
            Fault::Expired => Self::Expired,
            Fault::NoKeys => Self::KeysUnavailable,
            _ => Self::Invalid,
        }
    }
}

/// The keys and names that tokens are checked against; clones share them.
#[derive(Clone)]
pub struct Verifier(Trusted);

impl Verifier {
    /// Against keys that this process holds itself: `kid` and the raw 32-byte
    /// Ed25519 public key of each.
    ///
    /// # Errors
    /// No key, a `kid` twice, or an empty name.
    pub fn new(
        issuer: &str,
        audience: &str,
        keys: impl IntoIterator<Item = (String, [u8; 32])>,
    ) -> Result<Self, FixedKeysError> {
        // Its own keys have no source that could be read again.
        let nowhere = JwksSource::File(PathBuf::new());
        let trusted = Trusted::fixed(spec(issuer, audience, nowhere), &document(keys))?;
        Ok(Self(trusted))
    }

    /// Other keys for the same names, in all clones.
    ///
    /// # Errors
    /// No key, or a `kid` twice; the old keys stay.
    pub fn replace(
        &self,
        keys: impl IntoIterator<Item = (String, [u8; 32])>,
    ) -> Result<(), FixedKeysError> {
        self.0.replace(&document(keys))
    }

    /// Against a JWK set elsewhere, read again every half minute (a file: two
    /// seconds) and when a token names a key that is not known yet.
    ///
    /// # Errors
    /// An address that can't be used.
    pub async fn followed(
        issuer: &str,
        audience: &str,
        source: JwksSource,
        state_dir: Option<PathBuf>,
    ) -> Result<Self, SpecError> {
        let mut spec = spec(issuer, audience, source);
        spec.refresh = spec.refresh.min(KEYS_READ_EVERY);
        let trusted = Trusted::followed(spec, state_dir).await?;
        Ok(Self(trusted))
    }

    /// By the keys known now.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn verify(&self, token: &str, now: UnixMicros) -> Result<Caller, Refusal> {
        caller(&*self.0.verify(token, now)?)
    }

    /// As [`Self::verify`]; a key that is not known yet is asked for.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn admit(&self, token: &str, now: UnixMicros) -> Result<Caller, Refusal> {
        caller(&*self.0.admit(token, now).await?)
    }
}

fn spec(issuer: &str, audience: &str, source: JwksSource) -> IssuerSpec {
    let mut spec = IssuerSpec::new("identity", issuer, &[audience], source);
    spec.algorithms = vec![Algorithm::EdDsa];
    spec.leeway = LEEWAY;
    spec.require_nbf = true;
    spec.token_types = vec![TYPE.to_owned()];
    spec
}

fn document(keys: impl IntoIterator<Item = (String, [u8; 32])>) -> Vec<u8> {
    let keys: Vec<Value> = keys
        .into_iter()
        .map(|(kid, key)| ed25519_jwk(&kid, &key))
        .collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

/// RFC 8037 section 2.
pub(crate) fn ed25519_jwk(kid: &str, public: &[u8]) -> Value {
    let x = URL_SAFE_NO_PAD.encode(public);
    json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x})
}

fn caller(claims: &Verified) -> Result<Caller, Refusal> {
    let id = |text: Option<&str>| text.and_then(|text| Uuid::parse_str(text).ok());
    let user = id(claims.subject.as_deref()).ok_or(Refusal::Invalid)?;
    let session = id(claims.raw.get("sid").and_then(Value::as_str)).ok_or(Refusal::Invalid)?;
    Ok(Caller {
        user,
        session,
        scopes: claims.scopes.clone(),
        roles: claims.roles.clone(),
        auth_time: read(claims, "auth_time")?,
        amr: read(claims, "amr")?.unwrap_or_default(),
        acr: read(claims, "acr")?,
        kind: read(claims, "kind")?.unwrap_or_default(),
    })
}

/// Absent is fine, another type is not: a step-up must not rest on a guess.
fn read<T: serde::de::DeserializeOwned>(
    claims: &Verified,
    name: &str,
) -> Result<Option<T>, Refusal> {
    claims
        .raw
        .get(name)
        .map(|value| T::deserialize(value).map_err(|_| Refusal::Invalid))
        .transpose()
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
