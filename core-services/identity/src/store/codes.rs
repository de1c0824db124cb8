//! Codes that were sent.

use core_platform::{
    clock::UnixMicros,
    db::{Error, Tx, query},
};
use uuid::Uuid;

use crate::contacts::{Kind, Purpose};

pub(crate) struct NewCode<'a> {
    pub(crate) id: Uuid,
    pub(crate) user: Option<Uuid>,
    pub(crate) purpose: Purpose,
    pub(crate) kind: Kind,
    pub(crate) contact_index: &'a [u8],
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) code_hash: &'a [u8],
    pub(crate) expires_at: UnixMicros,
}

/// A code that may still be used.
pub(crate) struct CodeRow {
    pub(crate) id: Uuid,
    pub(crate) user: Option<Uuid>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) code_hash: Vec<u8>,
    pub(crate) change: bool,
}

pub(crate) async fn insert(tx: &mut Tx, new: &NewCode<'_>, now: UnixMicros) -> Result<(), Error> {
    query(
        "INSERT INTO verification_codes (id, user_id, purpose, kind, contact_index, value,
             code_hash, attempts, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9)",
    )
    .bind(new.id)
    .bind(new.user)
    .bind(new.purpose.name())
    .bind(new.kind.name())
    .bind(new.contact_index)
    .bind(new.value.clone())
    .bind(new.code_hash)
    .bind(now)
    .bind(new.expires_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// How many were sent to a contact for this purpose since then, and when the last was.
/// Forgets those that are too old to be counted.
pub(crate) async fn sent(
    tx: &mut Tx,
    contact_index: &[u8],
    purpose: Purpose,
    since: UnixMicros,
) -> Result<(i64, Option<UnixMicros>), Error> {
    query("DELETE FROM verification_codes WHERE contact_index = $1 AND created_at < $2")
        .bind(contact_index)
        .bind(since)
        .execute(tx)
        .await?;
    let row = query(
        "SELECT count(*), max(created_at) FROM verification_codes
         WHERE contact_index = $1 AND purpose = $2",
    )
    .bind(contact_index)
    .bind(purpose.name())
    .fetch_one(&mut *tx)
    .await?;
    Ok((row.get(0)?, row.get(1)?))
}

/// The codes of a contact that may be used for one of these purposes, held until the
/// transaction ends. As many as may be sent in an hour at most.
pub(crate) async fn usable(
    tx: &mut Tx,
    contact_index: &[u8],
    purposes: Vec<String>,
    attempts_max: i64,
    now: UnixMicros,
) -> Result<Vec<CodeRow>, Error> {
    let rows = query(
        "SELECT id, user_id, value, code_hash, purpose FROM verification_codes
         WHERE contact_index = $1 AND purpose {any_text:$2} AND attempts < $3
             AND expires_at > $4 AND used_at IS NULL
         ORDER BY created_at DESC, id DESC {for_update}",
    )
    .bind(contact_index)
    .bind(purposes)
    .bind(attempts_max)
    .bind(now)
    .fetch_all(&mut *tx)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(CodeRow {
                id: row.get(0)?,
                user: row.get(1)?,
                value: row.get(2)?,
                code_hash: row.get(3)?,
                change: row.get::<String>(4)? == Purpose::Change.name(),
            })
        })
        .collect()
}

/// Counts a wrong code against all that it could have been.
pub(crate) async fn miss(tx: &mut Tx, ids: Vec<Uuid>) -> Result<(), Error> {
    query("UPDATE verification_codes SET attempts = attempts + 1 WHERE id {any_uuid:$1}")
        .bind(ids)
        .execute(tx)
        .await?;
    Ok(())
}

/// Marks it used. False if it was.
pub(crate) async fn spend(tx: &mut Tx, id: Uuid, now: UnixMicros) -> Result<bool, Error> {
    let done =
        query("UPDATE verification_codes SET used_at = $2 WHERE id = $1 AND used_at IS NULL")
            .bind(id)
            .bind(now)
            .execute(tx)
            .await?;
    Ok(done > 0)
}

/// What was sent before may not be used any more.
pub(crate) async fn void(
    tx: &mut Tx,
    user: Uuid,
    purpose: Purpose,
    now: UnixMicros,
) -> Result<(), Error> {
    query(
        "UPDATE verification_codes SET used_at = $3
         WHERE user_id = $1 AND purpose = $2 AND used_at IS NULL",
    )
    .bind(user)
    .bind(purpose.name())
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}
