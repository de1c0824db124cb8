//! How a service is, as its database tells: no process of it need run.
//! Invariant: reads only, each by an index or over a table that is short while all is well.

use crate::{
    clock::UnixMicros,
    db::{Db, Error, Migration, Owner},
    events::{self, dead_letters},
    jobs::{self, Filter, Listed, State},
    saga,
};

/// Leases that are shown.
pub const LEASES_MAX: i64 = 100;

/// See [`status`].
#[derive(Clone, Debug)]
pub struct Status {
    /// The version of its own tables.
    pub schema: i64,
    /// Events that the bus does not have yet.
    pub outbox: Backlog,
    /// Jobs that are queued.
    pub jobs: Backlog,
    pub dead_letters: i64,
    /// Neither done nor undone.
    pub open_sagas: i64,
    /// The jobs that run, at most [`LEASES_MAX`].
    pub leases: Vec<Listed>,
}

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    pub count: i64,
    /// Since when the one that waits for longest does; none of what is not due yet.
    pub oldest: Option<UnixMicros>,
}

impl Backlog {
    fn new((count, oldest): (i64, Option<UnixMicros>), now: UnixMicros) -> Self {
        let oldest = oldest.filter(|oldest| *oldest <= now);
        Self { count, oldest }
    }
}

/// The state of the service whose tables these are.
///
/// # Errors
/// See [`Error`].
pub async fn status(db: &Db, tables: &[Migration], now: UnixMicros) -> Result<Status, Error> {
    let steps = db.status(tables).await?;
    let applied = steps
        .iter()
        .filter(|step| step.owner == Owner::Service && step.is_applied);
    let running = Filter {
        state: Some(State::Running),
        ..Filter::default()
    };
    Ok(Status {
        schema: applied.map(|step| step.version).max().unwrap_or(0),
        outbox: Backlog::new(events::waiting(db).await?, now),
        jobs: Backlog::new(jobs::depth(db).await?, now),
        dead_letters: dead_letters::count(db).await?,
        open_sagas: saga::open(db).await?,
        leases: jobs::list(db, &running, LEASES_MAX).await?,
    })
}
