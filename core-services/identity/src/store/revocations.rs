//! Revocations, numbered in the order in which they came into force.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, On, Tx, query},
};
use uuid::Uuid;

/// Whose tokens must not be believed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dead<'a> {
    Session(Uuid),
    ApiKey(Uuid),
    User(Uuid),
    /// By its `kid`.
    SigningKey(&'a str),
}

impl<'a> Dead<'a> {
    fn columns(self) -> (&'static str, Uuid, Option<&'a str>) {
        match self {
            Self::Session(id) => ("session", id, None),
            Self::ApiKey(id) => ("api_key", id, None),
            Self::User(id) => ("user", id, None),
            Self::SigningKey(kid) => (SIGNING_KEY, Uuid::nil(), Some(kid)),
        }
    }
}

const SIGNING_KEY: &str = "signing_key";

/// What must not be believed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RevocationRow {
    pub(crate) seq: i64,
    pub(crate) kind: String,
    /// A UUID, or the `kid` of a signing key.
    pub(crate) id: String,
    pub(crate) at: UnixMicros,
    pub(crate) until: UnixMicros,
}

/// Only under the audit log's lock: see the table.
pub(crate) async fn insert(
    tx: &mut Tx,
    dead: Dead<'_>,
    at: UnixMicros,
    until: UnixMicros,
) -> Result<(), Error> {
    let (kind, subject, kid) = dead.columns();
    query("INSERT INTO revocations (kind, subject, kid, at, until) VALUES ($1, $2, $3, $4, $5)")
        .bind(kind)
        .bind(subject)
        .bind(kid.map(str::to_owned))
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
        "SELECT seq, kind, subject, kid, at, until FROM revocations
         WHERE seq > $1 AND until > $2 ORDER BY seq LIMIT $3",
    )
    .bind(after)
    .bind(now)
    .bind(limit)
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            let kid: Option<String> = row.get(3)?;
            let subject: Uuid = row.get(2)?;
            Ok(RevocationRow {
                seq: row.get(0)?,
                kind: row.get(1)?,
                id: kid.unwrap_or_else(|| subject.to_string()),
                at: row.get(4)?,
                until: row.get(5)?,
            })
        })
        .collect()
}

/// Did a signing key die after `after`?
pub(crate) async fn has_dead_key(db: &Db, after: i64) -> Result<bool, Error> {
    let row = query("SELECT 1::BIGINT FROM revocations WHERE seq > $1 AND kind = $2 LIMIT 1")
        .bind(after)
        .bind(SIGNING_KEY)
        .fetch_optional(db)
        .await?;
    Ok(row.is_some())
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
