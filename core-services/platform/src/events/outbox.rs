//! The outbox: events that were committed and are not on the bus yet.
//! Invariant: a row goes only by the claim under which the bus took it; a claim whose
//! owner died ends by itself.
//! Refuses to publish outside a transaction: an event without its cause is a lie.

use tokio::sync::Notify;
use uuid::Uuid;

use super::event::{EVENT_BYTES_MAX, EventId, NewEvent, is_type};
use crate::{
    clock::UnixMicros,
    db::{Db, Error, Row, Tx, query},
};

/// Some outbox of this process was written. A hint, given before the commit: relays look
/// more often for a while. The truth is the table.
pub(super) static WRITTEN: Notify = Notify::const_new();

/// An event on its way to the bus.
pub struct Outgoing {
    pub id: EventId,
    pub kind: String,
    pub body: Vec<u8>,
}

impl From<NewEvent> for Outgoing {
    fn from(event: NewEvent) -> Self {
        Self {
            id: event.id(),
            kind: event.kind().to_owned(),
            body: event.encode(),
        }
    }
}

/// Publishes the event when `tx` is committed, and never otherwise.
///
/// # Errors
/// See [`Error`]; a type against the rules and more than 128 KiB are refused.
pub async fn publish(tx: &mut Tx, event: NewEvent) -> Result<EventId, Error> {
    let at = event.at;
    let Outgoing { id, kind, body } = event.into();
    if !is_type(&kind) {
        return Err(Error::Refused("an event's type such as `user.created`"));
    }
    if body.len() > EVENT_BYTES_MAX {
        return Err(Error::Refused("an event below 128 KiB"));
    }
    query(
        "INSERT INTO outbox (event_id, type, created_at, free_at, body)
         VALUES ($1, $2, $3, $3, $4)",
    )
    .bind(id)
    .bind(kind)
    .bind(at)
    .bind(body)
    .execute(tx)
    .await?;
    WRITTEN.notify_waiters();
    Ok(id)
}

/// Takes the oldest free events under `lease`, in order.
pub(super) async fn claim(
    db: &Db,
    lease: Uuid,
    now: UnixMicros,
    until: UnixMicros,
    limit: i64,
) -> Result<Vec<Outgoing>, Error> {
    // Without asking for SQLite's write lock while there is nothing to do.
    let free = query("SELECT seq FROM outbox WHERE free_at <= $1 LIMIT 1").bind(now);
    if free.fetch_optional(db).await?.is_none() {
        return Ok(Vec::new());
    }
    let mut tx = db.begin().await?;
    // Picked apart from the update: PostgreSQL may run a subquery with a limit twice.
    let rows = query(
        "WITH picked AS MATERIALIZED (
             SELECT seq FROM outbox WHERE free_at <= $1 ORDER BY seq LIMIT $2 {skip_locked}
         )
         UPDATE outbox SET free_at = $3, lease = $4 WHERE seq IN (SELECT seq FROM picked)
         RETURNING seq, event_id, type, body",
    )
    .bind(now)
    .bind(limit)
    .bind(until)
    .bind(lease)
    .fetch_all(&mut tx)
    .await?;
    tx.commit().await?;
    let mut claimed = rows.iter().map(outgoing).collect::<Result<Vec<_>, _>>()?;
    claimed.sort_unstable_by_key(|(seq, _)| *seq);
    Ok(claimed.into_iter().map(|(_, event)| event).collect())
}

fn outgoing(row: &Row) -> Result<(i64, Outgoing), Error> {
    let event = Outgoing {
        id: row.get(1)?,
        kind: row.get(2)?,
        body: row.get(3)?,
    };
    Ok((row.get(0)?, event))
}

/// The bus has what was claimed under `lease`.
pub(super) async fn done(db: &Db, lease: Uuid) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    query("DELETE FROM outbox WHERE lease = $1")
        .bind(lease)
        .execute(&mut tx)
        .await?;
    tx.commit().await
}

/// The bus may not have it: free for the next look.
pub(super) async fn release(db: &Db, lease: Uuid, now: UnixMicros) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    query("UPDATE outbox SET free_at = $2, lease = NULL WHERE lease = $1")
        .bind(lease)
        .bind(now)
        .execute(&mut tx)
        .await?;
    tx.commit().await
}

/// How many wait, and since when the oldest does.
///
/// # Errors
/// See [`Error`].
pub async fn waiting(db: &Db) -> Result<(i64, Option<UnixMicros>), Error> {
    let row = query("SELECT COUNT(*), MIN(created_at) FROM outbox")
        .fetch_one(db)
        .await?;
    Ok((row.get(0)?, row.get(1)?))
}
