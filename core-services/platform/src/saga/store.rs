//! The table `sagas`.
//! Invariant: rows change only in transactions that hold the lease of the saga's job.

use serde_json::Value as Json;
use uuid::Uuid;

use crate::{
    clock::UnixMicros,
    db::{Db, Error, Tx, query},
};

/// Rows of one list.
const LIST_MAX: i64 = 500;

/// Which way a saga goes, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Running,
    Compensating,
    /// All steps were taken.
    Done,
    /// Every step that was taken was undone.
    Failed,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// # Errors
    /// [`Error::Corrupt`] for a word that is none of these.
    pub fn parse(text: &str) -> Result<Self, Error> {
        [Self::Running, Self::Compensating, Self::Done, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(Error::Corrupt("sagas.status"))
    }
}

/// Where a saga is.
pub(super) struct Saved {
    pub(super) state: Json,
    pub(super) step: String,
    pub(super) status: Status,
    pub(super) attempts: i64,
}

pub(super) async fn insert(
    tx: &mut Tx,
    id: Uuid,
    kind: &str,
    state: Json,
    step: &str,
    now: UnixMicros,
) -> Result<bool, Error> {
    let added = query(
        "INSERT INTO sagas (id, kind, state, step, status, attempts, created_at, updated_at)
         VALUES ($1, $2, $3, $4, 'running', 0, $5, $5)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(id)
    .bind(kind)
    .bind(state)
    .bind(step)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(added > 0)
}

pub(super) async fn load(db: &Db, id: Uuid) -> Result<Saved, Error> {
    let row = query("SELECT state, step, status, attempts FROM sagas WHERE id = $1")
        .bind(id)
        .fetch_one(db)
        .await?;
    Ok(Saved {
        state: row.get(0)?,
        step: row.get(1)?,
        status: Status::parse(&row.get::<String>(2)?)?,
        attempts: row.get(3)?,
    })
}

/// The next place; what was said of the last try stays readable.
pub(super) async fn advance(
    tx: &mut Tx,
    id: Uuid,
    saved: &Saved,
    now: UnixMicros,
) -> Result<(), Error> {
    query(
        "UPDATE sagas SET state = $2, step = $3, status = $4, attempts = $5, updated_at = $6
         WHERE id = $1",
    )
    .bind(id)
    .bind(saved.state.clone())
    .bind(&saved.step)
    .bind(saved.status.as_str())
    .bind(saved.attempts)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn note(
    tx: &mut Tx,
    id: Uuid,
    reason: &str,
    now: UnixMicros,
) -> Result<(), Error> {
    query(
        "UPDATE sagas SET attempts = attempts + 1, last_error = $2, updated_at = $3 WHERE id = $1",
    )
    .bind(id)
    .bind(reason)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

/// A saga without its state, which may tell of people.
#[derive(Clone, Debug)]
pub struct Listed {
    pub id: Uuid,
    pub kind: String,
    pub step: String,
    pub status: Status,
    pub attempts: i64,
    pub last_error: Option<String>,
    pub created_at: UnixMicros,
    pub updated_at: UnixMicros,
}

/// Sagas of a status, or all; newest first, older than `before`; at most `limit`, and
/// never more than 500.
///
/// # Errors
/// See [`Error`].
pub async fn list(
    db: &Db,
    status: Option<Status>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Listed>, Error> {
    let rows = query(
        "SELECT id, kind, step, status, attempts, last_error, created_at, updated_at FROM sagas
         WHERE ($1 IS NULL OR status = $1) AND ($2 IS NULL OR id < $2)
         ORDER BY id DESC LIMIT $3",
    )
    .bind(status.map(Status::as_str))
    .bind(before)
    .bind(limit.clamp(0, LIST_MAX))
    .fetch_all(db)
    .await?;
    let listed = rows.iter().map(|row| {
        Ok(Listed {
            id: row.get(0)?,
            kind: row.get(1)?,
            step: row.get(2)?,
            status: Status::parse(&row.get::<String>(3)?)?,
            attempts: row.get(4)?,
            last_error: row.get(5)?,
            created_at: row.get(6)?,
            updated_at: row.get(7)?,
        })
    });
    listed.collect()
}

/// How many are neither done nor undone.
///
/// # Errors
/// See [`Error`].
pub async fn open(db: &Db) -> Result<i64, Error> {
    let row = query("SELECT COUNT(*) FROM sagas WHERE status IN ('running', 'compensating')")
        .fetch_one(db)
        .await?;
    row.get(0)
}
