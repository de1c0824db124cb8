//! Who follows, blocks and mutes whom.
//! Invariant: where there is a block, nobody follows, in either direction; both sides are
//! held while that is decided.
//! Refuses to tell who blocks or mutes somebody: to them it looks as if there were no such user.

use core_platform::{clock::UnixMicros, db::Db, token::Caller};
use uuid::Uuid;

use crate::{
    error::Error,
    facts::{About, Fact, Facts},
    sessions::Sessions,
    store::{
        relationships::{self, Related},
        users::{self, PublicRow},
    },
};

/// Of one kind. Who follows more reads none of them.
const RELATIONSHIPS_MAX: i64 = 10_000;

/// What one user is to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Follow,
    Block,
    Mute,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Follow, Self::Block, Self::Mute];

    /// As the database, events and the wire write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::Block => "block",
            Self::Mute => "mute",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Of(Kind),
    Followers,
}

/// The other one, if they still are there, and since when.
pub(crate) type Entry = (Related, Option<PublicRow>);

/// The relationships of all users.
pub(crate) struct Relationships {
    pub(crate) db: Db,
    pub(crate) sessions: Sessions,
    pub(crate) facts: Facts,
}

impl Relationships {
    /// # Errors
    /// [`Error::NoSuchUser`], also when the other blocks the caller; [`Error::Blocked`],
    /// [`Error::Invalid`] for oneself, [`Error::TooMany`], [`Error::SessionEnded`], or
    /// the database.
    pub(crate) async fn put(
        &self,
        caller: &Caller,
        target: Uuid,
        kind: Kind,
        now: UnixMicros,
    ) -> Result<(), Error> {
        self.sessions.require_live(caller, now).await?;
        if target == caller.user {
            return Err(Error::Invalid("user_id", "is your own"));
        }
        let user = caller.user;
        let mut tx = self.db.begin().await?;
        if relationships::lock(&mut tx, [user, target]).await? < 2 {
            return Err(Error::NoSuchUser);
        }
        let changed = |target, kind: Kind, active| Fact::RelationshipChanged {
            target,
            kind: kind.name(),
            active,
        };
        if kind == Kind::Follow {
            if relationships::exists(&mut tx, target, user, Kind::Block).await? {
                return Err(Error::NoSuchUser);
            }
            if relationships::exists(&mut tx, user, target, Kind::Block).await? {
                return Err(Error::Blocked);
            }
        }
        if relationships::count(&mut tx, user, kind).await? >= RELATIONSHIPS_MAX {
            return Err(Error::TooMany("relationships of this kind"));
        }
        if !relationships::insert(&mut tx, user, target, kind, now).await? {
            return Ok(());
        }
        let mut facts = vec![changed(target, kind, true)];
        if kind == Kind::Block {
            if relationships::remove(&mut tx, user, target, Kind::Follow).await? {
                facts.push(changed(target, Kind::Follow, false));
            }
            if relationships::remove(&mut tx, target, user, Kind::Follow).await? {
                let theirs = [changed(user, Kind::Follow, false)];
                let about = About::to(target);
                self.facts.tell(&mut tx, &theirs, &about, now).await?;
            }
        }
        self.facts
            .tell(&mut tx, &facts, &About::by(user), now)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends it, if there is anything to end.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        target: Uuid,
        kind: Kind,
        now: UnixMicros,
    ) -> Result<(), Error> {
        self.sessions.require_live(caller, now).await?;
        let mut tx = self.db.begin().await?;
        if !relationships::remove(&mut tx, caller.user, target, kind).await? {
            return Ok(());
        }
        let fact = Fact::RelationshipChanged {
            target,
            kind: kind.name(),
            active: false,
        };
        self.facts
            .tell(&mut tx, &[fact], &About::by(caller.user), now)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// At most `limit` of the caller's, newest first, from `after` on.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        list: List,
        after: Option<Related>,
        limit: i64,
        now: UnixMicros,
    ) -> Result<Vec<Entry>, Error> {
        self.sessions.require_live(caller, now).await?;
        let found = match list {
            List::Of(kind) => {
                relationships::from(&self.db, caller.user, kind, after, limit).await?
            }
            List::Followers => {
                relationships::followers(&self.db, caller.user, after, limit).await?
            }
        };
        let ids = found.iter().map(|related| related.user).collect();
        let mut known = users::batch(&self.db, ids).await?;
        let entries = found.into_iter().map(|related| {
            let at = known.iter().position(|row| row.id == related.user);
            (related, at.map(|at| known.swap_remove(at)))
        });
        Ok(entries.collect())
    }
}
