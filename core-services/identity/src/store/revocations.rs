//! Revocations, numbered in the order in which they came into force.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, On, Tx, query},
};
use uuid::Uuid;

/// What must not be believed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RevocationRow {
    pub(crate) seq: i64,
    pub(crate) kind: String,
    pub(crate) subject: Uuid,
    pub(crate) at: UnixMicros,
    pub(crate) until: UnixMicros,
}

/// Only under the audit log's lock: see the table.
pub(crate) async fn insert(
    tx: &mut Tx,
    kind: &'static str,
    subject: Uuid,
    at: UnixMicros,
    until: UnixMicros,
) -> Result<(), Error> {
    query("INSERT INTO revocations (kind, subject, at, until) VALUES ($1, $2, $3, $4)")
        .bind(kind)
        .bind(subject)
        .bind(at)
        .bind(until)
        .execute(tx)
        .await?;
    Ok(())
}

/// The number of the newest one; 0 if there is none.
pub(crate) async fn newest(db: &Db) -> Result<i64, Error> {
    let row = query("SELECT CAST(COALESCE(MAX(seq), 0) AS BIGINT) FROM revocations")
        .fetch_one(db)
        .await?;
    row.get(0)
}

/// Those after `after` that still matter, in order.
pub(crate) async fn after(
    on: impl Into<On<'_>>,
    after: i64,
    now: UnixMicros,
    limit: i64,
) -> Result<Vec<RevocationRow>, Error> {
    let rows = query(
        "SELECT seq, kind, subject, at, until FROM revocations
         WHERE seq > $1 AND until > $2 ORDER BY seq LIMIT $3",
    )
    .bind(after)
    .bind(now)
    .bind(limit)
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(RevocationRow {
                seq: row.get(0)?,
                kind: row.get(1)?,
                subject: row.get(2)?,
                at: row.get(3)?,
                until: row.get(4)?,
            })
        })
        .collect()
}

/// Forgets what ended before `before`, but for the newest: its number tells a database
/// that was restored to an older state from one that lost nothing.
pub(crate) async fn forget(tx: &mut Tx, before: UnixMicros) -> Result<u64, Error> {
    query(
        "DELETE FROM revocations
         WHERE until < $1 AND seq < (SELECT MAX(seq) FROM revocations)",
    )
    .bind(before)
    .execute(tx)
    .await
}
