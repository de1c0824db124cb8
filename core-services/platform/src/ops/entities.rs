//! All entities of a type, as the events that would tell of them if they were made now: what
//! a read model begins with that is new, or built anew.
//! Invariant: pages ascend by id and are read as they are asked for, each by one statement;
//! between them nothing is held. A stream that ends well has told of all that there were when
//! it began.
//! Refuses to be the last word: what changes meanwhile comes as events, and those win.

use std::{sync::Arc, time::Duration};

use core_proto::platform::v1 as wire;
use futures::{
    TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt},
};
use http::HeaderMap;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    cursor::{Cursors, Query},
    db::{self, Db},
    deadline, errors,
    events::NewEvent,
};

/// Entities in memory at once, for each stream.
const PAGE_MAX: i64 = 100;
/// A stream is over then, whatever its caller gave it; who wants the rest goes on where it was.
const STREAM_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// The full name of the RPC: its positions are good for no other list.
const RPC: &str = "platform.v1.OpsService.StreamEntities";

/// One entity.
pub struct Entity {
    /// UUIDv7: who is made later comes later.
    pub id: Uuid,
    /// What would tell of it, in its version of now.
    pub event: NewEvent,
}

type Read = dyn for<'a> Fn(&'a Db, Uuid, i64) -> BoxFuture<'a, Result<Vec<Entity>, db::Error>>
    + Send
    + Sync;

/// Where a service's entities of one type are read.
#[derive(Clone)]
pub struct Entities {
    /// Such as `user`.
    pub kind: &'static str,
    read: Arc<Read>,
}

impl Entities {
    /// `read` finds at most so many with greater ids than the one it is given, by ascending id.
    pub fn new<R>(kind: &'static str, read: R) -> Self
    where
        R: for<'a> Fn(&'a Db, Uuid, i64) -> BoxFuture<'a, Result<Vec<Entity>, db::Error>>
            + Send
            + Sync
            + 'static,
    {
        Self {
            kind,
            read: Arc::new(read),
        }
    }

    /// At most `limit` entities after the one with this id, or from the first on.
    ///
    /// # Errors
    /// The database.
    pub async fn page(
        &self,
        db: &Db,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Entity>, db::Error> {
        (self.read)(db, after.unwrap_or(Uuid::nil()), limit).await
    }
}

/// When the answer to a call with these headers has to be over.
pub(super) fn until(headers: &HeaderMap) -> Instant {
    let given = deadline::given(headers).unwrap_or(STREAM_TIMEOUT);
    Instant::now() + given.min(STREAM_TIMEOUT)
}

/// One stream.
pub(super) struct Reader {
    pub(super) db: Db,
    pub(super) entities: Entities,
    pub(super) cursors: Cursors,
    /// The service that asked.
    pub(super) caller: String,
    pub(super) until: Instant,
    pub(super) stop: CancellationToken,
}

type Page = Vec<Result<wire::Entity, Status>>;

impl Reader {
    /// All after the position `after`; empty for all.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN` for a position of another list or caller.
    pub(super) fn stream(
        self,
        after: &str,
    ) -> Result<BoxStream<'static, Result<wire::Entity, Status>>, Status> {
        let after: Option<Uuid> = self.cursors.position(self.query(), after)?;
        let pages = stream::try_unfold((self, after), |(reader, after)| async move {
            let page = reader.page(after).await?;
            Ok::<_, Status>(page.map(|(page, last)| (stream::iter(page), (reader, Some(last)))))
        });
        Ok(pages.try_flatten().boxed())
    }

    /// The next page and its last id; `None` after the last one.
    async fn page(&self, after: Option<Uuid>) -> Result<Option<(Page, Uuid)>, Status> {
        // A page that is there at once would never let the time be looked at.
        if Instant::now() >= self.until {
            return Err(too_late());
        }
        let read = self.entities.page(&self.db, after, PAGE_MAX);
        let found = tokio::select! {
            biased;
            // To be gone on with at another replica.
            () = self.stop.cancelled() => return Err(errors::busy("STOPPING")),
            found = timeout_at(self.until, read) => found.map_err(|_| too_late())??,
        };
        let last = found.last().map(|entity| entity.id);
        let page = found.into_iter().map(|entity| self.told(entity)).collect();
        Ok(last.map(|last| (page, last)))
    }

    fn told(&self, entity: Entity) -> Result<wire::Entity, Status> {
        Ok(wire::Entity {
            position: self.cursors.token(self.query(), &entity.id)?,
            event: Some(entity.event.into_message()),
        })
    }

    fn query(&self) -> Query<'_> {
        Query {
            list: RPC,
            caller: &self.caller,
            filter: self.entities.kind.as_bytes(),
        }
    }
}

fn too_late() -> Status {
    errors::refused(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        "the stream took too long\nhint: ask for the rest, after the last position",
    )
}

#[cfg(test)]
mod tests;
