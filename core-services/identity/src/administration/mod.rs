//! What administrators do: look, give roles, keep people out.
//! Invariant: each deed is in the audit log with who did it; somebody who can administer
//! is always left.
//! Refuses to give what the giver has not: a role never makes a stronger one.

mod grants;
mod users;

use std::collections::BTreeSet;

use core_platform::{
    audit::{Audit, Entry, Filter},
    clock::UnixMicros,
    crypto::Vault,
    db::{Db, Tx},
    token::Caller,
};
use uuid::Uuid;

use crate::{
    contacts::Codes, error::Error, facts::Facts, roles::ADMIN, sessions::Sessions, store::roles,
};

pub(crate) use users::Listed;

/// Administration.
pub(crate) struct Administration {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) codes: Codes,
    pub(crate) audit: Audit,
    pub(crate) sessions: Sessions,
    pub(crate) facts: Facts,
}

impl Administration {
    /// All roles, and what each may do.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn roles(
        &self,
        caller: &Caller,
        now: UnixMicros,
    ) -> Result<Vec<(String, BTreeSet<String>)>, Error> {
        self.sessions.require_live(caller, now).await?;
        Ok(self.sessions.roles.list())
    }

    /// Entries of the audit log, newest first.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn audit_events(
        &self,
        caller: &Caller,
        filter: &Filter,
        now: UnixMicros,
    ) -> Result<Vec<Entry>, Error> {
        self.sessions.require_live(caller, now).await?;
        Ok(self.audit.list(&self.db, filter).await?)
    }
}

/// Refuses to take away the last one who can administer.
pub(crate) async fn require_another_admin(tx: &mut Tx, user: Uuid) -> Result<(), Error> {
    roles::lock(tx, ADMIN).await?;
    let held = roles::of_user(&mut *tx, user).await?;
    let is_admin = held.iter().any(|role| role == ADMIN);
    if is_admin && roles::others(tx, ADMIN, user).await? == 0 {
        return Err(Error::LastAdmin);
    }
    Ok(())
}
