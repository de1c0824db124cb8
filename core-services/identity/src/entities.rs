//! What other services' read models begin with: users, as `user.created` would tell of them now.
//! Invariant: who leaves is told of until everything goes, as no event says that they may not
//! come back; then their row is gone.
//! Refuses personal data, as events do.

use core_platform::{
    db::{Db, Error},
    ops::{Entities, Entity},
};
use core_proto::user::v1::UserProfile;
use futures::FutureExt;
use uuid::Uuid;

use crate::{facts, store::users};

pub(crate) fn users() -> Entities {
    Entities::new("user", |db, after, limit| page(db, after, limit).boxed())
}

async fn page(db: &Db, after: Uuid, limit: i64) -> Result<Vec<Entity>, Error> {
    let rows = users::after(db, after, limit).await?;
    let told = rows.into_iter().map(|(user, version)| {
        let profile = UserProfile {
            handle: user.handle,
            display_name: user.display_name,
        };
        let subject = user.id.to_string();
        Entity {
            id: user.id,
            event: facts::user_created(&subject, &profile, version, user.created_at),
        }
    });
    Ok(told.collect())
}
