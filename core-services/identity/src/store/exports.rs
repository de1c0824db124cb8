//! Exports of accounts; the archives are sealed.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, On, Row, Tx, query},
};
use uuid::Uuid;

pub(crate) struct ExportRow {
    pub(crate) id: Uuid,
    pub(crate) created_at: UnixMicros,
    pub(crate) expires_at: UnixMicros,
    pub(crate) ready: bool,
}

/// The user's only one, if there is one.
pub(crate) async fn of_user(on: impl Into<On<'_>>, user: Uuid) -> Result<Option<ExportRow>, Error> {
    let row = query(
        "SELECT id, created_at, expires_at, archive IS NOT NULL
         FROM account_exports WHERE user_id = $1",
    )
    .bind(user)
    .fetch_optional(on)
    .await?;
    row.as_ref().map(export_row).transpose()
}

fn export_row(row: &Row) -> Result<ExportRow, Error> {
    Ok(ExportRow {
        id: row.get(0)?,
        created_at: row.get(1)?,
        expires_at: row.get(2)?,
        ready: row.get(3)?,
    })
}

/// In the place of an older one.
pub(crate) async fn put(tx: &mut Tx, user: Uuid, new: &ExportRow) -> Result<(), Error> {
    query(
        "INSERT INTO account_exports (id, user_id, created_at, expires_at, archive)
         VALUES ($1, $2, $3, $4, NULL)
         ON CONFLICT (user_id) DO UPDATE SET
             id = excluded.id,
             created_at = excluded.created_at,
             expires_at = excluded.expires_at,
             archive = NULL",
    )
    .bind(new.id)
    .bind(user)
    .bind(new.created_at)
    .bind(new.expires_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// Whose it is.
pub(crate) async fn owner(db: &Db, id: Uuid) -> Result<Option<Uuid>, Error> {
    let row = query("SELECT user_id FROM account_exports WHERE id = $1")
        .bind(id)
        .fetch_optional(db)
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// False if it is not wanted any more.
pub(crate) async fn fill(tx: &mut Tx, id: Uuid, archive: &[u8]) -> Result<bool, Error> {
    let done = query("UPDATE account_exports SET archive = $2 WHERE id = $1")
        .bind(id)
        .bind(archive)
        .execute(tx)
        .await?;
    Ok(done > 0)
}

/// One of one user, if it is there still: outside, whether it is made.
pub(crate) async fn archive(
    db: &Db,
    user: Uuid,
    id: Uuid,
    now: UnixMicros,
) -> Result<Option<Option<Vec<u8>>>, Error> {
    let row = query(
        "SELECT archive FROM account_exports
         WHERE id = $1 AND user_id = $2 AND expires_at > $3",
    )
    .bind(id)
    .bind(user)
    .bind(now)
    .fetch_optional(db)
    .await?;
    row.map(|row| row.get(0)).transpose()
}

pub(crate) async fn forget(tx: &mut Tx, now: UnixMicros) -> Result<u64, Error> {
    query("DELETE FROM account_exports WHERE expires_at <= $1")
        .bind(now)
        .execute(tx)
        .await
}
