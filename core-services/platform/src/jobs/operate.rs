//! What operators do with jobs: look, run again; and the sweep of old ones.
//! Invariant: payloads are not shown, as they may name people.

use async_trait::async_trait;
use uuid::Uuid;

use super::{ATTEMPTS_MAX, Failure, Job, JobContext, State};
use crate::{
    clock::UnixMicros,
    db::{Db, Error, Tx, query},
};

/// The kind of the platform's own sweep.
pub(super) const SWEEP: &str = "platform.jobs-sweep";
/// How long finished jobs can be looked at: 14 days.
const KEEP_MICROS: i64 = 14 * 24 * 60 * 60 * 1_000_000;
/// Rows that one transaction of a sweep deletes: it holds SQLite's only write lock.
const SWEEP_ROWS: i64 = 500;
/// Rows of one list.
const LIST_MAX: i64 = 500;

/// Which jobs to list: newest first, each condition if it is given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub state: Option<State>,
    pub kind: Option<String>,
    /// Older than this one: the last of the page before.
    pub before: Option<Uuid>,
}

/// A job without its payload.
#[derive(Clone, Debug)]
pub struct Listed {
    pub id: Uuid,
    pub kind: String,
    pub state: State,
    pub run_at: UnixMicros,
    pub attempts: i64,
    pub attempts_max: i64,
    pub lease_owner: Option<Uuid>,
    pub heartbeat_at: Option<UnixMicros>,
    pub last_error: Option<String>,
    pub created_at: UnixMicros,
    pub finished_at: Option<UnixMicros>,
}

/// At most `limit` jobs, and never more than 500.
///
/// # Errors
/// See [`Error`].
pub async fn list(db: &Db, filter: &Filter, limit: i64) -> Result<Vec<Listed>, Error> {
    let rows = query(
        "SELECT id, kind, state, run_at, attempts, attempts_max, lease_owner, heartbeat_at,
             last_error, created_at, finished_at
         FROM jobs
         WHERE ($1 IS NULL OR state = $1) AND ($2 IS NULL OR kind = $2) AND ($3 IS NULL OR id < $3)
         ORDER BY id DESC LIMIT $4",
    )
    .bind(filter.state.map(State::as_str))
    .bind(filter.kind.clone())
    .bind(filter.before)
    .bind(limit.clamp(0, LIST_MAX))
    .fetch_all(db)
    .await?;
    let listed = rows.iter().map(|row| {
        Ok(Listed {
            id: row.get(0)?,
            kind: row.get(1)?,
            state: State::parse(&row.get::<String>(2)?)?,
            run_at: row.get(3)?,
            attempts: row.get(4)?,
            attempts_max: row.get(5)?,
            lease_owner: row.get(6)?,
            heartbeat_at: row.get(7)?,
            last_error: row.get(8)?,
            created_at: row.get(9)?,
            finished_at: row.get(10)?,
        })
    });
    listed.collect()
}

/// Runs a failed job again, or one that waits at once, with ten more attempts to go.
/// False if there is no such job or nothing to retry.
///
/// # Errors
/// [`Error::Taken`] when an unfinished job has its key by now.
pub async fn retry(tx: &mut Tx, id: Uuid, now: UnixMicros) -> Result<bool, Error> {
    let touched = query(
        "UPDATE jobs SET state = 'queued', run_at = $2, finished_at = NULL,
             attempts_max = attempts + $3
         WHERE id = $1 AND state IN ('queued', 'failed')",
    )
    .bind(id)
    .bind(now)
    .bind(ATTEMPTS_MAX)
    .execute(tx)
    .await?;
    Ok(touched > 0)
}

/// Forgets jobs that finished long ago.
pub(super) struct Sweep;

#[async_trait]
impl Job for Sweep {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        let before = UnixMicros(context.now.0 - KEEP_MICROS);
        while !context.cancelled.is_cancelled() {
            let mut tx = context.begin().await?;
            let gone = query(
                "DELETE FROM jobs WHERE id IN (
                     SELECT id FROM jobs WHERE finished_at < $1 ORDER BY finished_at LIMIT $2)",
            )
            .bind(before)
            .bind(SWEEP_ROWS)
            .execute(&mut tx)
            .await?;
            tx.commit().await?;
            if gone == 0 {
                break;
            }
        }
        Ok(())
    }
}
