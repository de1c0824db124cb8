//! The table `jobs`.
//! Invariant: a row changes from `queued` to `running` under a lock, and from
//! `running` only by the owner of its lease or after that lease ended.

use serde_json::Value as Json;
use uuid::Uuid;

use super::{
    NewJob,
    lease::{Lease, Pulse},
};
use crate::{
    clock::UnixMicros,
    db::{Db, Error, Tx, query},
};

/// Running jobs that a worker looks at: far above what the replicas of one service run.
const PULSES_MAX: i64 = 4_096;
/// A key that is freed and taken again between two statements, this many times in a row.
const INSERT_TRIES_MAX: usize = 3;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Queued,
    Running,
    Done,
    Failed,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// # Errors
    /// [`Error::Corrupt`] for a word that is none of these.
    pub fn parse(text: &str) -> Result<Self, Error> {
        [Self::Queued, Self::Running, Self::Done, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(Error::Corrupt("jobs.state"))
    }
}

/// A job and the lease on it.
pub(super) struct Claimed {
    pub(super) lease: Lease,
    pub(super) kind: String,
    pub(super) payload: Json,
    pub(super) attempts_max: i64,
}

/// Returns the job's id and whether it is a new one.
pub(super) async fn insert(
    tx: &mut Tx,
    job: &NewJob,
    now: UnixMicros,
) -> Result<(Uuid, bool), Error> {
    for _ in 0..INSERT_TRIES_MAX {
        let id = Uuid::now_v7();
        let added = query(
            "INSERT INTO jobs (id, kind, payload, unique_key, state, run_at, attempts,
                 attempts_max, heartbeat, created_at)
             VALUES ($1, $2, $3, $4, 'queued', $5, 0, $6, 0, $7)
             ON CONFLICT DO NOTHING",
        )
        .bind(id)
        .bind(&job.kind)
        .bind(job.payload.clone())
        .bind(job.unique_key.clone())
        .bind(job.run_at.unwrap_or(now))
        .bind(job.attempts_max)
        .bind(now)
        .execute(tx)
        .await?;
        if added > 0 {
            return Ok((id, true));
        }
        let other = query("SELECT id FROM jobs WHERE unique_key = $1 AND finished_at IS NULL")
            .bind(job.unique_key.clone())
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(other) = other {
            return Ok((other.get(0)?, false));
        }
    }
    Err(Error::Collision)
}

/// Takes the job of these kinds that is due for longest, if there is one.
pub(super) async fn claim(
    db: &Db,
    owner: Uuid,
    kinds: Vec<String>,
    now: UnixMicros,
) -> Result<Option<Claimed>, Error> {
    // A reader looks first: idle workers would fight over SQLite's write lock.
    let due = query(
        "SELECT id FROM jobs
         WHERE state = 'queued' AND run_at <= $1 AND kind {any_text:$2} LIMIT 1",
    )
    .bind(now)
    .bind(kinds.clone())
    .fetch_optional(db)
    .await?;
    if due.is_none() {
        return Ok(None);
    }
    let mut tx = db.begin().await?;
    let row = query(
        "SELECT id, kind, payload, attempts, attempts_max FROM jobs
         WHERE state = 'queued' AND run_at <= $1 AND kind {any_text:$2}
         ORDER BY run_at, id LIMIT 1 {skip_locked}",
    )
    .bind(now)
    .bind(kinds)
    .fetch_optional(&mut tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let lease = Lease {
        job: row.get(0)?,
        owner,
        attempt: row.get::<i64>(3)? + 1,
    };
    query(
        "UPDATE jobs SET state = 'running', attempts = $2, lease_owner = $3,
             heartbeat = heartbeat + 1, heartbeat_at = $4
         WHERE id = $1",
    )
    .bind(lease.job)
    .bind(lease.attempt)
    .bind(owner)
    .bind(now)
    .execute(&mut tx)
    .await?;
    tx.commit().await?;
    Ok(Some(Claimed {
        lease,
        kind: row.get(1)?,
        payload: row.get(2)?,
        attempts_max: row.get(4)?,
    }))
}

/// Holds the row until the transaction ends. False if the lease is another's by now.
pub(super) async fn lock(tx: &mut Tx, lease: &Lease) -> Result<bool, Error> {
    let row = query(
        "SELECT id FROM jobs
         WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND state = 'running' {for_update}",
    )
    .bind(lease.job)
    .bind(lease.owner)
    .bind(lease.attempt)
    .fetch_optional(tx)
    .await?;
    Ok(row.is_some())
}

/// Done. False if the lease is another's by now.
pub(super) async fn finish(tx: &mut Tx, lease: &Lease, now: UnixMicros) -> Result<bool, Error> {
    let touched = query(
        "UPDATE jobs SET state = 'done', lease_owner = NULL, last_error = NULL, finished_at = $4
         WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND state = 'running'",
    )
    .bind(lease.job)
    .bind(lease.owner)
    .bind(lease.attempt)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(touched > 0)
}

/// Failed for good. False if the lease is another's by now.
pub(super) async fn fail(
    tx: &mut Tx,
    lease: &Lease,
    reason: &str,
    now: UnixMicros,
) -> Result<bool, Error> {
    let touched = query(
        "UPDATE jobs SET state = 'failed', lease_owner = NULL, last_error = $4, finished_at = $5
         WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND state = 'running'",
    )
    .bind(lease.job)
    .bind(lease.owner)
    .bind(lease.attempt)
    .bind(reason)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(touched > 0)
}

/// Back into the queue until `run_at`. False if the lease is another's by now.
pub(super) async fn postpone(
    tx: &mut Tx,
    lease: &Lease,
    reason: &str,
    run_at: UnixMicros,
) -> Result<bool, Error> {
    let touched = query(
        "UPDATE jobs SET state = 'queued', lease_owner = NULL, last_error = $4, run_at = $5
         WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND state = 'running'",
    )
    .bind(lease.job)
    .bind(lease.owner)
    .bind(lease.attempt)
    .bind(reason)
    .bind(run_at)
    .execute(tx)
    .await?;
    Ok(touched > 0)
}

/// Back into the queue with one attempt more to go: that its worker stops is not the
/// job's fault. Attempts are only ever counted up, as they tell leases apart.
pub(super) async fn release(tx: &mut Tx, lease: &Lease) -> Result<bool, Error> {
    let touched = query(
        "UPDATE jobs SET state = 'queued', lease_owner = NULL, attempts_max = attempts_max + 1
         WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND state = 'running'",
    )
    .bind(lease.job)
    .bind(lease.owner)
    .bind(lease.attempt)
    .execute(tx)
    .await?;
    Ok(touched > 0)
}

/// Shows that `owner` lives, for those of `jobs` that it still holds.
pub(super) async fn beat(
    db: &Db,
    owner: Uuid,
    jobs: Vec<Uuid>,
    now: UnixMicros,
) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    // What is locked is about to commit: waiting for it would stop the other hearts.
    let held = query(
        "SELECT id FROM jobs
         WHERE lease_owner = $1 AND state = 'running' AND id {any_uuid:$2} {skip_locked}",
    )
    .bind(owner)
    .bind(jobs)
    .fetch_all(&mut tx)
    .await?;
    let held = held.iter().map(|row| row.get(0));
    query("UPDATE jobs SET heartbeat = heartbeat + 1, heartbeat_at = $2 WHERE id {any_uuid:$1}")
        .bind(held.collect::<Result<Vec<Uuid>, _>>()?)
        .bind(now)
        .execute(&mut tx)
        .await?;
    tx.commit().await
}

/// Those of `jobs` that `owner` holds no more.
pub(super) async fn lost(db: &Db, owner: Uuid, mut jobs: Vec<Uuid>) -> Result<Vec<Uuid>, Error> {
    let rows = query(
        "SELECT id FROM jobs
         WHERE lease_owner = $1 AND state = 'running' AND id {any_uuid:$2}",
    )
    .bind(owner)
    .bind(jobs.clone())
    .fetch_all(db)
    .await?;
    for row in rows {
        let held: Uuid = row.get(0)?;
        jobs.retain(|job| *job != held);
    }
    Ok(jobs)
}

/// Every running job, whoever runs it.
pub(super) async fn pulses(db: &Db) -> Result<Vec<Pulse>, Error> {
    let rows = query("SELECT id, heartbeat FROM jobs WHERE state = 'running' ORDER BY id LIMIT $1")
        .bind(PULSES_MAX)
        .fetch_all(db)
        .await?;
    let pulses = rows.iter().map(|row| {
        Ok(Pulse {
            job: row.get(0)?,
            heartbeat: row.get(1)?,
        })
    });
    pulses.collect()
}

/// Takes a job from a dead worker. One that killed all its workers has failed.
/// False if the worker turned out to live.
pub(super) async fn take_back(db: &Db, pulse: Pulse, now: UnixMicros) -> Result<bool, Error> {
    let mut tx = db.begin().await?;
    // Locked means that its worker is about to commit: it lives.
    let row = query(
        "SELECT attempts, attempts_max FROM jobs
         WHERE id = $1 AND heartbeat = $2 AND state = 'running' {skip_locked}",
    )
    .bind(pulse.job)
    .bind(pulse.heartbeat)
    .fetch_optional(&mut tx)
    .await?;
    let Some(row) = row else { return Ok(false) };
    let spent = row.get::<i64>(0)? >= row.get::<i64>(1)?;
    let (state, finished_at) = if spent {
        (State::Failed, Some(now))
    } else {
        (State::Queued, None)
    };
    query(
        // It was due once: a clock that was set back since does not make it wait.
        "UPDATE jobs SET state = $2, lease_owner = NULL, finished_at = $3,
             last_error = 'its worker died',
             run_at = CASE WHEN run_at > $4 THEN $4 ELSE run_at END
         WHERE id = $1",
    )
    .bind(pulse.job)
    .bind(state.as_str())
    .bind(finished_at)
    .bind(now)
    .execute(&mut tx)
    .await?;
    tx.commit().await?;
    Ok(true)
}

/// How many jobs are queued, and since when the longest due one is.
///
/// # Errors
/// See [`Error`].
pub async fn depth(db: &Db) -> Result<(i64, Option<UnixMicros>), Error> {
    let row = query("SELECT count(*), min(run_at) FROM jobs WHERE state = 'queued'")
        .fetch_one(db)
        .await?;
    Ok((row.get(0)?, row.get(1)?))
}
