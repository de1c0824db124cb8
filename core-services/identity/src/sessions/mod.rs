//! Sessions: opened by whoever has proved who they are, ended in one place.
//! Invariant: a session's tokens are one line of which at most one is unused; every
//! session that ends passes through `Sessions::end`, which tells the others.
//! Refuses to judge a password or a code: a session is opened for a proof that was made.

mod end;
mod open;
mod refresh;
pub(crate) mod token;

use std::time::Duration;

use core_platform::{
    clock::UnixMicros,
    crypto::{Field, Vault},
    db::Db,
    token::{Caller, Kind},
};
use uuid::Uuid;

use crate::{
    counters::Counters,
    error::Error,
    facts::Facts,
    keys::{ACCESS_LIFETIME, Grant, Signer},
    roles::Roles,
    store::{api_keys, sessions},
};

pub(crate) use end::Reason;
pub(crate) use open::NewSession;
#[cfg(test)]
pub(crate) use refresh::GRACE;

/// A session ends then, however busy it is; the password is asked for again.
pub(crate) const SESSION_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// A refresh token that was not used for this long dies.
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_secs(14 * 24 * 3600);
/// One person's browsers and devices; opening one more ends the oldest.
pub(crate) const SESSIONS_PER_USER_MAX: usize = 64;
/// Ended sessions are kept for so long: they know the user's devices.
const ENDED_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

pub(crate) const DEVICE: Field = Field::new("sessions.device");

/// A pair of tokens. No `Debug`: both are secrets.
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    /// Of the access token, in seconds.
    pub(crate) expires_in: i32,
}

/// One session, as its owner may see it.
pub(crate) struct Session {
    pub(crate) id: Uuid,
    pub(crate) device: String,
    pub(crate) network: String,
    pub(crate) amr: Vec<String>,
    pub(crate) created_at: UnixMicros,
    pub(crate) last_seen_at: UnixMicros,
    pub(crate) expires_at: UnixMicros,
}

/// The sessions of all users.
#[derive(Clone)]
pub(crate) struct Sessions {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) signer: Signer,
    pub(crate) roles: Roles,
    pub(crate) facts: Facts,
    pub(crate) counters: Counters,
}

impl Sessions {
    /// The caller's live sessions, the newest first.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        now: UnixMicros,
    ) -> Result<Vec<Session>, Error> {
        let rows = sessions::live(&self.db, caller.user, now).await?;
        if !rows.iter().any(|row| row.id == caller.session) {
            return Err(Error::SessionEnded);
        }
        let key = self.vault.key(&self.db, caller.user).await?;
        rows.into_iter()
            .map(|row| {
                Ok(Session {
                    id: row.id,
                    device: key.open_text(DEVICE, &row.device)?,
                    network: row.network,
                    amr: row.amr.split_whitespace().map(str::to_owned).collect(),
                    created_at: row.created_at,
                    last_seen_at: row.last_seen_at,
                    expires_at: row.expires_at,
                })
            })
            .collect()
    }

    /// Refuses callers whose session or key has ended: their access token may live on for
    /// minutes.
    pub(crate) async fn require_live(&self, caller: &Caller, now: UnixMicros) -> Result<(), Error> {
        self.profile_version(caller, now).await.map(|_| ())
    }

    /// The same, and what version their profile has: one statement tells both.
    pub(crate) async fn profile_version(
        &self,
        caller: &Caller,
        now: UnixMicros,
    ) -> Result<i64, Error> {
        let (db, user, id) = (&self.db, caller.user, caller.session);
        let version = match caller.kind {
            Kind::User => sessions::profile_version(db, user, id, now).await?,
            Kind::ApiKey => {
                let key = api_keys::live(db, id, now).await?;
                let key = key.filter(|key| key.user == user);
                key.map(|key| key.profile_version)
            }
        };
        version.ok_or(Error::SessionEnded)
    }

    fn tokens(&self, grant: &Grant<'_>, refresh: String, now: UnixMicros) -> Result<Tokens, Error> {
        Ok(Tokens {
            access: self.signer.sign(grant, now)?,
            refresh,
            expires_in: i32::try_from(ACCESS_LIFETIME.as_secs()).unwrap_or(i32::MAX),
        })
    }
}
