//! `Idempotency-Key`: the same call twice has one effect and one answer.
//! Invariant: the answer is kept in the transaction of the effects, so there is
//! never one without the other; a key belongs to one request of one principal.
//! Refuses to keep refusals: a refused call had no effects and may be sent again.

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use tonic::{Code, Status, metadata::MetadataValue};
use uuid::Uuid;

use crate::{
    clock::UnixMicros,
    db::{self, Db, Row, Tx, query},
    errors,
    jobs::{CronError, Failure, Job, JobContext, Jobs, Options},
};

/// As long as Stripe takes; UUIDs and their like are far below.
const KEY_CHARS_MAX: usize = 255;
/// How long an answer is given again.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// Longer than any call may take: whoever began and did not finish by then is gone.
const LEASE: Duration = Duration::from_secs(60);
/// Rows that one transaction of the sweep deletes: it holds SQLite's only write lock.
const SWEEP_ROWS: i64 = 500;
const SWEEP: &str = "platform.idempotency-sweep";
/// The edge sets the HTTP status from it.
const HTTP_STATUS: &str = "x-http-status";

/// Whose key, for what.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The caller: keys of different callers have nothing to do with each other.
    pub principal: &'a str,
    /// The RPC, such as `/order.v1.OrderService/PlaceOrder`.
    pub method: &'a str,
    /// What the caller sent.
    pub key: &'a str,
}

/// What to do with a call.
#[derive(Debug)]
pub enum Begun {
    /// Do it, and [`finish`] in the transaction of its effects.
    First(Claim),
    /// It was done: give this answer.
    Again(Answer),
}

/// The right to finish a call.
#[derive(Debug)]
pub struct Claim {
    principal: String,
    method: String,
    key: String,
    lease: Uuid,
}

/// An answer to keep.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// What `x-http-status` said, if it did.
    pub http_status: Option<u16>,
    /// The encoded message.
    pub message: Vec<u8>,
}

/// Answers hold personal data.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("http_status", &self.http_status)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("an idempotency key has 1 to {KEY_CHARS_MAX} visible ASCII characters")]
    Malformed,
    #[error("this idempotency key was used for another request")]
    Reused,
    #[error("a call with this idempotency key is in flight")]
    InFlight,
    /// The call took longer than its lease and another one began: leave no effects.
    #[error("the call lost its idempotency key to a later one")]
    Lost,
    #[error(transparent)]
    Db(#[from] db::Error),
}

/// Begins a call, or finds its answer. `request` is the encoded message.
///
/// # Errors
/// See [`Error`].
pub async fn begin(
    db: &Db,
    scope: Scope<'_>,
    request: &[u8],
    now: UnixMicros,
) -> Result<Begun, Error> {
    let key = scope.key;
    if key.is_empty() || key.len() > KEY_CHARS_MAX || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::Malformed);
    }
    let hash = digest(&SHA256, request);
    let claim = Claim {
        principal: scope.principal.to_owned(),
        method: scope.method.to_owned(),
        key: key.to_owned(),
        lease: Uuid::now_v7(),
    };
    let mut tx = db.begin().await?;
    if !claim.take(&mut tx, hash.as_ref(), now).await? {
        let row = claim.find(&mut tx).await?;
        return judge(&row, hash.as_ref());
    }
    tx.commit().await?;
    Ok(Begun::First(claim))
}

/// Keeps the answer in the transaction of the effects.
///
/// # Errors
/// [`Error::Lost`]: the transaction must not commit.
pub async fn finish(
    tx: &mut Tx,
    claim: &Claim,
    answer: &Answer,
    now: UnixMicros,
) -> Result<(), Error> {
    let kept = query(
        "UPDATE idempotency_keys SET http_status = $5, response = $6, expires_at = $7
         WHERE principal = $1 AND method = $2 AND key = $3 AND lease = $4 AND response IS NULL",
    )
    .bind(&claim.principal)
    .bind(&claim.method)
    .bind(&claim.key)
    .bind(claim.lease)
    .bind(answer.http_status.map(i64::from))
    .bind(&answer.message)
    .bind(now + KEEP)
    .execute(tx)
    .await?;
    if kept > 0 { Ok(()) } else { Err(Error::Lost) }
}

/// Gives the key back after a refusal, so that the caller need not wait for the lease.
///
/// # Errors
/// See [`db::Error`].
pub async fn abandon(db: &Db, claim: &Claim) -> Result<(), db::Error> {
    let mut tx = db.begin().await?;
    query(
        "DELETE FROM idempotency_keys
         WHERE principal = $1 AND method = $2 AND key = $3 AND lease = $4 AND response IS NULL",
    )
    .bind(&claim.principal)
    .bind(&claim.method)
    .bind(&claim.key)
    .bind(claim.lease)
    .execute(&mut tx)
    .await?;
    tx.commit().await
}

impl Claim {
    /// True if the key is new, its answer is past its time, or whoever began is gone.
    async fn take(&self, tx: &mut Tx, hash: &[u8], now: UnixMicros) -> Result<bool, db::Error> {
        let taken = query(
            "INSERT INTO idempotency_keys
                 (principal, method, key, request_hash, lease, lease_until, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (principal, method, key) DO UPDATE SET
                 request_hash = excluded.request_hash, lease = excluded.lease,
                 lease_until = excluded.lease_until, expires_at = excluded.expires_at,
                 http_status = NULL, response = NULL
             WHERE idempotency_keys.expires_at <= $8
                 OR (idempotency_keys.response IS NULL AND idempotency_keys.lease_until <= $8
                     AND idempotency_keys.request_hash = excluded.request_hash)",
        )
        .bind(&self.principal)
        .bind(&self.method)
        .bind(&self.key)
        .bind(hash)
        .bind(self.lease)
        .bind(now + LEASE)
        .bind(now + KEEP)
        .bind(now)
        .execute(tx)
        .await?;
        Ok(taken > 0)
    }

    async fn find(&self, tx: &mut Tx) -> Result<Row, db::Error> {
        query(
            "SELECT request_hash, http_status, response FROM idempotency_keys
             WHERE principal = $1 AND method = $2 AND key = $3",
        )
        .bind(&self.principal)
        .bind(&self.method)
        .bind(&self.key)
        .fetch_optional(tx)
        .await?
        // Given back between our two statements.
        .ok_or(db::Error::Collision)
    }
}

fn judge(row: &Row, hash: &[u8]) -> Result<Begun, Error> {
    if row.get::<Vec<u8>>(0)? != hash {
        return Err(Error::Reused);
    }
    let Some(message) = row.get::<Option<Vec<u8>>>(2)? else {
        return Err(Error::InFlight);
    };
    let http_status = row.get::<Option<i64>>(1)?;
    Ok(Begun::Again(Answer {
        http_status: http_status.and_then(|status| u16::try_from(status).ok()),
        message,
    }))
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let said = error.to_string();
        match error {
            Error::Malformed => {
                errors::refused(Code::InvalidArgument, "IDEMPOTENCY_KEY_MALFORMED", said)
            }
            Error::Reused => {
                let code = Code::InvalidArgument;
                let mut status = errors::refused(code, "IDEMPOTENCY_KEY_REUSED", said);
                let http = MetadataValue::from_static("422");
                status.metadata_mut().insert(HTTP_STATUS, http);
                status
            }
            Error::InFlight => errors::refused(Code::Aborted, "IDEMPOTENCY_KEY_IN_FLIGHT", said),
            Error::Lost => errors::refused(Code::Aborted, "IDEMPOTENCY_KEY_LOST", said),
            Error::Db(error) => error.into(),
        }
    }
}

/// Lets the service's worker forget answers that are past their time.
///
/// # Errors
/// Never: its pattern is tested.
pub fn register(jobs: &mut Jobs) -> Result<(), CronError> {
    jobs.add(SWEEP, Options::default(), Sweep);
    jobs.schedule(SWEEP, "43 * * * *")
}

struct Sweep;

#[async_trait]
impl Job for Sweep {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        while !context.cancelled.is_cancelled() {
            let mut tx = context.begin().await?;
            let gone = query(
                "DELETE FROM idempotency_keys WHERE (principal, method, key) IN (
                     SELECT principal, method, key FROM idempotency_keys
                     WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
            )
            .bind(context.now)
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

#[cfg(test)]
mod tests;
