//! Identities at other providers, linked to accounts.
//! Invariant: a link is made in the transaction that opens a session, after the second factor
//! where the account wants one: an address alone adds nothing to such an account.
//! Refuses a second identity of one provider: addresses are given to other people.

use core_platform::{clock::UnixMicros, crypto::SubjectKey, db::Tx};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Credentials, Kind, NAME};
use crate::{
    error::Error,
    store::{
        credentials::{self as rows, CredentialRow, NewRow},
        users,
    },
};

/// A link to be made. No `Debug`: it is personal.
#[derive(Serialize, Deserialize)]
pub(crate) struct Link {
    /// Its name in the policy.
    pub(crate) provider: String,
    /// What the identity is found by.
    pub(crate) lookup: Vec<u8>,
    /// The address that the provider has verified.
    pub(crate) email: String,
}

impl Credentials {
    /// `Taken` if the identity opens an account meanwhile.
    ///
    /// # Errors
    /// [`Error::OidcSignInFirst`] where the provider's other identity is linked, or the
    /// database.
    pub(super) async fn link(
        &self,
        tx: &mut Tx,
        key: &SubjectKey,
        link: &Link,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let user = key.subject();
        users::lock(&mut *tx, user).await?;
        let found = rows::of_user(&mut *tx, user).await?;
        if is_linked(&found, &link.provider) {
            return Err(Error::OidcSignInFirst);
        }
        let row = NewRow {
            id: Uuid::now_v7(),
            user,
            kind: Kind::Oidc.name(),
            name: &key.seal(NAME, link.email.as_bytes())?,
            provider: &link.provider,
            secret: None,
            lookup: Some(link.lookup.clone()),
            confirmed_at: Some(now),
        };
        Ok(rows::insert(tx, &row, now).await?)
    }
}

fn is_linked(found: &[CredentialRow], provider: &str) -> bool {
    let mut links = found.iter().filter(|row| row.kind == Kind::Oidc.name());
    links.any(|row| row.provider == provider)
}
