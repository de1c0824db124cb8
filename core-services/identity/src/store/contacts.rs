//! Addresses and numbers: found by their blind index, kept sealed.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, On, Tx, query},
};
use uuid::Uuid;

use crate::contacts::Kind;

/// A contact; `value` is sealed.
pub(crate) struct ContactRow {
    pub(crate) user: Uuid,
    pub(crate) kind: String,
    pub(crate) value: Vec<u8>,
    pub(crate) verified_at: Option<UnixMicros>,
}

pub(crate) struct NewContact<'a> {
    pub(crate) user: Uuid,
    pub(crate) kind: Kind,
    pub(crate) value: &'a [u8],
    pub(crate) index: &'a [u8],
    pub(crate) verified_at: Option<UnixMicros>,
}

/// Sets a user's contact of its kind; `Taken` if it is another's.
pub(crate) async fn put(tx: &mut Tx, new: &NewContact<'_>) -> Result<(), Error> {
    query(
        "INSERT INTO contacts (user_id, kind, value, value_index, verified_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (user_id, kind) DO UPDATE SET
             value = excluded.value,
             value_index = excluded.value_index,
             verified_at = excluded.verified_at",
    )
    .bind(new.user)
    .bind(new.kind.name())
    .bind(new.value)
    .bind(new.index)
    .bind(new.verified_at)
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn remove(tx: &mut Tx, user: Uuid, kind: Kind) -> Result<bool, Error> {
    let done = query("DELETE FROM contacts WHERE user_id = $1 AND kind = $2")
        .bind(user)
        .bind(kind.name())
        .execute(tx)
        .await?;
    Ok(done > 0)
}

/// Of one user: at most one of each kind.
pub(crate) async fn of_user(on: impl Into<On<'_>>, user: Uuid) -> Result<Vec<ContactRow>, Error> {
    let rows = query("SELECT user_id, kind, value, verified_at FROM contacts WHERE user_id = $1")
        .bind(user)
        .fetch_all(on)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(ContactRow {
                user: row.get(0)?,
                kind: row.get(1)?,
                value: row.get(2)?,
                verified_at: row.get(3)?,
            })
        })
        .collect()
}

/// The addresses of these users; a page of them at most.
pub(crate) async fn emails(db: &Db, users: Vec<Uuid>) -> Result<Vec<ContactRow>, Error> {
    let rows = query(
        "SELECT user_id, kind, value, verified_at FROM contacts
         WHERE user_id {any_uuid:$1} AND kind = 'email'",
    )
    .bind(users)
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(ContactRow {
                user: row.get(0)?,
                kind: row.get(1)?,
                value: row.get(2)?,
                verified_at: row.get(3)?,
            })
        })
        .collect()
}

/// Whose it is: an address's only user, or a number's, the one who proved it first.
pub(crate) async fn owner(
    on: impl Into<On<'_>>,
    kind: Kind,
    index: &[u8],
) -> Result<Option<ContactRow>, Error> {
    let row = query(
        "SELECT user_id, kind, value, verified_at FROM contacts
         WHERE kind = $1 AND value_index = $2
         ORDER BY verified_at IS NULL, user_id LIMIT 1",
    )
    .bind(kind.name())
    .bind(index)
    .fetch_optional(on)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(ContactRow {
        user: row.get(0)?,
        kind: row.get(1)?,
        value: row.get(2)?,
        verified_at: row.get(3)?,
    }))
}

/// Marks it as proved, if it still is what the code was sent to. `Taken` if another
/// user has proved the same number meanwhile.
pub(crate) async fn verify(
    tx: &mut Tx,
    user: Uuid,
    kind: Kind,
    index: &[u8],
    now: UnixMicros,
) -> Result<bool, Error> {
    let done = query(
        "UPDATE contacts SET verified_at = COALESCE(verified_at, $4)
         WHERE user_id = $1 AND kind = $2 AND value_index = $3",
    )
    .bind(user)
    .bind(kind.name())
    .bind(index)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(done > 0)
}
