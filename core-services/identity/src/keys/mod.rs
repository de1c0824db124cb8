//! The signing keys, the access tokens they sign, and their public halves.
//! Invariant: Ed25519 only; private keys are sealed in the database and shown nowhere;
//! a rotation breaks no token (`set` says why), unless the keys are compromised.

mod rotate;
mod set;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use core_platform::{
    clock::UnixMicros,
    token::{Claims, FixedKeysError, Kind, Verifier},
};
use serde::Serialize;
use uuid::Uuid;

use set::KeySet;

pub(crate) use rotate::{Rotated, Rotation, SigningKeys};
pub(crate) use set::{BELIEVED_FOR, KEYS_BELIEVED_FOR};
#[cfg(test)]
pub(crate) use set::{PUBLISHED_AHEAD, StoredKey};

/// Short: services between which and us the revocations don't travel believe a token for
/// so long.
pub(crate) const ACCESS_LIFETIME: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("key generation failed")]
    Generate,
    #[error("stored key `{0}` is damaged")]
    Damaged(String),
    #[error("there is no signing key")]
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

/// What an access token says: who, in which session, proved how and when.
pub(crate) struct Grant<'a> {
    pub(crate) user: Uuid,
    pub(crate) session: Uuid,
    pub(crate) auth_time: UnixMicros,
    /// RFC 8176.
    pub(crate) amr: &'a [String],
    pub(crate) roles: &'a [String],
    /// What the roles may do, separated by blanks.
    pub(crate) scope: &'a str,
}

impl Grant<'_> {
    /// ISO/IEC 29115 levels as RFC 6711 registers names for them, without the names:
    /// `1` for one factor, `2` for more.
    fn acr(&self) -> &'static str {
        if self.amr.len() > 1 { "2" } else { "1" }
    }
}

/// What stands for an API key: nobody signed in, and only the key's scopes count.
pub(crate) struct KeyGrant<'a> {
    pub(crate) user: Uuid,
    pub(crate) key: Uuid,
    pub(crate) scope: &'a str,
    /// The key's end: no token of it lives longer.
    pub(crate) until: UnixMicros,
}

/// Signs access tokens; clones share the keys.
#[derive(Clone)]
pub(crate) struct Signer {
    settings: TokenSettings,
    keys: Arc<ArcSwap<KeySet>>,
    verifier: Verifier,
}

impl Signer {
    fn new(settings: &TokenSettings, keys: KeySet) -> Result<Self, Error> {
        let TokenSettings { issuer, audience } = settings;
        let verifier = Verifier::new(issuer, audience, public_keys(&keys))?;
        Ok(Self {
            settings: settings.clone(),
            keys: Arc::new(ArcSwap::from_pointee(keys)),
            verifier,
        })
    }

    /// Other keys from now on, in all clones.
    fn replace(&self, keys: KeySet) -> Result<(), Error> {
        // First to be believed, then to sign.
        self.verifier.replace(public_keys(&keys))?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// An access token of one session.
    pub(crate) fn sign(&self, grant: &Grant<'_>, now: UnixMicros) -> Result<String, Error> {
        let claims = Claims {
            scope: grant.scope.to_owned(),
            roles: grant.roles.to_vec(),
            auth_time: Some(grant.auth_time.seconds()),
            amr: grant.amr.to_vec(),
            acr: Some(grant.acr().to_owned()),
            ..self.claims(grant.user, grant.session, now)
        };
        self.encode(&claims, now)
    }

    /// One that stands for an API key, and its end.
    pub(crate) fn sign_for_key(
        &self,
        grant: &KeyGrant<'_>,
        now: UnixMicros,
    ) -> Result<(String, UnixMicros), Error> {
        let until = (now + ACCESS_LIFETIME).min(grant.until);
        let claims = Claims {
            exp: until.seconds(),
            scope: grant.scope.to_owned(),
            kind: Kind::ApiKey,
            ..self.claims(grant.user, grant.key, now)
        };
        Ok((self.encode(&claims, now)?, until))
    }

    fn claims(&self, user: Uuid, session: Uuid, now: UnixMicros) -> Claims {
        let at = now.seconds();
        Claims {
            iss: self.settings.issuer.clone(),
            aud: self.settings.audience.clone(),
            sub: user,
            sid: session,
            jti: Uuid::now_v7(),
            iat: at,
            nbf: at,
            exp: (now + ACCESS_LIFETIME).seconds(),
            scope: String::new(),
            roles: Vec::new(),
            auth_time: None,
            amr: Vec::new(),
            acr: None,
            kind: Kind::User,
        }
    }

    fn encode(&self, claims: &Claims, now: UnixMicros) -> Result<String, Error> {
        let keys = self.keys.load();
        let key = keys.signing(now)?;
        Ok(jsonwebtoken::encode(&key.header, claims, &key.private)?)
    }

    pub(crate) fn verifier(&self) -> Verifier {
        self.verifier.clone()
    }

    pub(crate) fn jwks_json(&self, now: UnixMicros) -> String {
        serde_json::json!({ "keys": self.jwks(now) }).to_string()
    }

    /// The keys that sign, signed or will sign soon.
    pub(crate) fn jwks(&self, now: UnixMicros) -> Vec<Jwk> {
        let keys = self.keys.load();
        keys.published(now)
            .map(|key| Jwk {
                kty: "OKP",
                crv: "Ed25519",
                kid: key.kid.clone(),
                alg: "EdDSA",
                usage: "sig",
                x: URL_SAFE_NO_PAD.encode(key.public),
            })
            .collect()
    }
}

/// Also those that are published no more: their tokens are dead by their own claims.
fn public_keys(keys: &KeySet) -> Vec<(String, [u8; 32])> {
    keys.all()
        .map(|key| (key.kid.clone(), key.public))
        .collect()
}

#[cfg(test)]
mod tests {
    use core_platform::token::Refusal;

    use super::*;

    const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

    fn signer(keys: &[StoredKey]) -> Signer {
        let settings = TokenSettings {
            issuer: "https://id.test".to_owned(),
            audience: "palisade".to_owned(),
        };
        Signer::new(&settings, KeySet::new(keys).unwrap()).unwrap()
    }

    fn sign(signer: &Signer, user: Uuid, session: Uuid, now: UnixMicros) -> String {
        let grant = Grant {
            user,
            session,
            auth_time: now,
            amr: &["pwd".to_owned()],
            roles: &["user".to_owned()],
            scope: "profile:read profile:write",
        };
        signer.sign(&grant, now).unwrap()
    }

    fn kid(token: &str) -> Option<String> {
        jsonwebtoken::decode_header(token).unwrap().kid
    }

    #[test]
    fn tokens_verify_until_they_expire() {
        let signer = signer(&[StoredKey::generate(1, NOW).unwrap()]);
        let (user, session) = (Uuid::now_v7(), Uuid::now_v7());
        let token = sign(&signer, user, session, NOW);
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
        assert_eq!(
            header.kid.as_deref(),
            Some(signer.jwks(NOW)[0].kid.as_str())
        );
    }

    #[test]
    fn the_next_key_is_published_and_believed_before_it_signs() {
        let later = NOW + PUBLISHED_AHEAD;
        let next = StoredKey::generate(2, later).unwrap();
        let next_kid = next.kid.clone();
        let signer = signer(&[StoredKey::generate(1, NOW).unwrap(), next]);
        let (before, after) = (
            sign(&signer, Uuid::nil(), Uuid::nil(), NOW),
            sign(&signer, Uuid::nil(), Uuid::nil(), later),
        );
        assert_ne!(kid(&before).as_ref(), Some(&next_kid));
        assert_eq!(kid(&after).as_ref(), Some(&next_kid));
        assert!(signer.verifier().verify(&before, NOW).is_ok());
        assert!(signer.verifier().verify(&after, later).is_ok());
        assert_eq!(signer.jwks(NOW).len(), 2);
        assert_eq!(signer.jwks(later).len(), 2);
        assert_eq!(signer.jwks(later + BELIEVED_FOR).len(), 1);
    }

    #[test]
    fn a_keys_token_ends_with_the_key_and_was_no_sign_in() {
        let signer = signer(&[StoredKey::generate(1, NOW).unwrap()]);
        let grant = KeyGrant {
            user: Uuid::now_v7(),
            key: Uuid::now_v7(),
            scope: "profile:read",
            until: NOW + Duration::from_secs(60),
        };
        let (token, until) = signer.sign_for_key(&grant, NOW).unwrap();
        assert_eq!(until, grant.until);
        let caller = signer.verifier().verify(&token, NOW).unwrap();
        assert_eq!((caller.user, caller.session), (grant.user, grant.key));
        assert_eq!(caller.kind, Kind::ApiKey);
        assert_eq!(caller.auth_time, None);
        assert_eq!(caller.scopes, ["profile:read"]);
        let late = until + Duration::from_secs(31);
        assert_eq!(
            signer.verifier().verify(&token, late),
            Err(Refusal::Expired)
        );
    }
}
