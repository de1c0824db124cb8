//! The inbox: which consumer has handled which event, and how often it tried.
//! Invariant: `handled_at` is set in the transaction of the effect, so that both are
//! there or neither is; a second delivery finds it and does nothing.
//! Refuses to forget before the bus does: rows outlive the bus's log.

use super::EventId;
use crate::{
    clock::UnixMicros,
    db::{Db, Error, Tx, query},
};

/// Rows deleted by one transaction: short enough for the writers that wait.
const SWEEP_MAX: i64 = 1_000;

/// Marks the event as handled; false if it was already. On PostgreSQL a second
/// replica waits here until the first has committed or given up.
pub(super) async fn handle(
    tx: &mut Tx,
    consumer: &str,
    event: EventId,
    now: UnixMicros,
) -> Result<bool, Error> {
    let touched = query(
        "INSERT INTO inbox (consumer, event_id, tries, handled_at, seen_at)
         VALUES ($1, $2, 0, $3, $3)
         ON CONFLICT (consumer, event_id) DO UPDATE SET handled_at = $3, seen_at = $3
         WHERE inbox.handled_at IS NULL",
    )
    .bind(consumer)
    .bind(event)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(touched > 0)
}

/// Writes one more try down; returns how many that makes, or nothing if it was handled.
pub(super) async fn count_try(
    db: &Db,
    consumer: &str,
    event: EventId,
    now: UnixMicros,
) -> Result<Option<u32>, Error> {
    let mut tx = db.begin().await?;
    let row = query(
        "INSERT INTO inbox (consumer, event_id, tries, seen_at) VALUES ($1, $2, 1, $3)
         ON CONFLICT (consumer, event_id) DO UPDATE SET tries = inbox.tries + 1, seen_at = $3
         WHERE inbox.handled_at IS NULL
         RETURNING tries",
    )
    .bind(consumer)
    .bind(event)
    .bind(now)
    .fetch_optional(&mut tx)
    .await?;
    let tries = row.map(|row| row.get::<i64>(0)).transpose()?;
    tx.commit().await?;
    Ok(tries.map(|tries| u32::try_from(tries).unwrap_or(u32::MAX)))
}

/// Deletes what was last seen before `before`, oldest first; true if there may be more.
pub(super) async fn sweep(db: &Db, before: UnixMicros) -> Result<bool, Error> {
    let mut tx = db.begin().await?;
    let swept = query(
        "DELETE FROM inbox WHERE (consumer, event_id) IN (
             SELECT consumer, event_id FROM inbox WHERE seen_at < $1 ORDER BY seen_at LIMIT $2
         )",
    )
    .bind(before)
    .bind(SWEEP_MAX)
    .execute(&mut tx)
    .await?;
    tx.commit().await?;
    Ok(i64::try_from(swept).is_ok_and(|swept| swept == SWEEP_MAX))
}
