//! API keys.
//! Invariant: a key works when it is neither revoked nor past its end and its owner is
//! neither suspended nor leaving; every statement that asks says all of it.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, On, Tx, query},
};
use uuid::Uuid;

/// A key as its owner sees it; `name` is sealed.
pub(crate) struct ApiKeyRow {
    pub(crate) id: Uuid,
    pub(crate) name: Vec<u8>,
    pub(crate) scopes: String,
    pub(crate) created_at: UnixMicros,
    pub(crate) expires_at: UnixMicros,
    pub(crate) last_used_at: Option<UnixMicros>,
}

pub(crate) struct NewApiKey<'a> {
    pub(crate) id: Uuid,
    pub(crate) user: Uuid,
    pub(crate) name: &'a [u8],
    pub(crate) secret_hash: &'a [u8],
    pub(crate) scopes: &'a str,
    pub(crate) expires_at: UnixMicros,
}

/// A key that works.
pub(crate) struct LiveKey {
    pub(crate) user: Uuid,
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) scopes: String,
    pub(crate) expires_at: UnixMicros,
    pub(crate) last_used_at: Option<UnixMicros>,
    /// Of its owner's profile.
    pub(crate) profile_version: i64,
}

pub(crate) async fn insert(tx: &mut Tx, new: &NewApiKey<'_>, now: UnixMicros) -> Result<(), Error> {
    query(
        "INSERT INTO api_keys (id, user_id, name, secret_hash, scopes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(new.id)
    .bind(new.user)
    .bind(new.name)
    .bind(new.secret_hash)
    .bind(new.scopes)
    .bind(now)
    .bind(new.expires_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// The user's keys that have not ended, newest first: no more than a user may have.
pub(crate) async fn of_user(
    on: impl Into<On<'_>>,
    user: Uuid,
    now: UnixMicros,
) -> Result<Vec<ApiKeyRow>, Error> {
    let rows = query(
        "SELECT id, name, scopes, created_at, expires_at, last_used_at FROM api_keys
         WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2
         ORDER BY created_at DESC, id DESC",
    )
    .bind(user)
    .bind(now)
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(ApiKeyRow {
                id: row.get(0)?,
                name: row.get(1)?,
                scopes: row.get(2)?,
                created_at: row.get(3)?,
                expires_at: row.get(4)?,
                last_used_at: row.get(5)?,
            })
        })
        .collect()
}

pub(crate) async fn live(db: &Db, id: Uuid, now: UnixMicros) -> Result<Option<LiveKey>, Error> {
    let row = query(
        "SELECT k.user_id, k.secret_hash, k.scopes, k.expires_at, k.last_used_at, u.version
         FROM api_keys k JOIN users u ON u.id = k.user_id
         WHERE k.id = $1 AND k.revoked_at IS NULL AND k.expires_at > $2
             AND u.suspended_at IS NULL AND u.delete_at IS NULL",
    )
    .bind(id)
    .bind(now)
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(LiveKey {
        user: row.get(0)?,
        secret_hash: row.get(1)?,
        scopes: row.get(2)?,
        expires_at: row.get(3)?,
        last_used_at: row.get(4)?,
        profile_version: row.get(5)?,
    }))
}

/// Ends one key of one user. True if it had not ended.
pub(crate) async fn revoke(
    tx: &mut Tx,
    user: Uuid,
    id: Uuid,
    now: UnixMicros,
) -> Result<bool, Error> {
    let done = query(
        "UPDATE api_keys SET revoked_at = $3
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3",
    )
    .bind(id)
    .bind(user)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(done > 0)
}

pub(crate) async fn used(tx: &mut Tx, id: Uuid, at: UnixMicros) -> Result<(), Error> {
    query("UPDATE api_keys SET last_used_at = $2 WHERE id = $1")
        .bind(id)
        .bind(at)
        .execute(tx)
        .await?;
    Ok(())
}

/// Forgets those that ended before `before`.
pub(crate) async fn forget(tx: &mut Tx, before: UnixMicros) -> Result<u64, Error> {
    query("DELETE FROM api_keys WHERE revoked_at < $1 OR expires_at < $1")
        .bind(before)
        .execute(tx)
        .await
}
