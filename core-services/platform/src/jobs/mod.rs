//! Work for later: rows in the service's own database, run by leased workers.
//! Invariant: a job exists if the transaction that wanted it committed; of all
//! attempts at it, one at most may commit through its [`JobContext`].
//! Refuses the wall clock as judge of a lease: it only says when a job is due.

mod store;
mod lease;
mod cron;
mod worker;
mod operate;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    backoff::Backoff,
    clock::UnixMicros,
    db::{self, Db, Tx},
};

pub use cron::CronError;
use cron::Schedule;
use lease::Lease;
pub use operate::{Filter, Listed, list, retry};
pub use store::{State, depth};
pub use worker::{Settings, Waker, Worker};

/// Enough for a few bad minutes; who wants to go on longer says so.
const ATTEMPTS_MAX: u32 = 10;
/// The pauses between attempts; a longer one would outlast the trouble.
pub(crate) const PAUSES: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(15 * 60),
};

/// What runs the jobs of one kind. An attempt may be repeated: effects go through
/// [`JobContext::begin`], calls to others carry the job's id as idempotency key.
#[async_trait]
pub trait Job: Send + Sync + 'static {
    /// One attempt.
    async fn run(&self, context: &JobContext) -> Result<(), Failure>;
}

/// Why an attempt came to nothing. Reasons are kept and logged: no secrets, no personal data.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Trying again may help, after a pause of the handler's choice or the usual one.
    #[error("{reason}")]
    Retry {
        after: Option<Duration>,
        reason: String,
    },
    /// It never helps.
    #[error("{0}")]
    Permanent(String),
    /// Another worker took over; this attempt must leave nothing.
    #[error("the lease was lost")]
    LeaseLost,
}

impl Failure {
    /// Try again after the usual pause.
    pub fn retry(reason: impl ToString) -> Self {
        Self::Retry {
            after: None,
            reason: reason.to_string(),
        }
    }
}

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        Self::retry(error)
    }
}

/// What an attempt knows, and its way to commit.
pub struct JobContext {
    pub db: Db,
    /// When this attempt began.
    pub now: UnixMicros,
    /// Counted from 1.
    pub attempt: i64,
    /// Also the idempotency key of calls to others.
    pub id: Uuid,
    payload: Json,
    /// Fires when the process stops or the lease is lost: time to find an end.
    pub cancelled: CancellationToken,
    lease: Lease,
}

impl JobContext {
    /// # Errors
    /// A payload of another shape never gets better.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        T::deserialize(&self.payload)
            .map_err(|error| Failure::Permanent(format!("the payload cannot be read: {error}")))
    }

    /// A transaction that only commits while the lease is held: who takes over waits for it.
    ///
    /// # Errors
    /// [`Failure::LeaseLost`] when another worker took over.
    pub async fn begin(&self) -> Result<Tx, Failure> {
        let mut tx = self.db.begin().await?;
        if store::lock(&mut tx, &self.lease).await? {
            Ok(tx)
        } else {
            Err(Failure::LeaseLost)
        }
    }

    /// Ends the job in the transaction that holds its effects, so that they happen once.
    ///
    /// # Errors
    /// [`Failure::LeaseLost`] when another worker took over.
    pub async fn finish(&self, tx: &mut Tx) -> Result<(), Failure> {
        if store::finish(tx, &self.lease, self.now).await? {
            Ok(())
        } else {
            Err(Failure::LeaseLost)
        }
    }
}

/// A job to be enqueued.
pub struct NewJob {
    kind: String,
    payload: Json,
    run_at: Option<UnixMicros>,
    unique_key: Option<String>,
    attempts_max: u32,
}

impl NewJob {
    /// # Errors
    /// A payload that is no JSON: a map with keys other than strings.
    pub fn new(kind: &str, payload: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self {
            kind: kind.to_owned(),
            payload: serde_json::to_value(payload)?,
            run_at: None,
            unique_key: None,
            attempts_max: ATTEMPTS_MAX,
        })
    }

    /// The job of a tick: the schedule's kind is its key.
    fn scheduled(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            payload: Json::Null,
            run_at: None,
            unique_key: Some(format!("cron:{kind}")),
            attempts_max: ATTEMPTS_MAX,
        }
    }

    /// Not before `at`.
    #[must_use]
    pub fn run_at(mut self, at: UnixMicros) -> Self {
        self.run_at = Some(at);
        self
    }

    /// At most one unfinished job has this key.
    #[must_use]
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.unique_key = Some(key.into());
        self
    }

    /// After so many attempts it has failed.
    #[must_use]
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = attempts;
        self
    }
}

/// Adds a job in the caller's transaction. Returns its id, or that of the unfinished
/// job with the same key.
///
/// # Errors
/// See [`db::Error`].
pub async fn enqueue(tx: &mut Tx, job: NewJob, now: UnixMicros) -> Result<Uuid, db::Error> {
    store::insert(tx, &job, now).await.map(|(id, _)| id)
}

/// How the jobs of one kind are run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many a process runs at once.
    pub parallel_max: usize,
    /// An attempt that takes longer is dropped and counts as one to repeat.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parallel_max: 4,
            timeout: Duration::from_secs(300),
        }
    }
}

struct Kind {
    options: Options,
    handler: Arc<dyn Job>,
}

/// The kinds a worker runs, and their schedules.
#[derive(Default)]
pub struct Jobs {
    kinds: BTreeMap<String, Kind>,
    schedules: Vec<Schedule>,
}

impl Jobs {
    /// None but the platform's own, which forgets jobs that finished long ago.
    ///
    /// # Errors
    /// Never: its pattern is tested.
    pub fn new() -> Result<Self, CronError> {
        let mut jobs = Self::default();
        jobs.add(operate::SWEEP, Options::default(), operate::Sweep);
        jobs.schedule(operate::SWEEP, "17 * * * *")?;
        Ok(jobs)
    }

    /// Runs jobs of `kind` by `handler` from now on.
    pub fn add(&mut self, kind: &str, options: Options, handler: impl Job) {
        let handler = Arc::new(handler);
        self.kinds
            .insert(kind.to_owned(), Kind { options, handler });
    }

    /// Enqueues a job of `kind`, its payload `null`, at each tick of a cron pattern in
    /// UTC: one for all replicas, one for all ticks that were missed, none while the
    /// previous one is unfinished.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn schedule(&mut self, kind: &str, pattern: &str) -> Result<(), CronError> {
        self.schedules.push(Schedule::parse(kind, pattern)?);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
