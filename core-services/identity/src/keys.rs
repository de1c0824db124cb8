//! The signing keys, the access tokens they sign, and their public halves.
//! Invariant: Ed25519 only; the newest key that is not retired signs, all that
//! are not retired are published (RFC 7517), so a rotation breaks no token.
//! Refuses to show a private key: no `Debug`, no accessor.

use std::time::Duration;

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use core_platform::{
    clock::UnixMicros,
    token::{Claims, FixedKeysError, Kind, TYPE, Verifier},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use uuid::Uuid;

use crate::sessions::scopes_of;

/// Short, because the edge cannot see a revocation before it ends.
pub(crate) const ACCESS_LIFETIME: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("key generation failed")]
    Generate,
    #[error("stored key `{0}` is damaged")]
    Damaged(String),
    #[error("there is no key that is not retired")]
    None,
    #[error("signing failed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
    #[error("the keys cannot be used: {0}")]
    Unusable(#[from] FixedKeysError),
}

/// The names that stand in every token.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// `iss`: who signed it.
    pub issuer: String,
    /// `aud`: whom it is for.
    pub audience: String,
}

/// A key pair as the database keeps it.
pub(crate) struct StoredKey {
    pub(crate) kid: String,
    pub(crate) pkcs8: Vec<u8>,
    pub(crate) public: Vec<u8>,
}

/// A public key on the wire (RFC 8037 section 2).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Jwk {
    pub(crate) kty: &'static str,
    pub(crate) crv: &'static str,
    pub(crate) kid: String,
    pub(crate) alg: &'static str,
    #[serde(rename = "use")]
    pub(crate) usage: &'static str,
    pub(crate) x: String,
}

impl StoredKey {
    pub(crate) fn generate() -> Result<Self, Error> {
        let pair = Ed25519KeyPair::generate().map_err(|_| Error::Generate)?;
        let public = pair.public_key().as_ref().to_vec();
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| Error::Generate)?;
        Ok(Self {
            kid: thumbprint(&public),
            pkcs8: pkcs8.as_ref().to_vec(),
            public,
        })
    }
}

/// RFC 7638: the same key has the same name everywhere.
fn thumbprint(public: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

/// What an access token says: who, in which session, proved how and when.
pub(crate) struct Grant<'a> {
    pub(crate) user: Uuid,
    pub(crate) session: Uuid,
    pub(crate) auth_time: UnixMicros,
    /// RFC 8176.
    pub(crate) amr: &'a [String],
    pub(crate) roles: &'a [String],
}

impl Grant<'_> {
    /// ISO/IEC 29115 levels as RFC 6711 registers names for them, without the names:
    /// `1` for one factor, `2` for more.
    fn acr(&self) -> &'static str {
        if self.amr.len() > 1 { "2" } else { "1" }
    }
}

/// Signs access tokens.
#[derive(Clone)]
pub(crate) struct Signer {
    settings: TokenSettings,
    header: Header,
    key: EncodingKey,
    published: Vec<(String, [u8; 32])>,
    verifier: Verifier,
}

impl Signer {
    /// `keys`: all that are not retired, newest first.
    pub(crate) fn new(settings: &TokenSettings, keys: &[StoredKey]) -> Result<Self, Error> {
        let newest = keys.first().ok_or(Error::None)?;
        let mut published = Vec::with_capacity(keys.len());
        for key in keys {
            let damaged = || Error::Damaged(key.kid.clone());
            let pair = Ed25519KeyPair::from_pkcs8(&key.pkcs8).map_err(|_| damaged())?;
            let public: [u8; 32] = key.public.as_slice().try_into().map_err(|_| damaged())?;
            // A pair whose halves differ would sign tokens that nobody accepts.
            if pair.public_key().as_ref() != public || thumbprint(&public) != key.kid {
                return Err(damaged());
            }
            published.push((key.kid.clone(), public));
        }
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(newest.kid.clone());
        let key = EncodingKey::from_ed_der(&newest.pkcs8);
        let verifier = Verifier::new(
            &settings.issuer,
            &settings.audience,
            published.iter().cloned(),
        )?;
        Ok(Self {
            settings: settings.clone(),
            header,
            key,
            published,
            verifier,
        })
    }

    /// An access token of one session.
    pub(crate) fn sign(&self, grant: &Grant<'_>, now: UnixMicros) -> Result<String, Error> {
        let at = now.seconds();
        let claims = Claims {
            iss: self.settings.issuer.clone(),
            aud: self.settings.audience.clone(),
            sub: grant.user,
            sid: grant.session,
            jti: Uuid::now_v7(),
            iat: at,
            nbf: at,
            exp: (now + ACCESS_LIFETIME).seconds(),
            scope: scopes_of(grant.roles),
            roles: grant.roles.to_vec(),
            auth_time: Some(grant.auth_time.seconds()),
            amr: grant.amr.to_vec(),
            acr: Some(grant.acr().to_owned()),
            kind: Kind::User,
        };
        Ok(jsonwebtoken::encode(&self.header, &claims, &self.key)?)
    }

    pub(crate) fn verifier(&self) -> Verifier {
        self.verifier.clone()
    }

    pub(crate) fn jwks_json(&self) -> String {
        serde_json::json!({ "keys": self.jwks() }).to_string()
    }

    pub(crate) fn jwks(&self) -> Vec<Jwk> {
        self.published
            .iter()
            .map(|(kid, public)| Jwk {
                kty: "OKP",
                crv: "Ed25519",
                kid: kid.clone(),
                alg: "EdDSA",
                usage: "sig",
                x: URL_SAFE_NO_PAD.encode(public),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use core_platform::token::Refusal;

    use super::*;

    const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

    fn settings() -> TokenSettings {
        TokenSettings {
            issuer: "https://id.test".to_owned(),
            audience: "palisade".to_owned(),
        }
    }

    fn sign(signer: &Signer, user: Uuid, session: Uuid) -> String {
        let grant = Grant {
            user,
            session,
            auth_time: NOW,
            amr: &["pwd".to_owned()],
            roles: &["user".to_owned()],
        };
        signer.sign(&grant, NOW).unwrap()
    }

    #[test]
    fn tokens_verify_until_they_expire() {
        let signer = Signer::new(&settings(), &[StoredKey::generate().unwrap()]).unwrap();
        let (user, session) = (Uuid::now_v7(), Uuid::now_v7());
        let token = sign(&signer, user, session);
        let caller = signer.verifier().verify(&token, NOW).unwrap();
        assert_eq!((caller.user, caller.session), (user, session));
        assert_eq!(caller.scopes, ["profile:read", "profile:write"]);
        let late = NOW + ACCESS_LIFETIME + Duration::from_secs(30);
        assert_eq!(
            signer.verifier().verify(&token, late),
            Err(Refusal::Expired)
        );
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(header.kid.as_deref(), Some(signer.jwks()[0].kid.as_str()));
    }

    #[test]
    fn the_newest_signs_and_older_ones_still_verify() {
        let old = StoredKey::generate().unwrap();
        let before = Signer::new(&settings(), std::slice::from_ref(&old)).unwrap();
        let token = sign(&before, Uuid::nil(), Uuid::nil());
        let new = StoredKey::generate().unwrap();
        let new_kid = new.kid.clone();
        let after = Signer::new(&settings(), &[new, old]).unwrap();
        assert!(after.verifier().verify(&token, NOW).is_ok());
        let fresh = sign(&after, Uuid::nil(), Uuid::nil());
        let header = jsonwebtoken::decode_header(&fresh).unwrap();
        assert_eq!(header.kid, Some(new_kid));
        assert_eq!(before.verifier().verify(&fresh, NOW), Err(Refusal::Invalid));
    }

    #[test]
    fn thumbprints_follow_rfc_8037_appendix_a3() {
        let public = URL_SAFE_NO_PAD
            .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
            .unwrap();
        assert_eq!(
            thumbprint(&public),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn a_damaged_key_stops_the_start() {
        let good = StoredKey::generate().unwrap();
        let other = StoredKey::generate().unwrap();
        let mixed = StoredKey {
            public: other.public,
            ..good
        };
        assert!(matches!(
            Signer::new(&settings(), &[mixed]),
            Err(Error::Damaged(_))
        ));
        assert!(matches!(Signer::new(&settings(), &[]), Err(Error::None)));
    }
}
