//! The signing keys.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, Tx, query},
};

use crate::keys::StoredKey;

/// All keys that are not retired, newest first; the first ever is made here.
pub(crate) async fn signing_keys(
    db: &Db,
    first: impl FnOnce() -> Result<StoredKey, crate::keys::Error>,
    now: UnixMicros,
) -> Result<Vec<StoredKey>, crate::StartError> {
    let mut tx = db.begin().await?;
    let found = unretired(&mut tx).await?;
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

async fn unretired(tx: &mut Tx) -> Result<Vec<StoredKey>, Error> {
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
