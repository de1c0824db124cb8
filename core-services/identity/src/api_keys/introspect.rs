//! What a key or a token stands for, told to the edge.
//! Invariant: the answer for what is unknown, expired, revoked or another's is the same.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use core_platform::{
    clock::UnixMicros,
    token::{Claims, Kind},
};
use uuid::Uuid;

use super::{ApiKey, ApiKeys};
use crate::{error::Error, keys::KeyGrant, store::api_keys};

/// The last use is told to the hour: a write for each call would cost more than the call.
pub(crate) const USE_NOTED: Duration = Duration::from_secs(3600);

/// What is active. No `Debug`: it may hold a token.
pub(crate) struct Introspected {
    pub(crate) kind: &'static str,
    pub(crate) user: Uuid,
    /// The session's or the key's.
    pub(crate) id: Uuid,
    pub(crate) scopes: Vec<String>,
    pub(crate) expires_at: UnixMicros,
    /// What stands for a key at the services, and its end.
    pub(crate) access: Option<(String, UnixMicros)>,
}

impl ApiKeys {
    /// `None` for whatever is not active.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn introspect(
        &self,
        token: &str,
        now: UnixMicros,
    ) -> Result<Option<Introspected>, Error> {
        if ApiKey::is_like(token) {
            self.introspect_key(token, now).await
        } else {
            self.introspect_token(token, now).await
        }
    }

    async fn introspect_key(
        &self,
        text: &str,
        now: UnixMicros,
    ) -> Result<Option<Introspected>, Error> {
        let Some(key) = ApiKey::parse(text) else {
            return Ok(None);
        };
        let found = api_keys::live(&self.db, key.id, now).await?;
        let Some(found) = found.filter(|found| key.matches(&found.secret_hash)) else {
            return Ok(None);
        };
        // What its owner may do no more, the key may do no more.
        let rights = self.sessions.roles.rights(&self.db, found.user).await?;
        let given: BTreeSet<String> = found.scopes.split_whitespace().map(str::to_owned).collect();
        let scopes: Vec<String> = given.intersection(&rights.permissions).cloned().collect();
        let grant = KeyGrant {
            user: found.user,
            key: key.id,
            scope: &scopes.join(" "),
            until: found.expires_at,
        };
        let access = self.sessions.signer.sign_for_key(&grant, now)?;
        let noted = found.last_used_at;
        if noted.is_none_or(|noted| noted + USE_NOTED <= now) {
            let mut tx = self.db.begin().await?;
            api_keys::used(&mut tx, key.id, to_the_hour(now)).await?;
            tx.commit().await?;
        }
        Ok(Some(Introspected {
            kind: "api_key",
            user: found.user,
            id: key.id,
            scopes,
            expires_at: found.expires_at,
            access: Some(access),
        }))
    }

    async fn introspect_token(
        &self,
        token: &str,
        now: UnixMicros,
    ) -> Result<Option<Introspected>, Error> {
        let Ok(caller) = self.sessions.signer.verifier().verify(token, now) else {
            return Ok(None);
        };
        match self.sessions.require_live(&caller, now).await {
            Err(Error::SessionEnded) => return Ok(None),
            live => live?,
        }
        let Some(expires_at) = expiry(token) else {
            return Ok(None);
        };
        Ok(Some(Introspected {
            kind: match caller.kind {
                Kind::User => "session",
                Kind::ApiKey => "api_key",
            },
            user: caller.user,
            id: caller.session,
            scopes: caller.scopes,
            expires_at,
            access: None,
        }))
    }
}

fn to_the_hour(at: UnixMicros) -> UnixMicros {
    let hour = i64::try_from(USE_NOTED.as_micros()).unwrap_or(i64::MAX);
    UnixMicros(at.0 - at.0.rem_euclid(hour))
}

/// Of a token that was verified.
fn expiry(token: &str) -> Option<UnixMicros> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    Some(UnixMicros(claims.exp.checked_mul(1_000_000)?))
}
