//! Giving roles and taking them back.

use std::collections::BTreeSet;

use core_platform::{audit::Actor, clock::UnixMicros, token::Caller};
use uuid::Uuid;

use super::{Administration, require_another_admin};
use crate::{
    contacts::{Contact, Kind},
    error::Error,
    facts::{About, Fact},
    roles::{ADMIN, USER},
    store::{contacts, roles, users},
};

/// What the contract asks of who gives.
const GIVES: &str = "roles:write";

impl Administration {
    /// Gives a user a role; one they have stays.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no role, [`Error::BeyondOwnRights`], [`Error::NoSuchUser`],
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn grant(
        &self,
        caller: &Caller,
        user: Uuid,
        role: &str,
        now: UnixMicros,
    ) -> Result<(), Error> {
        self.sessions.require_live(caller, now).await?;
        self.require_rights(caller, role).await?;
        self.give(user, role, Actor::User(caller.user), now).await
    }

    /// Gives a role to the user with this address, at an operator's word: how the first
    /// administrator comes to be.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no role, [`Error::NoSuchUser`], or the database.
    pub(crate) async fn appoint(
        &self,
        email: &str,
        role: &str,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let index = self.codes.index(&Contact::email(email));
        let owner = contacts::owner(&self.db, Kind::Email, &index).await?;
        let owner = owner.ok_or(Error::NoSuchUser)?;
        self.permissions(role)?;
        self.give(owner.user, role, Actor::Operator, now).await
    }

    async fn give(&self, user: Uuid, role: &str, by: Actor, now: UnixMicros) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        if users::lock(&mut tx, user).await?.is_none() {
            return Err(Error::NoSuchUser);
        }
        if !roles::grant(&mut tx, user, role, now).await? {
            return Ok(());
        }
        let fact = Fact::RoleGranted {
            role: role.to_owned(),
            by,
        };
        self.facts
            .tell(&mut tx, &[fact], &About::to(user), now)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes a role back.
    ///
    /// # Errors
    /// [`Error::LastAdmin`], [`Error::BeyondOwnRights`], [`Error::NoSuchUser`],
    /// [`Error::Invalid`] for no role, [`Error::SessionEnded`], or the database.
    pub(crate) async fn take(
        &self,
        caller: &Caller,
        user: Uuid,
        role: &str,
        now: UnixMicros,
    ) -> Result<(), Error> {
        self.sessions.require_live(caller, now).await?;
        self.require_rights(caller, role).await?;
        let mut tx = self.db.begin().await?;
        if users::lock(&mut tx, user).await?.is_none() {
            return Err(Error::NoSuchUser);
        }
        if role == ADMIN {
            require_another_admin(&mut tx, user).await?;
        }
        if !roles::revoke(&mut tx, user, role).await? {
            return Ok(());
        }
        let fact = Fact::RoleRevoked {
            role: role.to_owned(),
            by: Actor::User(caller.user),
        };
        self.facts
            .tell(&mut tx, &[fact], &About::to(user), now)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The caller's rights as they are now, not as the token says: a role that was taken
    /// away must not be given on.
    async fn require_rights(&self, caller: &Caller, role: &str) -> Result<(), Error> {
        let asked = self.permissions(role)?;
        let own = self.sessions.roles.rights(&self.db, caller.user).await?;
        if own.permissions.contains(GIVES) && asked.is_subset(&own.permissions) {
            Ok(())
        } else {
            Err(Error::BeyondOwnRights)
        }
    }

    /// Of a role that can be given: everybody has `user` already.
    fn permissions(&self, role: &str) -> Result<BTreeSet<String>, Error> {
        let known = self.sessions.roles.permissions(role);
        let known = known.filter(|_| role != USER);
        known.ok_or(Error::Invalid("role", "is none that can be given"))
    }
}
