//! The rules: who may sign in, what a session is, when it ends.
//! Invariant: a refresh token works once; its second use ends its whole
//! session, live descendants included, before anything is answered.
//! Refuses a clock: `now` comes in.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Tx},
    metrics::Metrics,
    token::{Caller, Verifier},
};
use uuid::Uuid;

use crate::{
    StartError,
    counters::{Counters, Event},
    error::Error,
    keys::{ACCESS_LIFETIME, Jwk, Signer, StoredKey, TokenSettings},
    password::{Against, Hasher},
    refresh::{RefreshToken, SESSION_LIFETIME, SESSIONS_PER_USER_MAX, TOKEN_LIFETIME},
    store::{self, NewUser, ProfileChange, TokenRow, User},
};

/// Accounts and their sessions.
pub struct Accounts {
    db: Db,
    hasher: Hasher,
    signer: Signer,
    counters: Counters,
}

/// A pair of tokens. No `Debug`: both are secrets.
pub struct Tokens {
    pub access: String,
    pub refresh: String,
    /// Of the access token, in seconds.
    pub expires_in: i32,
}

impl Accounts {
    pub(crate) async fn start(
        db: Db,
        settings: &TokenSettings,
        metrics: &Metrics,
        now: UnixMicros,
    ) -> Result<Self, StartError> {
        let keys = store::signing_keys(&db, StoredKey::generate, now).await?;
        Ok(Self {
            db,
            hasher: Hasher::new(metrics)?,
            signer: Signer::new(settings, &keys)?,
            counters: Counters::new(metrics)?,
        })
    }

    pub(crate) fn verifier(&self) -> Verifier {
        self.signer.verifier()
    }

    pub(crate) fn jwks(&self) -> Vec<Jwk> {
        self.signer.jwks()
    }

    pub(crate) fn jwks_json(&self) -> String {
        serde_json::json!({ "keys": self.jwks() }).to_string()
    }

    /// Opens an account, unless the address has one: the caller can't tell.
    ///
    /// # Errors
    /// A full queue or the database.
    pub async fn register(
        &self,
        email: &str,
        password: String,
        name: &str,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let password_hash = self.hasher.hash(password).await?;
        let email = normal(email);
        let new = NewUser {
            email: &email,
            name,
            password_hash: &password_hash,
        };
        let mut tx = self.db.begin().await?;
        let is_new = store::upsert_user(&mut tx, &new, now).await?;
        tx.commit().await?;
        self.counters.count(if is_new {
            Event::Registered
        } else {
            Event::RegisteredAgain
        });
        Ok(())
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`Error::BadCredentials`], a full queue, or the database.
    pub async fn login(
        &self,
        email: &str,
        password: String,
        now: UnixMicros,
    ) -> Result<Tokens, Error> {
        let found = store::credentials(&self.db, &normal(email)).await?;
        let against = found.as_ref().map_or(Against::Dummy, |(_, stored)| {
            Against::Stored(stored.clone())
        });
        let right = self.hasher.verify(password, against).await?;
        let Some((user, stored)) = found.filter(|_| right) else {
            self.counters.count(Event::LoginFailed);
            return Err(Error::BadCredentials);
        };
        let mut tx = self.db.begin().await?;
        // A password change that ended "all other sessions" meanwhile must not miss this one.
        if !store::has_password_hash(&mut tx, user, &stored).await? {
            self.counters.count(Event::LoginFailed);
            return Err(Error::BadCredentials);
        }
        let expires_at = now + SESSION_LIFETIME;
        let keep = SESSIONS_PER_USER_MAX - 1;
        let session = store::open_session(&mut tx, user, now, expires_at, keep).await?;
        let tokens = self.issue(&mut tx, user, session, now).await?;
        tx.commit().await?;
        self.counters.count(Event::LoggedIn);
        Ok(tokens)
    }

    /// Trades a refresh token for a new pair.
    ///
    /// # Errors
    /// [`Error::BadRefreshToken`] for every kind of bad one, or the database.
    pub async fn refresh(&self, text: &str, now: UnixMicros) -> Result<Tokens, Error> {
        let traded = self.trade(text, now).await;
        let event = match &traded {
            Ok(_) => Event::Refreshed,
            Err(_) => Event::RefreshFailed,
        };
        self.counters.count(event);
        traded
    }

    async fn trade(&self, text: &str, now: UnixMicros) -> Result<Tokens, Error> {
        let token = RefreshToken::parse(text).ok_or(Error::BadRefreshToken)?;
        // Made-up tokens end here: they must not keep the one writer from its work.
        let seen = store::token(&self.db, token.id).await?;
        let seen = seen.ok_or(Error::BadRefreshToken)?;
        if judge(&seen, &token, now) == Verdict::Bad {
            return Err(Error::BadRefreshToken);
        }
        // Once more under the lock, as another call may have used it since.
        let mut tx = self.db.begin().await?;
        let row = store::token(&mut tx, token.id).await?;
        let row = row.ok_or(Error::BadRefreshToken)?;
        match judge(&row, &token, now) {
            Verdict::Bad => Err(Error::BadRefreshToken),
            Verdict::Reused => {
                store::revoke_session(&mut tx, row.user, row.session, now).await?;
                tx.commit().await?;
                self.counters.count(Event::RefreshReused);
                tracing::warn!(session = %row.session, user = %row.user, "refresh token reused: session ended");
                Err(Error::BadRefreshToken)
            }
            Verdict::Good => {
                store::use_token(&mut tx, token.id, row.session, now).await?;
                let tokens = self.issue(&mut tx, row.user, row.session, now).await?;
                tx.commit().await?;
                Ok(tokens)
            }
        }
    }

    /// Ends the caller's session.
    ///
    /// # Errors
    /// [`Error::SessionEnded`] if it had ended, or the database.
    pub async fn logout(&self, caller: &Caller, now: UnixMicros) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        if !store::revoke_session(&mut tx, caller.user, caller.session, now).await? {
            return Err(Error::SessionEnded);
        }
        tx.commit().await?;
        self.counters.count(Event::LoggedOut);
        Ok(())
    }

    /// Replaces the password and ends the caller's other sessions.
    ///
    /// # Errors
    /// [`Error::WrongPassword`], [`Error::SamePassword`], [`Error::SessionEnded`],
    /// a full queue, or the database.
    pub async fn change_password(
        &self,
        caller: &Caller,
        current: String,
        new: String,
        now: UnixMicros,
    ) -> Result<(), Error> {
        // Before the hashing: a token of an ended session buys no work.
        if !store::is_live(&self.db, caller.user, caller.session, now).await? {
            return Err(Error::SessionEnded);
        }
        let same = current == new;
        let stored = store::password_hash(&self.db, caller.user)
            .await?
            .ok_or(Error::SessionEnded)?;
        if !self
            .hasher
            .verify(current, Against::Stored(stored.clone()))
            .await?
        {
            return Err(Error::WrongPassword);
        }
        if same {
            return Err(Error::SamePassword);
        }
        let hash = self.hasher.hash(new).await?;
        let mut tx = self.db.begin().await?;
        // Two changes at once: the second one's "current password" is history.
        if !store::has_password_hash(&mut tx, caller.user, &stored).await? {
            return Err(Error::WrongPassword);
        }
        if !store::revoke_other_sessions(&mut tx, caller.user, caller.session, now).await? {
            return Err(Error::SessionEnded);
        }
        store::set_password_hash(&mut tx, caller.user, &hash, now).await?;
        tx.commit().await?;
        self.counters.count(Event::PasswordChanged);
        Ok(())
    }

    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub async fn profile(&self, caller: &Caller, now: UnixMicros) -> Result<User, Error> {
        store::user_of_session(&self.db, caller.user, caller.session, now)
            .await?
            .ok_or(Error::SessionEnded)
    }

    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub async fn update_profile(
        &self,
        caller: &Caller,
        change: &ProfileChange,
        now: UnixMicros,
    ) -> Result<User, Error> {
        let mut tx = self.db.begin().await?;
        let user = store::update_user_of_session(&mut tx, caller.user, caller.session, change, now)
            .await?
            .ok_or(Error::SessionEnded)?;
        tx.commit().await?;
        Ok(user)
    }

    async fn issue(
        &self,
        tx: &mut Tx,
        user: Uuid,
        session: Uuid,
        now: UnixMicros,
    ) -> Result<Tokens, Error> {
        let refresh = RefreshToken::generate()?;
        let expires_at = now + TOKEN_LIFETIME;
        store::insert_token(tx, refresh.id, session, &refresh.hash(), now, expires_at).await?;
        Ok(Tokens {
            access: self.signer.sign(user, session, now)?,
            refresh: refresh.text(),
            expires_in: i32::try_from(ACCESS_LIFETIME.as_secs()).unwrap_or(i32::MAX),
        })
    }
}

/// Addresses are compared without regard to case. RFC 5321 section 2.4 leaves the
/// local part to the receiver, but no large one tells `Ada@` from `ada@`, and two
/// accounts that differ only in case would be a trap. The input rules admit ASCII only
/// and no blanks, so there is nothing else to fold.
fn normal(email: &str) -> String {
    email.to_ascii_lowercase()
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
    Reused,
}

/// The secret first: a guessed id must not end anyone's session.
fn judge(row: &TokenRow, token: &RefreshToken, now: UnixMicros) -> Verdict {
    let dead = row.session_revoked_at.is_some() || row.session_expires_at <= now;
    if !token.matches(&row.secret_hash) || dead {
        Verdict::Bad
    } else if row.used_at.is_some() {
        Verdict::Reused
    } else if row.expires_at <= now {
        Verdict::Bad
    } else {
        Verdict::Good
    }
}

#[cfg(test)]
mod tests;
