//! Recovery codes, as hashes.

use core_platform::{
    clock::UnixMicros,
    db::{Error, On, Tx, query},
};
use uuid::Uuid;

/// Puts these in the place of all that the user had.
pub(crate) async fn replace(
    tx: &mut Tx,
    user: Uuid,
    hashes: &[Vec<u8>],
    now: UnixMicros,
) -> Result<(), Error> {
    query("DELETE FROM recovery_codes WHERE user_id = $1")
        .bind(user)
        .execute(tx)
        .await?;
    for hash in hashes {
        query("INSERT INTO recovery_codes (user_id, code_hash, created_at) VALUES ($1, $2, $3)")
            .bind(user)
            .bind(hash.as_slice())
            .bind(now)
            .execute(tx)
            .await?;
    }
    Ok(())
}

/// Marks it used. False if it was, or is none.
pub(crate) async fn spend(
    tx: &mut Tx,
    user: Uuid,
    hash: &[u8],
    now: UnixMicros,
) -> Result<bool, Error> {
    let done = query(
        "UPDATE recovery_codes SET used_at = $3
         WHERE user_id = $1 AND code_hash = $2 AND used_at IS NULL",
    )
    .bind(user)
    .bind(hash)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(done > 0)
}

/// How many are left.
pub(crate) async fn left(on: impl Into<On<'_>>, user: Uuid) -> Result<i64, Error> {
    let row = query("SELECT count(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL")
        .bind(user)
        .fetch_one(on)
        .await?;
    row.get(0)
}
