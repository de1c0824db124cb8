//! The signing keys; their private halves are sealed.

use core_platform::{
    clock::UnixMicros,
    db::{Error, On, Tx, query},
};

/// A signing key; `private` is sealed.
pub(crate) struct KeyRow {
    pub(crate) kid: String,
    pub(crate) generation: i64,
    pub(crate) private: Vec<u8>,
    pub(crate) public: Vec<u8>,
    pub(crate) signs_from: UnixMicros,
}

/// All there are, the oldest first: next, current, and those whose tokens may be alive.
pub(crate) async fn all(on: impl Into<On<'_>>) -> Result<Vec<KeyRow>, Error> {
    let rows = query(
        "SELECT kid, generation, private, public_key, signs_from
         FROM signing_keys ORDER BY generation",
    )
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(KeyRow {
                kid: row.get(0)?,
                generation: row.get(1)?,
                private: row.get(2)?,
                public: row.get(3)?,
                signs_from: row.get(4)?,
            })
        })
        .collect()
}

/// `Taken` if another replica has made a key of this generation.
pub(crate) async fn insert(tx: &mut Tx, new: &KeyRow, now: UnixMicros) -> Result<(), Error> {
    query(
        "INSERT INTO signing_keys (kid, generation, private, public_key, created_at, signs_from)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&new.kid)
    .bind(new.generation)
    .bind(&new.private)
    .bind(&new.public)
    .bind(now)
    .bind(new.signs_from)
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets the keys before `generation`, private halves included.
pub(crate) async fn forget_before(tx: &mut Tx, generation: i64) -> Result<u64, Error> {
    query("DELETE FROM signing_keys WHERE generation < $1")
        .bind(generation)
        .execute(tx)
        .await
}
