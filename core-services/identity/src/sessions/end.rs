//! Ending sessions.
//! Invariant: the one place where a session ends before its time; whoever has to hear
//! of it hears of it here.

use core_platform::{clock::UnixMicros, db::Tx, token::Caller};
use uuid::Uuid;

use super::Sessions;
use crate::{
    counters::Event,
    error::Error,
    facts::{About, Fact},
    store::{sessions, tickets},
};

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Logout,
    Revoked,
    PasswordChanged,
    PasswordReset,
    /// From now on one is wanted.
    SecondFactor,
    TokenReuse,
    Limit,
    Suspended,
    AccountClosed,
}

impl Reason {
    /// As the database and events write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Revoked => "revoked",
            Self::PasswordChanged => "password_changed",
            Self::PasswordReset => "password_reset",
            Self::SecondFactor => "second_factor",
            Self::TokenReuse => "token_reuse",
            Self::Limit => "limit",
            Self::Suspended => "suspended",
            Self::AccountClosed => "account_closed",
        }
    }
}

impl Sessions {
    /// Ends those of a user's sessions that are alive. Returns how many were. The last
    /// thing before a commit.
    pub(crate) async fn end(
        &self,
        tx: &mut Tx,
        user: Uuid,
        ended: &[Uuid],
        reason: Reason,
        now: UnixMicros,
    ) -> Result<usize, Error> {
        let mut facts = Vec::new();
        for &session in ended {
            if sessions::revoke(tx, user, session, reason.name(), now).await? {
                facts.push(Fact::SessionRevoked { session, reason });
            }
        }
        let about = About {
            user: Some(user),
            // Nobody knows who used a token twice, and a suspension is another's deed.
            proved: !matches!(reason, Reason::TokenReuse | Reason::Suspended),
            network: "",
        };
        self.facts.tell(tx, &facts, &about, now).await?;
        Ok(facts.len())
    }

    /// Ends all sessions of a user but `keep`.
    pub(crate) async fn end_others(
        &self,
        tx: &mut Tx,
        user: Uuid,
        keep: Option<Uuid>,
        reason: Reason,
        now: UnixMicros,
    ) -> Result<usize, Error> {
        // A sign-in that waits for its second factor is as good as a session. First, as one
        // that is being completed holds its ticket until its session can be seen.
        tickets::void(tx, user).await?;
        let live = sessions::live(&mut *tx, user, now).await?;
        let ended: Vec<_> = live
            .iter()
            .map(|row| row.id)
            .filter(|id| Some(*id) != keep)
            .collect();
        self.end(tx, user, &ended, reason, now).await
    }

    /// Ends the caller's session.
    ///
    /// # Errors
    /// [`Error::SessionEnded`] if it had ended, or the database.
    pub(crate) async fn logout(&self, caller: &Caller, now: UnixMicros) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let own = [caller.session];
        if self
            .end(&mut tx, caller.user, &own, Reason::Logout, now)
            .await?
            == 0
        {
            return Err(Error::SessionEnded);
        }
        tx.commit().await?;
        self.counters.count(Event::LoggedOut);
        Ok(())
    }

    /// Ends one of the caller's sessions.
    ///
    /// # Errors
    /// [`Error::NoSuchSession`] for another's as for one that ended, or the database.
    pub(crate) async fn revoke(
        &self,
        caller: &Caller,
        session: Uuid,
        now: UnixMicros,
    ) -> Result<(), Error> {
        self.require_live(caller, now).await?;
        let mut tx = self.db.begin().await?;
        if self
            .end(&mut tx, caller.user, &[session], Reason::Revoked, now)
            .await?
            == 0
        {
            return Err(Error::NoSuchSession);
        }
        tx.commit().await?;
        Ok(())
    }

    /// Ends all of the caller's sessions, or all others.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn revoke_all(
        &self,
        caller: &Caller,
        keep_current: bool,
        now: UnixMicros,
    ) -> Result<(), Error> {
        self.require_live(caller, now).await?;
        let mut tx = self.db.begin().await?;
        let keep = keep_current.then_some(caller.session);
        self.end_others(&mut tx, caller.user, keep, Reason::Revoked, now)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}
