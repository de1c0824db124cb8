//! What users can prove themselves with besides the password; names and secrets are sealed.

use core_platform::{
    clock::UnixMicros,
    db::{Error, On, Row, Tx, query},
};
use uuid::Uuid;

pub(crate) struct CredentialRow {
    pub(crate) id: Uuid,
    pub(crate) user: Uuid,
    pub(crate) kind: String,
    pub(crate) name: Vec<u8>,
    pub(crate) provider: String,
    pub(crate) secret: Option<Vec<u8>>,
    pub(crate) created_at: UnixMicros,
    pub(crate) confirmed_at: Option<UnixMicros>,
    pub(crate) last_used_at: Option<UnixMicros>,
}

pub(crate) struct NewRow<'a> {
    pub(crate) id: Uuid,
    pub(crate) user: Uuid,
    pub(crate) kind: &'static str,
    pub(crate) name: &'a [u8],
    pub(crate) provider: &'a str,
    pub(crate) secret: Option<Vec<u8>>,
    pub(crate) lookup: Option<Vec<u8>>,
    pub(crate) confirmed_at: Option<UnixMicros>,
}

/// `Taken` if somebody has it.
pub(crate) async fn insert(tx: &mut Tx, new: &NewRow<'_>, now: UnixMicros) -> Result<(), Error> {
    query(
        "INSERT INTO credentials (id, user_id, kind, name, provider, secret, lookup, created_at,
             confirmed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(new.id)
    .bind(new.user)
    .bind(new.kind)
    .bind(new.name)
    .bind(new.provider)
    .bind(new.secret.clone())
    .bind(new.lookup.clone())
    .bind(now)
    .bind(new.confirmed_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// Of one user, the oldest first: no more than a user may have.
pub(crate) async fn of_user(
    on: impl Into<On<'_>>,
    user: Uuid,
) -> Result<Vec<CredentialRow>, Error> {
    let rows = query(
        "SELECT id, user_id, kind, name, provider, secret, created_at, confirmed_at, last_used_at
         FROM credentials WHERE user_id = $1 ORDER BY created_at, id",
    )
    .bind(user)
    .fetch_all(on)
    .await?;
    rows.iter().map(credential).collect()
}

/// The one that is found by this, held until the transaction ends.
pub(crate) async fn lock(tx: &mut Tx, lookup: &[u8]) -> Result<Option<CredentialRow>, Error> {
    let row = query(
        "SELECT id, user_id, kind, name, provider, secret, created_at, confirmed_at, last_used_at
         FROM credentials WHERE lookup = $1 {for_update}",
    )
    .bind(lookup)
    .fetch_optional(&mut *tx)
    .await?;
    row.as_ref().map(credential).transpose()
}

fn credential(row: &Row) -> Result<CredentialRow, Error> {
    Ok(CredentialRow {
        id: row.get(0)?,
        user: row.get(1)?,
        kind: row.get(2)?,
        name: row.get(3)?,
        provider: row.get(4)?,
        secret: row.get(5)?,
        created_at: row.get(6)?,
        confirmed_at: row.get(7)?,
        last_used_at: row.get(8)?,
    })
}

/// It was used; `secret` is what it became by that.
pub(crate) async fn used(
    tx: &mut Tx,
    id: Uuid,
    secret: Option<Vec<u8>>,
    now: UnixMicros,
) -> Result<(), Error> {
    query("UPDATE credentials SET last_used_at = $2, secret = COALESCE($3, secret) WHERE id = $1")
        .bind(id)
        .bind(now)
        .bind(secret)
        .execute(tx)
        .await?;
    Ok(())
}

/// Uses a time step up, and confirms its authenticator. False if it or a later one was used.
pub(crate) async fn spend_step(
    tx: &mut Tx,
    id: Uuid,
    step: i64,
    now: UnixMicros,
) -> Result<bool, Error> {
    let done = query(
        "UPDATE credentials SET last_step = $2, last_used_at = $3,
             confirmed_at = COALESCE(confirmed_at, $3)
         WHERE id = $1 AND (last_step IS NULL OR last_step < $2)",
    )
    .bind(id)
    .bind(step)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(done > 0)
}

/// True if the user had it.
pub(crate) async fn delete(tx: &mut Tx, user: Uuid, id: Uuid) -> Result<bool, Error> {
    let done = query("DELETE FROM credentials WHERE id = $1 AND user_id = $2")
        .bind(id)
        .bind(user)
        .execute(tx)
        .await?;
    Ok(done > 0)
}

/// The user's of one kind.
pub(crate) async fn delete_kind(tx: &mut Tx, user: Uuid, kind: &'static str) -> Result<(), Error> {
    query("DELETE FROM credentials WHERE user_id = $1 AND kind = $2")
        .bind(user)
        .bind(kind)
        .execute(tx)
        .await?;
    Ok(())
}
