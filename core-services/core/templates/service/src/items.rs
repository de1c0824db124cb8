//! Items, and what may be done with them.
//! Invariant: no two items of one owner have the same name; an item and the event that
//! tells of it are written in one transaction.
//! Refuses to tell an item of somebody else from one that does not exist.

use core_platform::{
    clock::UnixMicros,
    db::{self, Db},
    events::{NewEvent, publish},
    token::Caller,
};
use core_proto::sample::v1::ItemCreated;
use uuid::Uuid;

use crate::{
    SERVICE,
    error::Error,
    store::{
        items::{self, ItemRow, Position},
        owners,
    },
};

/// The items of all users.
pub(crate) struct Items {
    pub(crate) db: Db,
    /// One owner's.
    pub(crate) items_max: i64,
}

impl Items {
    /// # Errors
    /// [`Error::NameTaken`], [`Error::TooMany`], or the database.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        name: &str,
        now: UnixMicros,
    ) -> Result<ItemRow, Error> {
        let item = ItemRow {
            id: Uuid::now_v7(),
            name: name.to_owned(),
            created_at: now,
        };
        let mut tx = self.db.begin().await?;
        // Holds the owner, too: of two calls at once the second one counts the first's.
        if owners::count_one_more(&mut tx, caller.user).await? > self.items_max {
            return Err(Error::TooMany);
        }
        match items::insert(&mut tx, caller.user, &item).await {
            Err(db::Error::Taken(_)) => return Err(Error::NameTaken),
            done => done?,
        }
        let owner = caller.user.to_string();
        let event = NewEvent::new(SERVICE, "sample.item_created", item.id.to_string(), now)
            .actor(owner.as_str())
            .aggregate_version(1)
            .data(&ItemCreated { owner_id: owner });
        publish(&mut tx, event).await?;
        tx.commit().await?;
        Ok(item)
    }

    /// # Errors
    /// [`Error::NoSuchItem`], or the database.
    pub(crate) async fn get(&self, caller: &Caller, id: Uuid) -> Result<ItemRow, Error> {
        let found = items::by_id(&self.db, caller.user, id).await?;
        found.ok_or(Error::NoSuchItem)
    }

    /// At most `limit` of the caller's, newest first, from `after` on.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        after: Option<Position>,
        limit: i64,
    ) -> Result<Vec<ItemRow>, Error> {
        Ok(items::of_owner(&self.db, caller.user, after, limit).await?)
    }
}
