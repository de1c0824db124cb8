//! Dead letters: events that a consumer could not handle, for an operator to judge.
//! Invariant: one row per consumer and event; a replay that works deletes it in the
//! transaction of the effect.
//! Refuses to show `body`: operators see which event and why, not what users wrote.

use uuid::Uuid;

use super::{Event, EventId};
use crate::{
    clock::UnixMicros,
    db::{Db, Error, Row, Tx, query},
    reason::shortened,
};

/// Letters of one page.
const PAGE_MAX: i64 = 200;

/// Why an event was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The handler said that no later try would help.
    Permanent,
    /// As many tries as are allowed.
    Exhausted,
}

impl Reason {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Exhausted => "exhausted",
        }
    }
}

/// One dead letter as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Ascending; the page after this letter begins behind it.
    pub seq: i64,
    pub consumer: String,
    pub event_id: EventId,
    pub kind: String,
    pub tries: i64,
    /// `permanent` or `exhausted`.
    pub reason: String,
    pub error: String,
    pub died_at: UnixMicros,
    /// An operator asked for it to be tried again.
    pub is_replaying: bool,
}

/// Which letters of a consumer.
#[derive(Clone, Debug)]
pub enum Which {
    All,
    Events(Vec<EventId>),
}

impl Which {
    fn into_parameters(self) -> (bool, Vec<Uuid>) {
        match self {
            Self::All => (true, Vec::new()),
            Self::Events(ids) => (false, ids),
        }
    }
}

/// Up to `limit` letters behind `after` (0 for the first page), of one consumer or of all.
///
/// # Errors
/// See [`Error`].
pub async fn list(
    db: &Db,
    consumer: Option<&str>,
    after: i64,
    limit: i64,
) -> Result<Vec<DeadLetter>, Error> {
    let rows = query(
        "SELECT seq, consumer, event_id, type, tries, reason, error, died_at,
                replay_at IS NOT NULL
         FROM dead_letters WHERE seq > $1 AND ($2 OR consumer = $3) ORDER BY seq LIMIT $4",
    )
    .bind(after)
    .bind(consumer.is_none())
    .bind(consumer.unwrap_or_default())
    .bind(limit.clamp(1, PAGE_MAX))
    .fetch_all(db)
    .await?;
    rows.iter().map(letter).collect()
}

fn letter(row: &Row) -> Result<DeadLetter, Error> {
    Ok(DeadLetter {
        seq: row.get(0)?,
        consumer: row.get(1)?,
        event_id: row.get(2)?,
        kind: row.get(3)?,
        tries: row.get(4)?,
        reason: row.get(5)?,
        error: row.get(6)?,
        died_at: row.get(7)?,
        is_replaying: row.get(8)?,
    })
}

/// Lets the consumer that gave them up try them again, and nobody else. Returns how many.
///
/// # Errors
/// See [`Error`].
pub async fn replay(
    tx: &mut Tx,
    consumer: &str,
    which: Which,
    now: UnixMicros,
) -> Result<u64, Error> {
    let (all, ids) = which.into_parameters();
    query(
        "UPDATE dead_letters SET replay_at = $4, tries = 0
         WHERE consumer = $1 AND replay_at IS NULL AND ($2 OR event_id {any_uuid:$3})",
    )
    .bind(consumer)
    .bind(all)
    .bind(ids)
    .bind(now)
    .execute(tx)
    .await
}

/// Deletes them for good. Returns how many.
///
/// # Errors
/// See [`Error`].
pub async fn purge(tx: &mut Tx, consumer: &str, which: Which) -> Result<u64, Error> {
    let (all, ids) = which.into_parameters();
    query(
        "DELETE FROM dead_letters
         WHERE consumer = $1 AND ($2 OR event_id {any_uuid:$3})",
    )
    .bind(consumer)
    .bind(all)
    .bind(ids)
    .execute(tx)
    .await
}

/// Consumers with dead letters that are named to an operator.
const CONSUMERS_MAX: i64 = 50;

/// The consumers that have dead letters.
///
/// # Errors
/// See [`Error`].
pub async fn consumers(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let rows = query("SELECT DISTINCT consumer FROM dead_letters ORDER BY consumer LIMIT $1")
        .bind(CONSUMERS_MAX)
        .fetch_all(tx)
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Everything a new letter needs.
pub(super) struct Death<'a> {
    pub(super) consumer: &'a str,
    pub(super) event: &'a Event,
    pub(super) body: &'a [u8],
    pub(super) tries: u32,
    pub(super) reason: Reason,
    pub(super) error: &'a str,
    pub(super) now: UnixMicros,
}

/// Keeps the event as a dead letter, in a transaction of its own.
pub(super) async fn bury(db: &Db, death: Death<'_>) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    query(
        "INSERT INTO dead_letters
             (consumer, event_id, type, tries, reason, error, died_at, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (consumer, event_id) DO UPDATE
         SET tries = $4, reason = $5, error = $6, died_at = $7",
    )
    .bind(death.consumer)
    .bind(death.event.id)
    .bind(&death.event.kind)
    .bind(death.tries)
    .bind(death.reason.text())
    .bind(shortened(death.error))
    .bind(death.now)
    .bind(death.body)
    .execute(&mut tx)
    .await?;
    tx.commit().await
}

/// How many there are.
///
/// # Errors
/// See [`Error`].
pub async fn count(db: &Db) -> Result<i64, Error> {
    let row = query("SELECT COUNT(*) FROM dead_letters")
        .fetch_one(db)
        .await?;
    row.get(0)
}
