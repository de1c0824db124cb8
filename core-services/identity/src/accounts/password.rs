//! Replacing a password: with the old one, or with a code.

use core_platform::{clock::UnixMicros, token::Caller};

use super::{Accounts, Receiver, login};
use crate::{
    contacts::{Contact, Kind, Purpose},
    counters::Event,
    error::Error,
    facts::{About, Fact},
    messages::Template,
    origin::Origin,
    password::Against,
    sessions::Reason,
    store::{attempts, contacts, passwords, users},
    throttle::{self, Throttle},
};

/// A stolen access token must not buy free guesses at the password.
const SCOPE: &str = "password";

/// What sets a new password without the old one.
pub(crate) struct Reset<'a> {
    pub(crate) email: &'a str,
    pub(crate) code: &'a str,
}

impl Accounts {
    /// Replaces the password and ends the caller's other sessions.
    ///
    /// # Errors
    /// [`Error::WrongPassword`], [`Error::SamePassword`], [`Error::Breached`],
    /// [`Error::Throttled`], [`Error::SessionEnded`], a full queue, or the database.
    pub(crate) async fn change_password(
        &self,
        caller: &Caller,
        current: String,
        new: String,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<(), Error> {
        // Before the hashing: a token of an ended session buys no work.
        self.sessions.require_live(caller, now).await?;
        if self.policy.breached.has(&new) {
            return Err(Error::Breached);
        }
        let throttle = Throttle {
            scope: SCOPE,
            account: caller.user.as_bytes(),
            network: &origin.network,
        };
        throttle.check(&self.db, now).await?;
        let same = current == new;
        let stored = passwords::phc(&self.db, caller.user).await?;
        let stored = stored.ok_or(Error::WrongPassword)?;
        let against = Against::Stored(stored.clone());
        if !self.hasher.verify(current, against).await? {
            let mut tx = self.db.begin().await?;
            throttle.fail(&mut tx, now).await?;
            tx.commit().await?;
            throttle::sweep(&self.db, now).await?;
            return Err(Error::WrongPassword);
        }
        if same {
            return Err(Error::SamePassword);
        }
        let phc = self.hasher.hash(new).await?;
        let mut tx = self.db.begin().await?;
        // Two changes at once: the second one's "current password" is history. From here
        // on logins wait, so that none slips between the change and the end of the sessions.
        if !passwords::still(&mut tx, caller.user, &stored).await? {
            return Err(Error::WrongPassword);
        }
        throttle.check_account(&mut tx, now).await?;
        passwords::put(&mut tx, caller.user, &phc, now).await?;
        attempts::clear(&mut tx, SCOPE, caller.user.as_bytes()).await?;
        self.notify(&mut tx, caller.user, Template::PasswordChanged, now)
            .await?;
        let keep = Some(caller.session);
        self.sessions
            .end_others(&mut tx, caller.user, keep, Reason::PasswordChanged, now)
            .await?;
        let about = About::by(caller.user).at(origin);
        self.facts
            .tell(&mut tx, &[Fact::PasswordChanged], &about, now)
            .await?;
        tx.commit().await?;
        self.counters.count(Event::PasswordChanged);
        Ok(())
    }

    /// Sends a code that sets a new password, if the address has an account: the caller
    /// can't tell.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn start_reset(&self, email: &str, now: UnixMicros) -> Result<(), Error> {
        let email = Contact::email(email);
        let index = self.codes.index(&email);
        let mut tx = self.db.begin().await?;
        let owner = contacts::owner(&mut tx, Kind::Email, &index).await?;
        let to = Receiver {
            user: owner.map(|row| row.user),
            contact: &email,
        };
        self.send_code(&mut tx, &to, Purpose::Reset, Template::PasswordReset, now)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Sets a new password and ends all sessions. The code also proves the address.
    ///
    /// # Errors
    /// [`Error::BadCode`], [`Error::Breached`], a full queue, or the database.
    pub(crate) async fn finish_reset(
        &self,
        reset: &Reset<'_>,
        new: String,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<(), Error> {
        if self.policy.breached.has(&new) {
            return Err(Error::Breached);
        }
        let email = Contact::email(reset.email);
        let index = self.codes.index(&email);
        // Before the code is looked at: hashing holds no transaction open, and a wrong
        // code costs as much as a right one.
        let phc = self.hasher.hash(new).await?;
        let mut tx = self.db.begin().await?;
        let purposes = [Purpose::Reset];
        let redeemed = self
            .codes
            .redeem(&mut tx, &email, &purposes, reset.code, now)
            .await?;
        let Some(redeemed) = redeemed else {
            tx.commit().await?;
            self.counters.count(Event::CodeWrong);
            return Err(Error::BadCode);
        };
        let user = redeemed.user;
        let owner = contacts::owner(&mut tx, Kind::Email, &index).await?;
        let is_first_proof = owner.is_some_and(|row| row.verified_at.is_none());
        if is_first_proof {
            users::touch(&mut tx, user, now).await?;
        }
        // The address may have become another account's since the code was sent.
        if !contacts::verify(&mut tx, user, Kind::Email, &index, now).await? {
            return Err(Error::BadCode);
        }
        passwords::put(&mut tx, user, &phc, now).await?;
        attempts::clear(&mut tx, login::SCOPE, &index).await?;
        attempts::clear(&mut tx, SCOPE, user.as_bytes()).await?;
        self.notify(&mut tx, user, Template::PasswordChanged, now)
            .await?;
        self.sessions
            .end_others(&mut tx, user, None, Reason::PasswordReset, now)
            .await?;
        let about = About::by(user).at(origin);
        if is_first_proof {
            self.api_keys.end_all(&mut tx, &about, now).await?;
            self.credentials.forget(&mut tx, &about, now).await?;
        }
        self.facts
            .tell(&mut tx, &[Fact::PasswordReset], &about, now)
            .await?;
        tx.commit().await?;
        if is_first_proof {
            self.recent.forget(user).await;
        }
        self.counters.count(Event::PasswordReset);
        Ok(())
    }
}
