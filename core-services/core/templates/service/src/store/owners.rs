//! Who has items, and how many.

use core_platform::db::{Error, Tx, query};
use uuid::Uuid;

/// How many there are with it. Holds the owner until the transaction ends.
pub(crate) async fn count_one_more(tx: &mut Tx, owner: Uuid) -> Result<i64, Error> {
    let row = query(
        "INSERT INTO owners (user_id, items) VALUES ($1, 1)
         ON CONFLICT (user_id) DO UPDATE SET items = owners.items + 1
         RETURNING items",
    )
    .bind(owner)
    .fetch_one(tx)
    .await?;
    row.get(0)
}

/// With all items.
pub(crate) async fn delete(tx: &mut Tx, owner: Uuid) -> Result<(), Error> {
    query("DELETE FROM owners WHERE user_id = $1")
        .bind(owner)
        .execute(tx)
        .await?;
    Ok(())
}
