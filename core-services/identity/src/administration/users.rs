//! Finding users, and keeping them out.

use std::collections::HashMap;

use core_platform::{audit::Actor, clock::UnixMicros, token::Caller};
use uuid::Uuid;

use super::{Administration, require_another_admin};
use crate::{
    contacts::{Contact, Kind},
    error::Error,
    facts::{About, Fact},
    profiles::{CONTACT, Verifiable},
    sessions::Reason,
    store::{
        contacts, roles,
        users::{self, ListedRow},
    },
};

/// A user as administrators see them. No `Debug`: it is personal.
pub(crate) struct Listed {
    pub(crate) user: ListedRow,
    pub(crate) email: Option<Verifiable>,
    pub(crate) roles: Vec<String>,
}

impl Administration {
    /// At most `limit` users, newest first, from `after` on; or the one with this address.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn users(
        &self,
        caller: &Caller,
        email: Option<&str>,
        after: Option<Uuid>,
        limit: i64,
        now: UnixMicros,
    ) -> Result<Vec<Listed>, Error> {
        self.sessions.require_live(caller, now).await?;
        let only = match email {
            None => None,
            Some(email) => {
                let index = self.codes.index(&Contact::email(email));
                match contacts::owner(&self.db, Kind::Email, &index).await? {
                    Some(owner) => Some(owner.user),
                    None => return Ok(Vec::new()),
                }
            }
        };
        let rows = users::page(&self.db, only, after, limit).await?;
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let mut emails = self.emails(&ids).await?;
        let mut granted: HashMap<Uuid, Vec<String>> = HashMap::new();
        for (user, role) in roles::of_users(&self.db, ids).await? {
            granted.entry(user).or_default().push(role);
        }
        let listed = rows.into_iter().map(|user| Listed {
            email: emails.remove(&user.id),
            roles: granted.remove(&user.id).unwrap_or_default(),
            user,
        });
        Ok(listed.collect())
    }

    async fn emails(&self, users: &[Uuid]) -> Result<HashMap<Uuid, Verifiable>, Error> {
        let keys = self.vault.keys(&self.db, users).await?;
        let mut opened = HashMap::with_capacity(users.len());
        for row in contacts::emails(&self.db, users.to_vec()).await? {
            // Without a key the user was deleted this moment.
            if let Some(key) = keys.get(&row.user) {
                let email = Verifiable {
                    value: key.open_text(CONTACT, &row.value)?,
                    verified: row.verified_at.is_some(),
                };
                opened.insert(row.user, email);
            }
        }
        Ok(opened)
    }

    /// Keeps a user out: all sessions and keys are dead at once.
    ///
    /// # Errors
    /// [`Error::LastAdmin`], [`Error::NoSuchUser`], [`Error::SessionEnded`], or the database.
    pub(crate) async fn suspend(
        &self,
        caller: &Caller,
        user: Uuid,
        now: UnixMicros,
    ) -> Result<(), Error> {
        self.sessions.require_live(caller, now).await?;
        let mut tx = self.db.begin().await?;
        let standing = users::standing(&mut tx, user).await?;
        if standing.ok_or(Error::NoSuchUser)?.suspended_at.is_some() {
            return Ok(());
        }
        require_another_admin(&mut tx, user).await?;
        users::set_suspended(&mut tx, user, Some(now)).await?;
        self.sessions
            .end_others(&mut tx, user, None, Reason::Suspended, now)
            .await?;
        let fact = Fact::Suspended {
            by: Actor::User(caller.user),
        };
        self.facts
            .tell(&mut tx, &[fact], &About::to(user), now)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Lets a user in again.
    ///
    /// # Errors
    /// [`Error::NoSuchUser`], [`Error::SessionEnded`], or the database.
    pub(crate) async fn reinstate(
        &self,
        caller: &Caller,
        user: Uuid,
        now: UnixMicros,
    ) -> Result<(), Error> {
        self.sessions.require_live(caller, now).await?;
        let mut tx = self.db.begin().await?;
        let standing = users::standing(&mut tx, user).await?;
        if standing.ok_or(Error::NoSuchUser)?.suspended_at.is_none() {
            return Ok(());
        }
        users::set_suspended(&mut tx, user, None).await?;
        let fact = Fact::Reinstated {
            by: Actor::User(caller.user),
        };
        self.facts
            .tell(&mut tx, &[fact], &About::to(user), now)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}
