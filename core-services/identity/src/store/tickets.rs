//! What was begun and not finished yet.
//! Invariant: a ticket is found by its hash, its kind and before its end, or not at all.

use core_platform::{
    clock::UnixMicros,
    db::{Error, Row, Tx, query},
};
use uuid::Uuid;

/// A ticket; `state` is sealed.
pub(crate) struct TicketRow {
    pub(crate) user: Option<Uuid>,
    pub(crate) state: Vec<u8>,
}

pub(crate) struct NewTicket<'a> {
    pub(crate) hash: &'a [u8],
    pub(crate) kind: &'static str,
    pub(crate) user: Option<Uuid>,
    pub(crate) state: &'a [u8],
    pub(crate) expires_at: UnixMicros,
}

pub(crate) async fn insert(tx: &mut Tx, new: &NewTicket<'_>, now: UnixMicros) -> Result<(), Error> {
    query(
        "INSERT INTO tickets (hash, kind, user_id, state, attempts, created_at, expires_at)
         VALUES ($1, $2, $3, $4, 0, $5, $6)",
    )
    .bind(new.hash)
    .bind(new.kind)
    .bind(new.user)
    .bind(new.state)
    .bind(now)
    .bind(new.expires_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes it away: of two who have it one gets it.
pub(crate) async fn take(
    tx: &mut Tx,
    hash: &[u8],
    kind: &'static str,
    now: UnixMicros,
) -> Result<Option<TicketRow>, Error> {
    let row = query(
        "DELETE FROM tickets WHERE hash = $1 AND kind = $2 AND expires_at > $3
         RETURNING user_id, state",
    )
    .bind(hash)
    .bind(kind)
    .bind(now)
    .fetch_optional(&mut *tx)
    .await?;
    row.as_ref().map(ticket).transpose()
}

/// Counts a try before it is made, and holds the ticket until the transaction ends; `None` if
/// there were enough tries.
pub(crate) async fn attempt(
    tx: &mut Tx,
    hash: &[u8],
    kind: &'static str,
    attempts_max: i64,
    now: UnixMicros,
) -> Result<Option<TicketRow>, Error> {
    let row = query(
        "UPDATE tickets SET attempts = attempts + 1
         WHERE hash = $1 AND kind = $2 AND expires_at > $3 AND attempts < $4
         RETURNING user_id, state",
    )
    .bind(hash)
    .bind(kind)
    .bind(now)
    .bind(attempts_max)
    .fetch_optional(&mut *tx)
    .await?;
    row.as_ref().map(ticket).transpose()
}

fn ticket(row: &Row) -> Result<TicketRow, Error> {
    Ok(TicketRow {
        user: row.get(0)?,
        state: row.get(1)?,
    })
}

pub(crate) async fn delete(tx: &mut Tx, hash: &[u8]) -> Result<(), Error> {
    query("DELETE FROM tickets WHERE hash = $1")
        .bind(hash)
        .execute(tx)
        .await?;
    Ok(())
}

/// All of a user's.
pub(crate) async fn void(tx: &mut Tx, user: Uuid) -> Result<(), Error> {
    query("DELETE FROM tickets WHERE user_id = $1")
        .bind(user)
        .execute(tx)
        .await?;
    Ok(())
}

/// Forgets those that have expired, whoever's they were.
pub(crate) async fn sweep(tx: &mut Tx, now: UnixMicros) -> Result<u64, Error> {
    query("DELETE FROM tickets WHERE expires_at <= $1")
        .bind(now)
        .execute(tx)
        .await
}
