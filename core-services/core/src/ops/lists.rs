//! What operators look at: dead letters, jobs, sagas, how a service is.

use clap::ValueEnum;
use core_platform::{
    clock::{self, UnixMicros},
    db::Db,
    events::dead_letters,
    jobs,
    ops::{self, Backlog, Status},
    saga,
};
use serde_json::Value;

use super::{
    flags::{ListFlags, ListJobsFlags, ListLettersFlags, ListSagasFlags, StatusFlags},
    open,
    rows::{Rows, at},
};
use crate::{
    Failure,
    offline::{block_on, print},
    services::Service,
};

pub(super) fn dead_letters(flags: &ListLettersFlags) -> Result<(), Failure> {
    let (consumer, after) = (flags.consumer.as_deref(), flags.after);
    list(&flags.list, async |db, limit| {
        let mut rows = Rows::new(&[
            "seq",
            "event_id",
            "type",
            "consumer",
            "tries",
            "reason",
            "died_at",
            "replaying",
            "last_error",
        ]);
        for letter in dead_letters::list(db, consumer, after, limit).await? {
            rows.push([
                letter.seq.into(),
                letter.event_id.to_string().into(),
                letter.kind.into(),
                letter.consumer.into(),
                letter.tries.into(),
                letter.reason.into(),
                at(letter.died_at),
                letter.is_replaying.into(),
                letter.error.into(),
            ]);
        }
        Ok(rows)
    })
}

pub(super) fn jobs(flags: &ListJobsFlags) -> Result<(), Failure> {
    let state = flags.state.as_deref().map(jobs::State::parse).transpose();
    let filter = jobs::Filter {
        state: state.map_err(Failure::usage)?,
        kind: flags.kind.clone(),
        before: flags.before,
    };
    list(&flags.list, async |db, limit| {
        let mut rows = Rows::new(&[
            "id",
            "kind",
            "state",
            "attempts",
            "attempts_max",
            "run_at",
            "finished_at",
            "last_error",
        ]);
        for job in jobs::list(db, &filter, limit).await? {
            rows.push([
                job.id.to_string().into(),
                job.kind.into(),
                job.state.as_str().into(),
                job.attempts.into(),
                job.attempts_max.into(),
                at(job.run_at),
                maybe(job.finished_at),
                job.last_error.into(),
            ]);
        }
        Ok(rows)
    })
}

pub(super) fn sagas(flags: &ListSagasFlags) -> Result<(), Failure> {
    let status = flags.status.as_deref().map(saga::Status::parse).transpose();
    let (status, before) = (status.map_err(Failure::usage)?, flags.before);
    list(&flags.list, async |db, limit| {
        let mut rows = Rows::new(&[
            "id",
            "kind",
            "step",
            "status",
            "attempts",
            "created_at",
            "updated_at",
            "last_error",
        ]);
        for saga in saga::list(db, status, before, limit).await? {
            rows.push([
                saga.id.to_string().into(),
                saga.kind.into(),
                saga.step.into(),
                saga.status.as_str().into(),
                saga.attempts.into(),
                at(saga.created_at),
                at(saga.updated_at),
                saga.last_error.into(),
            ]);
        }
        Ok(rows)
    })
}

pub(super) fn status(flags: &StatusFlags) -> Result<(), Failure> {
    let stores = flags.stores.settings()?;
    let chosen = match &flags.service {
        Some(one) => std::slice::from_ref(one),
        None => Service::value_variants(),
    };
    block_on(async {
        let mut rows = Rows::new(&[
            "service",
            "schema",
            "outbox",
            "outbox_oldest",
            "jobs_queued",
            "jobs_oldest",
            "jobs_running",
            "open_sagas",
            "dead_letters",
        ]);
        for service in chosen {
            let known = service.definition();
            let db = open(*service, &stores).await?;
            let found = ops::status(&db, known.migrations, clock::now()).await;
            db.close().await;
            let Status {
                schema,
                outbox,
                jobs,
                dead_letters,
                open_sagas,
                leases,
            } = found?;
            let ((outbox, outbox_oldest), (queued, jobs_oldest)) = (waits(outbox), waits(jobs));
            rows.push([
                known.name.into(),
                schema.into(),
                outbox,
                outbox_oldest,
                queued,
                jobs_oldest,
                leases.len().into(),
                open_sagas.into(),
                dead_letters.into(),
            ]);
        }
        print(rows.text(flags.json).as_bytes())
    })
}

/// Reads a list from the service's database and prints it.
fn list(
    flags: &ListFlags,
    read: impl AsyncFnOnce(&Db, i64) -> anyhow::Result<Rows>,
) -> Result<(), Failure> {
    let stores = flags.stores.settings()?;
    block_on(async {
        let db = open(flags.service, &stores).await?;
        let rows = read(&db, flags.limit).await;
        db.close().await;
        print(rows?.text(flags.json).as_bytes())
    })
}

fn waits(backlog: Backlog) -> (Value, Value) {
    (backlog.count.into(), maybe(backlog.oldest))
}

fn maybe(time: Option<UnixMicros>) -> Value {
    time.map_or(Value::Null, at)
}
