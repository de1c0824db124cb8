//! Sessions.
//! Invariant: a session is alive when it is neither revoked nor past its end;
//! every statement here says both.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, On, Row, Tx, query},
};
use uuid::Uuid;

/// A session; `device` is sealed.
pub(crate) struct SessionRow {
    pub(crate) id: Uuid,
    pub(crate) amr: String,
    pub(crate) device: Vec<u8>,
    pub(crate) network: String,
    pub(crate) created_at: UnixMicros,
    pub(crate) last_seen_at: UnixMicros,
    pub(crate) expires_at: UnixMicros,
}

pub(crate) struct NewRow<'a> {
    pub(crate) id: Uuid,
    pub(crate) user: Uuid,
    pub(crate) auth_time: UnixMicros,
    pub(crate) amr: &'a str,
    pub(crate) device: &'a [u8],
    pub(crate) device_index: &'a [u8],
    pub(crate) network: &'a str,
    pub(crate) expires_at: UnixMicros,
}

pub(crate) async fn insert(tx: &mut Tx, new: &NewRow<'_>, now: UnixMicros) -> Result<(), Error> {
    query(
        "INSERT INTO sessions (id, user_id, auth_time, amr, device, device_index, network,
             created_at, last_seen_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9)",
    )
    .bind(new.id)
    .bind(new.user)
    .bind(new.auth_time)
    .bind(new.amr)
    .bind(new.device)
    .bind(new.device_index)
    .bind(new.network)
    .bind(now)
    .bind(new.expires_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// Has the user had sessions, and any on this device? Ended ones count as long as they are kept.
pub(crate) async fn known(
    tx: &mut Tx,
    user: Uuid,
    device_index: &[u8],
) -> Result<(bool, bool), Error> {
    let row = query(
        "SELECT count(*), CAST(COALESCE(SUM(CASE WHEN device_index = $2 THEN 1 ELSE 0 END), 0) AS BIGINT)
         FROM sessions WHERE user_id = $1",
    )
    .bind(user)
    .bind(device_index)
    .fetch_one(&mut *tx)
    .await?;
    Ok((row.get::<i64>(0)? > 0, row.get::<i64>(1)? > 0))
}

/// Forgets the user's sessions that ended before `before`, tokens included.
pub(crate) async fn forget(tx: &mut Tx, user: Uuid, before: UnixMicros) -> Result<(), Error> {
    query("DELETE FROM sessions WHERE user_id = $1 AND (revoked_at < $2 OR expires_at < $2)")
        .bind(user)
        .bind(before)
        .execute(tx)
        .await?;
    Ok(())
}

/// Of the user's profile, if the session is alive.
pub(crate) async fn profile_version(
    db: &Db,
    user: Uuid,
    session: Uuid,
    now: UnixMicros,
) -> Result<Option<i64>, Error> {
    let row = query(
        "SELECT u.version FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.id = $1 AND s.user_id = $2 AND s.revoked_at IS NULL AND s.expires_at > $3",
    )
    .bind(session)
    .bind(user)
    .bind(now)
    .fetch_optional(db)
    .await?;
    row.map(|row| row.get(0)).transpose()
}

/// The live ones, newest first: no more than a user may have.
pub(crate) async fn live(
    on: impl Into<On<'_>>,
    user: Uuid,
    now: UnixMicros,
) -> Result<Vec<SessionRow>, Error> {
    let rows = query(
        "SELECT id, amr, device, network, created_at, last_seen_at, expires_at
         FROM sessions
         WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2
         ORDER BY created_at DESC, id DESC",
    )
    .bind(user)
    .bind(now)
    .fetch_all(on)
    .await?;
    rows.iter().map(session_row).collect()
}

/// The newest ones, live or ended, and when they were ended before their time.
pub(crate) async fn history(
    db: &Db,
    user: Uuid,
    limit: i64,
) -> Result<Vec<(SessionRow, Option<UnixMicros>)>, Error> {
    let rows = query(
        "SELECT id, amr, device, network, created_at, last_seen_at, expires_at, revoked_at
         FROM sessions WHERE user_id = $1
         ORDER BY created_at DESC, id DESC LIMIT $2",
    )
    .bind(user)
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| Ok((session_row(row)?, row.get(7)?)))
        .collect()
}

fn session_row(row: &Row) -> Result<SessionRow, Error> {
    Ok(SessionRow {
        id: row.get(0)?,
        amr: row.get(1)?,
        device: row.get(2)?,
        network: row.get(3)?,
        created_at: row.get(4)?,
        last_seen_at: row.get(5)?,
        expires_at: row.get(6)?,
    })
}

/// Ends one session of one user. True if it was alive.
pub(crate) async fn revoke(
    tx: &mut Tx,
    user: Uuid,
    session: Uuid,
    reason: &'static str,
    now: UnixMicros,
) -> Result<bool, Error> {
    let done = query(
        "UPDATE sessions SET revoked_at = $3, reason = $4
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3",
    )
    .bind(session)
    .bind(user)
    .bind(now)
    .bind(reason)
    .execute(tx)
    .await?;
    Ok(done > 0)
}

pub(crate) async fn seen(
    tx: &mut Tx,
    session: Uuid,
    network: &str,
    now: UnixMicros,
) -> Result<(), Error> {
    query("UPDATE sessions SET last_seen_at = $2, network = $3 WHERE id = $1")
        .bind(session)
        .bind(now)
        .bind(network)
        .execute(tx)
        .await?;
    Ok(())
}
