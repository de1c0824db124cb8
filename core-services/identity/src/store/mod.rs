//! The service's SQL, and nothing but.
//! Invariant: what must happen together happens in one transaction that is
//! passed in; every statement is a constant with `$n` parameters.
//! Refuses to decide: a row goes up as it is.

mod users;
mod sessions;

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, Migration, Tx, query},
};

use crate::keys::StoredKey;

pub(crate) use sessions::*;
pub(crate) use users::*;

/// The schema, oldest first.
pub const MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    name: "accounts",
    up: include_str!("../../migrations/0001_accounts.up.sql"),
    down: include_str!("../../migrations/0001_accounts.down.sql"),
}];

/// All keys that are not retired, newest first; the first ever is made here.
pub(crate) async fn signing_keys(
    db: &Db,
    first: impl FnOnce() -> Result<StoredKey, crate::keys::Error>,
    now: UnixMicros,
) -> Result<Vec<StoredKey>, crate::StartError> {
    let mut tx = db.begin().await?;
    let found = unretired_keys(&mut tx).await?;
    if !found.is_empty() {
        return Ok(found);
    }
    let key = first()?;
    query("INSERT INTO signing_keys (kid, pkcs8, public_key, created_at) VALUES ($1, $2, $3, $4)")
        .bind(&key.kid)
        .bind(&key.pkcs8)
        .bind(&key.public)
        .bind(now)
        .execute(&mut tx)
        .await?;
    tx.commit().await?;
    Ok(vec![key])
}

async fn unretired_keys(tx: &mut Tx) -> Result<Vec<StoredKey>, Error> {
    let rows = query(
        "SELECT kid, pkcs8, public_key FROM signing_keys
         WHERE retired_at IS NULL ORDER BY created_at DESC, kid",
    )
    .fetch_all(&mut *tx)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(StoredKey {
                kid: row.get(0)?,
                pkcs8: row.get(1)?,
                public: row.get(2)?,
            })
        })
        .collect()
}
