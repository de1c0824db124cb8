//! Items.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, Row, Tx, query},
};
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ItemRow {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) created_at: UnixMicros,
}

/// Where in its owner's list an item is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) created_at: UnixMicros,
    pub(crate) id: Uuid,
}

/// `Taken` if the owner has one of this name.
pub(crate) async fn insert(tx: &mut Tx, owner: Uuid, item: &ItemRow) -> Result<(), Error> {
    query("INSERT INTO items (id, owner_id, name, created_at) VALUES ($1, $2, $3, $4)")
        .bind(item.id)
        .bind(owner)
        .bind(item.name.as_str())
        .bind(item.created_at)
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn by_id(db: &Db, owner: Uuid, id: Uuid) -> Result<Option<ItemRow>, Error> {
    let row = query("SELECT id, name, created_at FROM items WHERE id = $1 AND owner_id = $2")
        .bind(id)
        .bind(owner)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(item).transpose()
}

/// Newest first, from `after` on.
pub(crate) async fn of_owner(
    db: &Db,
    owner: Uuid,
    after: Option<Position>,
    limit: i64,
) -> Result<Vec<ItemRow>, Error> {
    let rows = query(
        "SELECT id, name, created_at FROM items
         WHERE owner_id = $1
             AND ($2 IS NULL OR created_at < $2 OR (created_at = $2 AND id < $3))
         ORDER BY created_at DESC, id DESC LIMIT $4",
    )
    .bind(owner)
    .bind(after.map(|last| last.created_at))
    .bind(after.map(|last| last.id))
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.iter().map(item).collect()
}

fn item(row: &Row) -> Result<ItemRow, Error> {
    Ok(ItemRow {
        id: row.get(0)?,
        name: row.get(1)?,
        created_at: row.get(2)?,
    })
}
