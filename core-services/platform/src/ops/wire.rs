//! What is found in the database, as the messages have it.
//! Invariant: a number that is too large for its field is told as the largest there is.

use core_proto::platform::v1 as wire;
use palisade_documents::diagnostic::Diagnostic;
use prost_types::Timestamp;

use super::Backlog;
use crate::{
    clock::UnixMicros, db::Pool, events::dead_letters::DeadLetter, jobs, saga, telemetry::Level,
};

pub(super) fn timestamp(at: UnixMicros) -> Timestamp {
    Timestamp {
        seconds: at.seconds(),
        nanos: at.subsecond_nanos(),
    }
}

/// JSON would write 64 bits as text.
pub(super) fn number(value: impl TryInto<i32>) -> i32 {
    value.try_into().unwrap_or(i32::MAX)
}

pub(super) fn dead_letter(letter: DeadLetter) -> wire::DeadLetter {
    wire::DeadLetter {
        event_id: letter.event_id.to_string(),
        r#type: letter.kind,
        consumer: letter.consumer,
        tries: number(letter.tries),
        reason: letter.reason,
        last_error: letter.error,
        died_at: Some(timestamp(letter.died_at)),
        replaying: letter.is_replaying,
    }
}

pub(super) fn job(job: jobs::Listed) -> wire::Job {
    wire::Job {
        id: job.id.to_string(),
        kind: job.kind,
        state: job.state.as_str().to_owned(),
        attempts: number(job.attempts),
        attempts_max: number(job.attempts_max),
        last_error: job.last_error.unwrap_or_default(),
        created_at: Some(timestamp(job.created_at)),
        run_at: Some(timestamp(job.run_at)),
        finished_at: job.finished_at.map(timestamp),
    }
}

pub(super) fn lease(job: jobs::Listed) -> wire::Lease {
    wire::Lease {
        job: job.id.to_string(),
        kind: job.kind,
        owner: job.lease_owner.map(|id| id.to_string()).unwrap_or_default(),
        attempt: number(job.attempts),
        heartbeat_at: job.heartbeat_at.map(timestamp),
    }
}

pub(super) fn saga(saga: saga::Listed) -> wire::Saga {
    wire::Saga {
        id: saga.id.to_string(),
        kind: saga.kind,
        step: saga.step,
        status: saga.status.as_str().to_owned(),
        attempts: number(saga.attempts),
        last_error: saga.last_error.unwrap_or_default(),
        created_at: Some(timestamp(saga.created_at)),
        updated_at: Some(timestamp(saga.updated_at)),
    }
}

pub(super) fn backlog(backlog: Backlog) -> wire::Backlog {
    wire::Backlog {
        count: number(backlog.count),
        oldest: backlog.oldest.map(timestamp),
    }
}

pub(super) fn pool(pool: Pool) -> wire::Pool {
    wire::Pool {
        name: pool.name.to_owned(),
        open: number(pool.open),
        idle: number(pool.idle),
        max: number(pool.max),
    }
}

pub(super) fn fault(fault: &Diagnostic) -> wire::PolicyFault {
    wire::PolicyFault {
        file: fault.file.clone(),
        line: number(fault.line),
        column: number(fault.column),
        message: fault.message.clone(),
        hint: fault.hint.clone().unwrap_or_default(),
    }
}

pub(super) fn level(level: Level) -> wire::LogLevel {
    wire::LogLevel {
        filter: level.filter,
        until: level.until.map(timestamp),
    }
}
