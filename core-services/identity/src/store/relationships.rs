//! Who follows, blocks and mutes whom.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, On, Tx, query},
};
use uuid::Uuid;

use crate::relationships::Kind;

/// One end of a relationship, and since when there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Related {
    pub(crate) user: Uuid,
    pub(crate) since: UnixMicros,
}

/// Holds both users until the transaction ends, always in the same order: a follow and a
/// block between the same two come one after the other. Returns how many there are.
pub(crate) async fn lock(tx: &mut Tx, pair: [Uuid; 2]) -> Result<usize, Error> {
    let rows = query("SELECT id FROM users WHERE id {any_uuid:$1} ORDER BY id {for_update}")
        .bind(pair.to_vec())
        .fetch_all(&mut *tx)
        .await?;
    Ok(rows.len())
}

pub(crate) async fn exists(
    tx: &mut Tx,
    user: Uuid,
    target: Uuid,
    kind: Kind,
) -> Result<bool, Error> {
    let found =
        query("SELECT 1 FROM relationships WHERE user_id = $1 AND target_id = $2 AND kind = $3")
            .bind(user)
            .bind(target)
            .bind(kind.name())
            .fetch_optional(&mut *tx)
            .await?;
    Ok(found.is_some())
}

pub(crate) async fn count(tx: &mut Tx, user: Uuid, kind: Kind) -> Result<i64, Error> {
    let row = query("SELECT count(*) FROM relationships WHERE user_id = $1 AND kind = $2")
        .bind(user)
        .bind(kind.name())
        .fetch_one(&mut *tx)
        .await?;
    row.get(0)
}

/// True if it is new.
pub(crate) async fn insert(
    tx: &mut Tx,
    user: Uuid,
    target: Uuid,
    kind: Kind,
    now: UnixMicros,
) -> Result<bool, Error> {
    let done = query(
        "INSERT INTO relationships (user_id, target_id, kind, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id, target_id, kind) DO NOTHING",
    )
    .bind(user)
    .bind(target)
    .bind(kind.name())
    .bind(now)
    .execute(tx)
    .await?;
    Ok(done > 0)
}

/// True if it was there.
pub(crate) async fn remove(
    tx: &mut Tx,
    user: Uuid,
    target: Uuid,
    kind: Kind,
) -> Result<bool, Error> {
    let done =
        query("DELETE FROM relationships WHERE user_id = $1 AND target_id = $2 AND kind = $3")
            .bind(user)
            .bind(target)
            .bind(kind.name())
            .execute(tx)
            .await?;
    Ok(done > 0)
}

/// Those whom `user` follows, blocks or mutes, newest first, from `after` on.
pub(crate) async fn from(
    on: impl Into<On<'_>>,
    user: Uuid,
    kind: Kind,
    after: Option<Related>,
    limit: i64,
) -> Result<Vec<Related>, Error> {
    let rows = query(
        "SELECT target_id, created_at FROM relationships
         WHERE user_id = $1 AND kind = $2
             AND ($3 IS NULL OR created_at < $3 OR (created_at = $3 AND target_id < $4))
         ORDER BY created_at DESC, target_id DESC LIMIT $5",
    )
    .bind(user)
    .bind(kind.name())
    .bind(after.map(|last| last.since))
    .bind(after.map(|last| last.user))
    .bind(limit)
    .fetch_all(on)
    .await?;
    rows.iter().map(related).collect()
}

/// Those who follow `user`, likewise.
pub(crate) async fn followers(
    db: &Db,
    user: Uuid,
    after: Option<Related>,
    limit: i64,
) -> Result<Vec<Related>, Error> {
    let rows = query(
        "SELECT user_id, created_at FROM relationships
         WHERE target_id = $1 AND kind = 'follow'
             AND ($2 IS NULL OR created_at < $2 OR (created_at = $2 AND user_id < $3))
         ORDER BY created_at DESC, user_id DESC LIMIT $4",
    )
    .bind(user)
    .bind(after.map(|last| last.since))
    .bind(after.map(|last| last.user))
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.iter().map(related).collect()
}

fn related(row: &core_platform::db::Row) -> Result<Related, Error> {
    Ok(Related {
        user: row.get(0)?,
        since: row.get(1)?,
    })
}
