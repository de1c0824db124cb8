//! Password hashes, and the account they open.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, On, Tx, query},
};
use uuid::Uuid;

/// What a login is checked against.
pub(crate) struct Credentials {
    pub(crate) user: Uuid,
    pub(crate) phc: String,
    pub(crate) email_verified: bool,
}

/// Of the account with this address.
pub(crate) async fn credentials(db: &Db, email_index: &[u8]) -> Result<Option<Credentials>, Error> {
    let row = query(
        "SELECT p.user_id, p.phc, c.verified_at
         FROM contacts c JOIN passwords p ON p.user_id = c.user_id
         WHERE c.kind = 'email' AND c.value_index = $1",
    )
    .bind(email_index)
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Credentials {
        user: row.get(0)?,
        phc: row.get(1)?,
        email_verified: row.get::<Option<UnixMicros>>(2)?.is_some(),
    }))
}

pub(crate) async fn phc(on: impl Into<On<'_>>, user: Uuid) -> Result<Option<String>, Error> {
    let row = query("SELECT phc FROM passwords WHERE user_id = $1")
        .bind(user)
        .fetch_optional(on)
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// Is this still the account's hash? It may have changed while it was checked; if it is,
/// it stays so until the transaction ends.
pub(crate) async fn still(tx: &mut Tx, user: Uuid, phc: &str) -> Result<bool, Error> {
    let found = query("SELECT 1 FROM passwords WHERE user_id = $1 AND phc = $2 {for_update}")
        .bind(user)
        .bind(phc)
        .fetch_optional(&mut *tx)
        .await?;
    Ok(found.is_some())
}

pub(crate) async fn put(tx: &mut Tx, user: Uuid, phc: &str, now: UnixMicros) -> Result<(), Error> {
    query(
        "INSERT INTO passwords (user_id, phc, changed_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET phc = excluded.phc, changed_at = excluded.changed_at",
    )
    .bind(user)
    .bind(phc)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

/// The same password under another hash: not a change of it.
pub(crate) async fn rehash(tx: &mut Tx, user: Uuid, phc: &str) -> Result<(), Error> {
    query("UPDATE passwords SET phc = $2 WHERE user_id = $1")
        .bind(user)
        .bind(phc)
        .execute(tx)
        .await?;
    Ok(())
}
