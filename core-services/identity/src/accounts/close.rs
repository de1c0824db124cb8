//! Closing an account, and what is left of it when the time of grace is over: nothing.
//! Invariant: what was sealed for the user can't be read once the data key is gone, in
//! backups neither; the rows go with the user's. What others keep is the id alone.
//! Refuses to guess: who signs in before the time is over keeps the account.

use std::sync::Arc;

use core_platform::{
    clock::UnixMicros,
    db::Tx,
    jobs::{Failure, Job, JobContext},
    token::Caller,
};
use tonic::async_trait;
use uuid::Uuid;

use super::Accounts;
use crate::{
    administration::require_another_admin,
    contacts::Kind,
    counters::Event,
    error::Error,
    facts::{About, Fact},
    messages::{self, Message, NEWS_LIFETIME, Template},
    sessions::Reason,
    store::users,
};

/// Users that are looked up at once.
const BATCH_MAX: i64 = 100;
const DAY_SECONDS: u64 = 24 * 3600;

impl Accounts {
    /// Ends all sessions and says when everything goes.
    ///
    /// # Errors
    /// [`Error::LastAdmin`], [`Error::SessionEnded`], or the database.
    pub(crate) async fn close(
        &self,
        caller: &Caller,
        now: UnixMicros,
    ) -> Result<UnixMicros, Error> {
        self.sessions.require_live(caller, now).await?;
        let user = caller.user;
        let delete_at = now + self.policy.deletion_grace;
        let mut tx = self.db.begin().await?;
        if users::standing(&mut tx, user).await?.is_none() {
            return Err(Error::SessionEnded);
        }
        require_another_admin(&mut tx, user).await?;
        users::set_deletion(&mut tx, user, Some(delete_at)).await?;
        self.tell_how_to_stay(&mut tx, user, now).await?;
        self.sessions
            .end_others(&mut tx, user, None, Reason::AccountClosed, now)
            .await?;
        let fact = Fact::DeletionRequested { delete_at };
        self.facts
            .tell(&mut tx, &[fact], &About::by(user), now)
            .await?;
        tx.commit().await?;
        self.counters.count(Event::AccountClosed);
        Ok(delete_at)
    }

    /// It may have been a thief.
    async fn tell_how_to_stay(
        &self,
        tx: &mut Tx,
        user: Uuid,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let Some(email) = self.contact_of(tx, user, Kind::Email).await? else {
            return Ok(());
        };
        let key = self.vault.key(&mut *tx, user).await?;
        let days = self.policy.deletion_grace.as_secs() / DAY_SECONDS;
        let until = now + NEWS_LIFETIME;
        let message = Message::new(Some(email), Template::AccountClosed, until)
            .value("days", days.to_string());
        messages::post(tx, &key, &message, now).await
    }

    /// Forgets a user whose time has come; does nothing if they stayed meanwhile.
    async fn forget(&self, context: &JobContext, user: Uuid) -> Result<(), Failure> {
        let mut tx = context.begin().await?;
        let standing = users::standing(&mut tx, user).await?;
        let due = standing.and_then(|standing| standing.delete_at);
        if due.is_none_or(|at| at > context.now) {
            return Ok(());
        }
        let shredded = self.vault.shred(&mut tx, user, context.now).await;
        shredded.map_err(Error::from)?;
        users::remove(&mut tx, user).await?;
        self.facts
            .tell(&mut tx, &[Fact::Deleted], &About::to(user), context.now)
            .await?;
        tx.commit().await?;
        self.vault.forget(user);
        self.recent.forget(user).await;
        self.counters.count(Event::AccountDeleted);
        Ok(())
    }
}

/// The job that forgets.
pub(crate) struct Deletion(pub(crate) Arc<Accounts>);

impl Deletion {
    pub(crate) const KIND: &'static str = "identity.delete-accounts";
    pub(crate) const SCHEDULE: &'static str = "*/10 * * * *";
}

#[async_trait]
impl Job for Deletion {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        loop {
            let due = users::due(&context.db, context.now, BATCH_MAX).await?;
            if due.is_empty() {
                return Ok(());
            }
            for user in due {
                if context.cancelled.is_cancelled() {
                    return Err(Failure::retry("the process stops"));
                }
                self.0.forget(context, user).await?;
            }
        }
    }
}
