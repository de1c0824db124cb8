//! Preferences.

use core_platform::db::Db;
use core_platform::{
    clock::UnixMicros,
    db::{Error, Tx, query},
};
use serde_json::Value;
use uuid::Uuid;

pub(crate) struct PreferencesRow {
    pub(crate) data: Value,
    pub(crate) version: i64,
}

pub(crate) async fn read(db: &Db, user: Uuid) -> Result<Option<PreferencesRow>, Error> {
    let row = query("SELECT data, version FROM preferences WHERE user_id = $1")
        .bind(user)
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(PreferencesRow {
        data: row.get(0)?,
        version: row.get(1)?,
    }))
}

/// The same, held until the transaction ends.
pub(crate) async fn lock(tx: &mut Tx, user: Uuid) -> Result<Option<PreferencesRow>, Error> {
    let row = query("SELECT data, version FROM preferences WHERE user_id = $1 {for_update}")
        .bind(user)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(PreferencesRow {
        data: row.get(0)?,
        version: row.get(1)?,
    }))
}

/// Made with the account, so that there always is a row to hold.
pub(crate) async fn insert(tx: &mut Tx, user: Uuid, now: UnixMicros) -> Result<(), Error> {
    query("INSERT INTO preferences (user_id, data, version, updated_at) VALUES ($1, $2, 1, $3)")
        .bind(user)
        .bind(Value::Object(serde_json::Map::new()))
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn update(
    tx: &mut Tx,
    user: Uuid,
    data: &Value,
    now: UnixMicros,
) -> Result<(), Error> {
    query(
        "UPDATE preferences SET data = $2, version = version + 1, updated_at = $3
         WHERE user_id = $1",
    )
    .bind(user)
    .bind(data.clone())
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}
