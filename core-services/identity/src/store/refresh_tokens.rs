//! Refresh tokens.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, Row, Tx, query},
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
    pub(crate) auth_time: UnixMicros,
    pub(crate) amr: String,
}

/// What a token was traded for.
pub(crate) struct ChildRow {
    pub(crate) id: Uuid,
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) used_at: Option<UnixMicros>,
}

pub(crate) struct NewToken<'a> {
    pub(crate) id: Uuid,
    pub(crate) session: Uuid,
    pub(crate) parent: Option<Uuid>,
    pub(crate) secret_hash: &'a [u8],
    pub(crate) expires_at: UnixMicros,
}

pub(crate) async fn insert(tx: &mut Tx, new: &NewToken<'_>, now: UnixMicros) -> Result<(), Error> {
    query(
        "INSERT INTO refresh_tokens (id, session_id, parent_id, secret_hash, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(new.id)
    .bind(new.session)
    .bind(new.parent)
    .bind(new.secret_hash)
    .bind(now)
    .bind(new.expires_at)
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn read(db: &Db, id: Uuid) -> Result<Option<TokenRow>, Error> {
    let row = query(
        "SELECT t.secret_hash, t.expires_at, t.used_at, s.id, s.user_id, s.expires_at,
             s.revoked_at, s.auth_time, s.amr
         FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
         WHERE t.id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(token_row).transpose()
}

/// The same, held with its session until the transaction ends: of two calls with tokens
/// of one family, the second sees what the first did.
pub(crate) async fn lock(tx: &mut Tx, id: Uuid) -> Result<Option<TokenRow>, Error> {
    // The session first, and by itself: PostgreSQL would otherwise judge the token by
    // what it was before the wait.
    query(
        "SELECT s.id FROM sessions s
         WHERE s.id = (SELECT t.session_id FROM refresh_tokens t WHERE t.id = $1) {for_update}",
    )
    .bind(id)
    .fetch_optional(&mut *tx)
    .await?;
    let row = query(
        "SELECT t.secret_hash, t.expires_at, t.used_at, s.id, s.user_id, s.expires_at,
             s.revoked_at, s.auth_time, s.amr
         FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
         WHERE t.id = $1",
    )
    .bind(id)
    .fetch_optional(&mut *tx)
    .await?;
    row.as_ref().map(token_row).transpose()
}

fn token_row(row: &Row) -> Result<TokenRow, Error> {
    Ok(TokenRow {
        secret_hash: row.get(0)?,
        expires_at: row.get(1)?,
        used_at: row.get(2)?,
        session: row.get(3)?,
        user: row.get(4)?,
        session_expires_at: row.get(5)?,
        session_revoked_at: row.get(6)?,
        auth_time: row.get(7)?,
        amr: row.get(8)?,
    })
}

pub(crate) async fn child(tx: &mut Tx, parent: Uuid) -> Result<Option<ChildRow>, Error> {
    let row = query("SELECT id, secret_hash, used_at FROM refresh_tokens WHERE parent_id = $1")
        .bind(parent)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(ChildRow {
        id: row.get(0)?,
        secret_hash: row.get(1)?,
        used_at: row.get(2)?,
    }))
}

/// Marks a token used and forgets those of its family that are past their time.
pub(crate) async fn spend(
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
