//! Which service is calling, said by itself: `x-service-token`, a JWT signed with
//! the service's own Ed25519 key.
//! Invariant: a token counts only from the service it names (its certificate and
//! the key it is signed with say the same name), and only at the service it is for.
//! Refuses tokens that would live longer than an hour, and shared secrets: with
//! one, every service could pass for every other.

use std::{path::PathBuf, time::Duration};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;
use palisade_token::{
    Algorithm, Claims, FixedKeysError, IssuerSpec, JwksSource, Refusal as Fault, SpecError,
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};

use crate::{
    clock::UnixMicros,
    contracts::PROCESS,
    token::{self, trusted::Trusted},
};

/// The metadata that carries it.
pub const HEADER: &str = "x-service-token";
/// Its `typ`: an access token must not pass for one (RFC 8725 section 3.11).
const TYPE: &str = "svc+jwt";
/// How long ours live: a stolen one is soon worthless.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// What others may give themselves.
const LIFETIME_SECONDS_MAX: i64 = 3600;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(
        "the service's key holds no Ed25519 private key\nhint: `openssl genpkey -algorithm ed25519` makes one"
    )]
    NotEd25519,
    #[error("no key could be made")]
    Generate,
}

/// Signs as one service.
pub struct Signer {
    service: String,
    trust_domain: String,
    kid: String,
    pair: Ed25519KeyPair,
}

impl Signer {
    /// With a key of this process only, for callers and called in one process.
    ///
    /// # Errors
    /// The random number generator failed.
    pub fn generate(trust_domain: &str, service: &str) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?;
        Ok(Self::of(trust_domain, service, pair))
    }

    /// With the key of a PKCS #8 PEM file.
    ///
    /// # Errors
    /// No such key in it.
    pub fn from_pem(trust_domain: &str, service: &str, pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotEd25519)?;
        // `maybe_unchecked`: openssl writes version 1, without the public half.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|_| KeyError::NotEd25519)?;
        Ok(Self::of(trust_domain, service, pair))
    }

    fn of(trust_domain: &str, service: &str, pair: Ed25519KeyPair) -> Self {
        let print = URL_SAFE_NO_PAD.encode(digest(&SHA256, pair.public_key().as_ref()));
        Self {
            service: service.to_owned(),
            trust_domain: trust_domain.to_owned(),
            kid: format!("{service}.{print}"),
            pair,
        }
    }

    /// The service it signs as.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The public half, an entry of the key file. Its `kid` begins with the
    /// service's name and a dot: no other service's key signs for it.
    pub fn jwk(&self) -> Value {
        token::ed25519_jwk(&self.kid, self.pair.public_key().as_ref())
    }

    /// A token for calls to `audience`, a service.
    pub fn sign(&self, audience: &str, now: UnixMicros) -> String {
        let header = json!({"alg": "EdDSA", "typ": TYPE, "kid": self.kid});
        let claims = json!({
            "iss": issuer(&self.trust_domain),
            "service": self.service,
            "type": "service",
            "aud": audience,
            "iat": now.seconds(),
            "exp": (now + LIFETIME).seconds(),
        });
        let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Why a service's word was not taken. The text is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no service token")]
    Missing,
    #[error("{0}")]
    Invalid(&'static str),
    #[error("the services' keys are not loaded")]
    KeysUnavailable,
}

/// Checks the tokens of calling services; clones share keys.
#[derive(Clone)]
pub struct Verifier(Trusted);

impl Verifier {
    /// `services`: those that answer here. `document`: a JWK set of [`Signer::jwk`]s.
    ///
    /// # Errors
    /// A set without a usable key.
    pub fn fixed(
        trust_domain: &str,
        services: &[&str],
        document: &[u8],
    ) -> Result<Self, FixedKeysError> {
        let nowhere = JwksSource::File(PathBuf::new());
        let spec = spec(trust_domain, services, nowhere);
        Ok(Self(Trusted::fixed(spec, document)?))
    }

    /// Keys of a file that is read again when it changes.
    ///
    /// # Errors
    /// Names that can't be used.
    pub async fn followed(
        trust_domain: &str,
        services: &[&str],
        file: PathBuf,
    ) -> Result<Self, SpecError> {
        let spec = spec(trust_domain, services, JwksSource::File(file));
        Ok(Self(Trusted::followed(spec, None).await?))
    }

    /// Whether the call comes from `peer`, as its certificate says, and is meant
    /// for `service`.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn verify(
        &self,
        headers: &HeaderMap,
        peer: &str,
        service: &str,
        now: UnixMicros,
    ) -> Result<(), Refusal> {
        let mut values = headers.get_all(HEADER).iter();
        let value = values.next().ok_or(Refusal::Missing)?;
        if values.next().is_some() {
            return Err(Refusal::Invalid("two service tokens"));
        }
        let token = value
            .to_str()
            .map_err(|_| Refusal::Invalid("not a token"))?;
        let claims = self
            .0
            .admit(token, now)
            .await
            .map_err(|fault| match fault {
                Fault::Missing => Refusal::Missing,
                Fault::NoKeys => Refusal::KeysUnavailable,
                other => Refusal::Invalid(other.description()),
            })?;
        judge(&claims, &kid(token), peer, service, now).map_err(Refusal::Invalid)
    }
}

fn judge(
    claims: &Claims,
    kid: &str,
    peer: &str,
    service: &str,
    now: UnixMicros,
) -> Result<(), &'static str> {
    let text = |name: &str| claims.raw.get(name).and_then(Value::as_str);
    if text("type") != Some("service") {
        return Err("not of the type `service`");
    }
    if text("service") != Some(peer) {
        return Err("the certificate names another service");
    }
    if kid.split_once('.').map(|(owner, _)| owner) != Some(peer) {
        return Err("signed by another service's key");
    }
    // The set of audiences is every service of this process; the call is for one of them, or
    // for what the process answers in the name of each.
    if text("aud").is_none_or(|aud| aud != service && service != PROCESS) {
        return Err("meant for another service");
    }
    let leeway = i64::try_from(token::LEEWAY.as_secs()).unwrap_or(0);
    let seconds = |name: &str| claims.raw.get(name).and_then(Value::as_i64);
    let issued = seconds("iat").ok_or("without `iat`")?;
    let expires = seconds("exp").ok_or("without `exp`")?;
    if issued > now.seconds().saturating_add(leeway) {
        return Err("issued in the future");
    }
    if expires.saturating_sub(issued) > LIFETIME_SECONDS_MAX {
        return Err("lives longer than an hour");
    }
    Ok(())
}

/// The key id of a token that was verified, which makes its header's bytes the signer's.
fn kid(token: &str) -> String {
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let header: Value = serde_json::from_slice(&header).unwrap_or_default();
    header["kid"].as_str().unwrap_or_default().to_owned()
}

fn spec(trust_domain: &str, services: &[&str], source: JwksSource) -> IssuerSpec {
    let mut spec = IssuerSpec::new("services", &issuer(trust_domain), services, source);
    spec.algorithms = vec![Algorithm::EdDsa];
    spec.leeway = token::LEEWAY;
    spec.token_types = vec![TYPE.to_owned()];
    spec
}

fn issuer(trust_domain: &str) -> String {
    format!("spiffe://{trust_domain}")
}

#[cfg(test)]
mod tests;
