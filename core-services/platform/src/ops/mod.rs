//! What operators look at and do, by RPC and by command: one code path for both; and what
//! other services' read models begin with.
//! Invariant: every deed is in the audit log of the service, in its own transaction.
//! Refuses to show payloads of events, jobs and sagas to people: they may tell of people.

mod status;
mod entities;
mod wire;
mod grpc;

use serde_json::json;
use tonic::{Code, Status as Refused};
use uuid::Uuid;

use crate::{
    audit::{self, Actor, Audit, NewEntry},
    clock::UnixMicros,
    db::{self, Db},
    errors,
    events::dead_letters::{self, Which},
    jobs,
    telemetry::Level,
};

pub use entities::{Entities, Entity};
pub use grpc::{Process, Served, service};
pub use status::{Backlog, LEASES_MAX, Status, status};

/// The protobuf service that every process answers.
pub const GRPC: &str = "platform.v1.OpsService";
/// Events that are named in one deed: an audit entry holds their ids.
pub const EVENTS_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Db(#[from] db::Error),
    #[error(transparent)]
    Audit(#[from] audit::Error),
    #[error("`{consumer}` has given up no event\nhint: {}", others(.of))]
    NoLetters { consumer: String, of: Vec<String> },
    #[error("no job that failed or waits has the id `{0}`")]
    NoSuchJob(Uuid),
    #[error("another job does the work of `{0}` by now")]
    Superseded(Uuid),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Db(error) => error.into(),
            Error::Audit(error) => error.into(),
            Error::NoLetters { .. } => errors::refused(Code::NotFound, "NO_DEAD_LETTERS", message),
            Error::NoSuchJob(_) => errors::refused(Code::NotFound, "NO_SUCH_JOB", message),
            Error::Superseded(_) => {
                errors::refused(Code::FailedPrecondition, "JOB_SUPERSEDED", message)
            }
        }
    }
}

fn others(of: &[String]) -> String {
    if of.is_empty() {
        return "no consumer has".to_owned();
    }
    let named: Vec<_> = of.iter().map(|name| format!("`{name}`")).collect();
    format!("these have: {}", named.join(", "))
}

/// A name without dead letters is far more often mistyped than empty.
async fn known(tx: &mut db::Tx, consumer: &str) -> Result<(), Error> {
    let of = dead_letters::consumers(tx).await?;
    if of.iter().any(|name| name == consumer) {
        return Ok(());
    }
    let consumer = consumer.to_owned();
    Err(Error::NoLetters { consumer, of })
}

/// Somebody who acts on one service.
pub struct Operator<'a> {
    pub db: &'a Db,
    pub audit: &'a Audit,
    pub actor: Actor,
}

impl Operator<'_> {
    /// Lets `consumer` try dead letters again. Returns how many.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn replay(self, consumer: &str, which: Which, now: UnixMicros) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let named = named(&which);
        let count = dead_letters::replay(&mut tx, consumer, which, now).await?;
        if count == 0 {
            known(&mut tx, consumer).await?;
        }
        let entry = letters("dead_letters.replayed", consumer, &named, count);
        self.commit(tx, entry, now).await?;
        Ok(count)
    }

    /// Deletes dead letters of `consumer` for good. Returns how many.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn purge(self, consumer: &str, which: Which, now: UnixMicros) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let named = named(&which);
        let count = dead_letters::purge(&mut tx, consumer, which).await?;
        if count == 0 {
            known(&mut tx, consumer).await?;
        }
        let entry = letters("dead_letters.purged", consumer, &named, count);
        self.commit(tx, entry, now).await?;
        Ok(count)
    }

    /// Runs a job again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn retry_job(self, id: Uuid, now: UnixMicros) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        match jobs::retry(&mut tx, id, now).await {
            Ok(true) => {}
            Ok(false) => return Err(Error::NoSuchJob(id)),
            Err(db::Error::Taken(_)) => return Err(Error::Superseded(id)),
            Err(error) => return Err(error.into()),
        }
        let entry = ("job.retried", Some(id.to_string()), json!({}));
        self.commit(tx, entry, now).await
    }

    /// Writes down that the log is to be another one; the caller makes it so.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn note_log_level(self, level: &Level, now: UnixMicros) -> Result<(), Error> {
        let tx = self.db.begin().await?;
        let until = level.until.map(UnixMicros::seconds);
        let detail = json!({ "filter": level.filter, "until": until });
        self.commit(tx, ("log_level.set", None, detail), now).await
    }

    async fn commit(
        self,
        mut tx: db::Tx,
        (action, subject, detail): Deed,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let entry = NewEntry {
            actor: self.actor,
            action,
            subject,
            detail,
            address_prefix: None,
        };
        self.audit.record(&mut tx, entry, now).await?;
        Ok(tx.commit().await?)
    }
}

/// Action, subject and detail of an audit entry.
type Deed = (&'static str, Option<String>, serde_json::Value);

fn letters(action: &'static str, consumer: &str, named: &serde_json::Value, count: u64) -> Deed {
    let detail = json!({ "events": named, "count": count });
    (action, Some(consumer.to_owned()), detail)
}

fn named(which: &Which) -> serde_json::Value {
    match which {
        Which::All => json!("all"),
        Which::Events(ids) => json!(ids),
    }
}

#[cfg(test)]
mod tests;
