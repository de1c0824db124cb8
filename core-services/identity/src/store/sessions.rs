//! Sessions and their refresh tokens.
//! Invariant: a session is alive when it is neither revoked nor past its end;
//! every statement here says both.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, On, Tx, query},
};
use uuid::Uuid;

/// A refresh token and the session it belongs to.
pub(crate) struct TokenRow {
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) expires_at: UnixMicros,
    pub(crate) used_at: Option<UnixMicros>,
    pub(crate) session: Uuid,
    pub(crate) user: Uuid,
    pub(crate) session_expires_at: UnixMicros,
    pub(crate) session_revoked_at: Option<UnixMicros>,
}

/// Opens a session. Clears the user's ended ones and keeps at most `keep` others.
pub(crate) async fn open_session(
    tx: &mut Tx,
    user: Uuid,
    now: UnixMicros,
    expires_at: UnixMicros,
    keep: i64,
) -> Result<Uuid, Error> {
    query(
        "DELETE FROM sessions WHERE user_id = $1 AND (revoked_at IS NOT NULL OR expires_at <= $2)",
    )
    .bind(user)
    .bind(now)
    .execute(tx)
    .await?;
    query(
        "DELETE FROM sessions WHERE user_id = $1 AND id NOT IN (
             SELECT id FROM sessions WHERE user_id = $1
             ORDER BY created_at DESC, id DESC LIMIT $2)",
    )
    .bind(user)
    .bind(keep)
    .execute(tx)
    .await?;
    let id = Uuid::now_v7();
    query("INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(user)
        .bind(now)
        .bind(expires_at)
        .execute(tx)
        .await?;
    Ok(id)
}

pub(crate) async fn is_live(
    db: &Db,
    user: Uuid,
    session: Uuid,
    now: UnixMicros,
) -> Result<bool, Error> {
    let found = query(
        "SELECT 1 FROM sessions
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3",
    )
    .bind(session)
    .bind(user)
    .bind(now)
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Ends one session of one user. True if it was alive.
pub(crate) async fn revoke_session(
    tx: &mut Tx,
    user: Uuid,
    session: Uuid,
    now: UnixMicros,
) -> Result<bool, Error> {
    let done = query(
        "UPDATE sessions SET revoked_at = $3
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3",
    )
    .bind(session)
    .bind(user)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(done > 0)
}

/// Ends every other session of the user. False, and nothing changed, if the
/// session to keep is not alive.
pub(crate) async fn revoke_other_sessions(
    tx: &mut Tx,
    user: Uuid,
    keep: Uuid,
    now: UnixMicros,
) -> Result<bool, Error> {
    let live = query(
        "SELECT 1 FROM sessions
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3",
    )
    .bind(keep)
    .bind(user)
    .bind(now)
    .fetch_optional(&mut *tx)
    .await?;
    if live.is_none() {
        return Ok(false);
    }
    query(
        "UPDATE sessions SET revoked_at = $3 WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL",
    )
    .bind(user)
    .bind(keep)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(true)
}

pub(crate) async fn insert_token(
    tx: &mut Tx,
    id: Uuid,
    session: Uuid,
    secret_hash: &[u8],
    now: UnixMicros,
    expires_at: UnixMicros,
) -> Result<(), Error> {
    query(
        "INSERT INTO refresh_tokens (id, session_id, secret_hash, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(id)
    .bind(session)
    .bind(secret_hash)
    .bind(now)
    .bind(expires_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// A token by its id, on a reader or in a transaction.
pub(crate) async fn token(on: impl Into<On<'_>>, id: Uuid) -> Result<Option<TokenRow>, Error> {
    let row = query(
        "SELECT t.secret_hash, t.expires_at, t.used_at, s.id, s.user_id, s.expires_at, s.revoked_at
         FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
         WHERE t.id = $1",
    )
    .bind(id)
    .fetch_optional(on)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(TokenRow {
        secret_hash: row.get(0)?,
        expires_at: row.get(1)?,
        used_at: row.get(2)?,
        session: row.get(3)?,
        user: row.get(4)?,
        session_expires_at: row.get(5)?,
        session_revoked_at: row.get(6)?,
    }))
}

/// Marks a token used and forgets those of its family that are past their time.
pub(crate) async fn use_token(
    tx: &mut Tx,
    id: Uuid,
    session: Uuid,
    now: UnixMicros,
) -> Result<(), Error> {
    query("UPDATE refresh_tokens SET used_at = $2 WHERE id = $1")
        .bind(id)
        .bind(now)
        .execute(tx)
        .await?;
    query("DELETE FROM refresh_tokens WHERE session_id = $1 AND expires_at <= $2")
        .bind(session)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}
