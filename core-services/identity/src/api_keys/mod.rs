//! Keys with which programs act for their owner.
//! Invariant: a key may do at most what its owner may do now; what ended is told to the
//! edge before it is answered.
//! Refuses to show a key twice.

mod introspect;
mod key;

use std::{collections::BTreeSet, time::Duration};

use core_platform::{
    clock::UnixMicros,
    crypto::{Field, Vault},
    db::{Db, Tx},
    token::Caller,
};
use uuid::Uuid;

use crate::{
    error::Error,
    facts::{About, Fact, Facts},
    sessions::Sessions,
    store::{api_keys, users},
};
use key::prefix;

pub(crate) use introspect::Introspected;
#[cfg(test)]
pub(crate) use introspect::USE_NOTED;
pub(crate) use key::ApiKey;

/// One person's programs.
pub(crate) const API_KEYS_PER_USER_MAX: usize = 50;
/// Unless its owner says how long.
const DAYS: u32 = 90;
const DAY: Duration = Duration::from_secs(24 * 3600);

const NAME: Field = Field::new("api_keys.name");

/// What is asked for.
pub(crate) struct NewKey {
    pub(crate) name: String,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) days: Option<u32>,
}

/// A key as its owner sees it. No `Debug`: its name is personal.
pub(crate) struct Listed {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) prefix: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) created_at: UnixMicros,
    pub(crate) expires_at: UnixMicros,
    pub(crate) last_used_at: Option<UnixMicros>,
}

/// The API keys of all users.
#[derive(Clone)]
pub(crate) struct ApiKeys {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) sessions: Sessions,
    pub(crate) facts: Facts,
}

impl ApiKeys {
    /// On the ground of the sessions.
    pub(crate) fn new(sessions: &Sessions) -> Self {
        Self {
            db: sessions.db.clone(),
            vault: sessions.vault.clone(),
            sessions: sessions.clone(),
            facts: sessions.facts.clone(),
        }
    }

    /// Makes a key; the text is nowhere after this.
    ///
    /// # Errors
    /// [`Error::Invalid`] for scopes that are not the caller's, [`Error::TooMany`],
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        new: NewKey,
        now: UnixMicros,
    ) -> Result<(ApiKey, Listed), Error> {
        self.sessions.require_live(caller, now).await?;
        let key = ApiKey::generate()?;
        let mut tx = self.db.begin().await?;
        // Two at once would otherwise both find room.
        if users::lock(&mut tx, caller.user).await?.is_none() {
            return Err(Error::SessionEnded);
        }
        let rights = self.sessions.roles.rights(&mut tx, caller.user).await?;
        if !new.scopes.is_subset(&rights.permissions) {
            return Err(Error::Invalid(
                "scopes",
                "has a permission that is not yours",
            ));
        }
        let held = api_keys::of_user(&mut tx, caller.user, now).await?.len();
        if held >= API_KEYS_PER_USER_MAX {
            return Err(Error::TooMany("API keys"));
        }
        let subject = self.vault.key(&mut tx, caller.user).await?;
        let scopes: Vec<_> = new.scopes.into_iter().collect();
        let row = api_keys::NewApiKey {
            id: key.id,
            user: caller.user,
            name: &subject.seal(NAME, new.name.as_bytes())?,
            secret_hash: &key.hash(),
            scopes: &scopes.join(" "),
            expires_at: now + DAY * new.days.unwrap_or(DAYS),
        };
        api_keys::insert(&mut tx, &row, now).await?;
        let listed = Listed {
            id: key.id,
            name: new.name,
            prefix: prefix(key.id),
            scopes: scopes.clone(),
            created_at: now,
            expires_at: row.expires_at,
            last_used_at: None,
        };
        let fact = Fact::ApiKeyCreated {
            key: key.id,
            scopes,
        };
        let about = About::by(caller.user);
        self.facts.tell(&mut tx, &[fact], &about, now).await?;
        tx.commit().await?;
        Ok((key, listed))
    }

    /// The caller's keys that work, the newest first.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        now: UnixMicros,
    ) -> Result<Vec<Listed>, Error> {
        self.sessions.require_live(caller, now).await?;
        self.of_user(caller.user, now).await
    }

    /// The keys of a user that work.
    pub(crate) async fn of_user(&self, user: Uuid, now: UnixMicros) -> Result<Vec<Listed>, Error> {
        let rows = api_keys::of_user(&self.db, user, now).await?;
        let key = self.vault.key(&self.db, user).await?;
        rows.into_iter()
            .map(|row| {
                Ok(Listed {
                    id: row.id,
                    name: key.open_text(NAME, &row.name)?,
                    prefix: prefix(row.id),
                    scopes: row.scopes.split_whitespace().map(str::to_owned).collect(),
                    created_at: row.created_at,
                    expires_at: row.expires_at,
                    last_used_at: row.last_used_at,
                })
            })
            .collect()
    }

    /// Ends one of the caller's keys.
    ///
    /// # Errors
    /// [`Error::NoSuchApiKey`] for another's as for one that ended,
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn revoke(
        &self,
        caller: &Caller,
        id: Uuid,
        now: UnixMicros,
    ) -> Result<(), Error> {
        self.sessions.require_live(caller, now).await?;
        let mut tx = self.db.begin().await?;
        if !api_keys::revoke(&mut tx, caller.user, id, now).await? {
            return Err(Error::NoSuchApiKey);
        }
        let fact = Fact::ApiKeyRevoked { key: id };
        let about = About::by(caller.user);
        self.facts.tell(&mut tx, &[fact], &about, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends all keys of a user: whoever made them had not shown that the account is theirs.
    /// Almost the last thing before a commit.
    pub(crate) async fn end_all(
        &self,
        tx: &mut Tx,
        about: &About<'_>,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let Some(user) = about.user else {
            return Ok(());
        };
        let mut ended = Vec::new();
        for row in api_keys::of_user(&mut *tx, user, now).await? {
            if api_keys::revoke(&mut *tx, user, row.id, now).await? {
                ended.push(Fact::ApiKeyRevoked { key: row.id });
            }
        }
        self.facts.tell(tx, &ended, about, now).await
    }
}
