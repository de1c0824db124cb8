//! Users: what a profile is made of.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, On, Tx, query},
};
use uuid::Uuid;

/// A user; `name` is sealed.
pub(crate) struct UserRow {
    pub(crate) id: Uuid,
    pub(crate) handle: String,
    pub(crate) name: Vec<u8>,
    pub(crate) display_name: String,
    pub(crate) created_at: UnixMicros,
    pub(crate) updated_at: UnixMicros,
    pub(crate) version: i64,
}

/// What everyone may know of a user.
pub(crate) struct PublicRow {
    pub(crate) id: Uuid,
    pub(crate) handle: String,
    pub(crate) display_name: String,
    pub(crate) created_at: UnixMicros,
}

/// What to change; `None` leaves it.
pub(crate) struct UserChange {
    pub(crate) handle: Option<String>,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) display_name: Option<String>,
}

pub(crate) async fn insert(
    tx: &mut Tx,
    id: Uuid,
    handle: &str,
    name: &[u8],
    now: UnixMicros,
) -> Result<(), Error> {
    query(
        "INSERT INTO users (id, handle, name, display_name, created_at, updated_at, version)
         VALUES ($1, $2, $3, '', $4, $4, 1)",
    )
    .bind(id)
    .bind(handle)
    .bind(name)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn count(db: &Db) -> Result<i64, Error> {
    let row = query("SELECT count(*) FROM users").fetch_one(db).await?;
    row.get(0)
}

const USER: &str = "SELECT id, handle, name, display_name, created_at, updated_at, version
     FROM users WHERE id = $1";

pub(crate) async fn by_id(on: impl Into<On<'_>>, id: Uuid) -> Result<Option<UserRow>, Error> {
    let row = query(USER).bind(id).fetch_optional(on).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(UserRow {
        id: row.get(0)?,
        handle: row.get(1)?,
        name: row.get(2)?,
        display_name: row.get(3)?,
        created_at: row.get(4)?,
        updated_at: row.get(5)?,
        version: row.get(6)?,
    }))
}

/// Holds the user until the transaction ends; returns the version. Two changes of one
/// profile at once would otherwise both find the version they were made for.
pub(crate) async fn lock(tx: &mut Tx, id: Uuid) -> Result<Option<i64>, Error> {
    let row = query("SELECT version FROM users WHERE id = $1 {for_update}")
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// Changes the user and counts the version on; `Taken` if the handle is another's.
pub(crate) async fn update(
    tx: &mut Tx,
    id: Uuid,
    change: &UserChange,
    now: UnixMicros,
) -> Result<(), Error> {
    query(
        "UPDATE users SET
             handle = COALESCE($2, handle),
             name = COALESCE($3, name),
             display_name = COALESCE($4, display_name),
             updated_at = $5,
             version = version + 1
         WHERE id = $1",
    )
    .bind(id)
    .bind(change.handle.clone())
    .bind(change.name.clone())
    .bind(change.display_name.clone())
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

/// Something the profile shows was changed elsewhere.
pub(crate) async fn touch(tx: &mut Tx, id: Uuid, now: UnixMicros) -> Result<(), Error> {
    query("UPDATE users SET updated_at = $2, version = version + 1 WHERE id = $1")
        .bind(id)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

/// Whether a user may sign in.
pub(crate) struct Standing {
    pub(crate) suspended_at: Option<UnixMicros>,
    /// Their owner closed the account; everything goes then.
    pub(crate) delete_at: Option<UnixMicros>,
}

/// Held until the transaction ends: who is suspended meanwhile gets no session.
pub(crate) async fn standing(tx: &mut Tx, id: Uuid) -> Result<Option<Standing>, Error> {
    let row = query("SELECT suspended_at, delete_at FROM users WHERE id = $1 {for_update}")
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Standing {
        suspended_at: row.get(0)?,
        delete_at: row.get(1)?,
    }))
}

pub(crate) async fn set_suspended(
    tx: &mut Tx,
    id: Uuid,
    at: Option<UnixMicros>,
) -> Result<(), Error> {
    query("UPDATE users SET suspended_at = $2 WHERE id = $1")
        .bind(id)
        .bind(at)
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn set_deletion(
    tx: &mut Tx,
    id: Uuid,
    at: Option<UnixMicros>,
) -> Result<(), Error> {
    query("UPDATE users SET delete_at = $2 WHERE id = $1")
        .bind(id)
        .bind(at)
        .execute(tx)
        .await?;
    Ok(())
}

/// Those whose time has come, the longest due first.
pub(crate) async fn due(db: &Db, now: UnixMicros, limit: i64) -> Result<Vec<Uuid>, Error> {
    let rows = query("SELECT id FROM users WHERE delete_at <= $1 ORDER BY delete_at LIMIT $2")
        .bind(now)
        .bind(limit)
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Forgets a user and all rows that hang on them.
pub(crate) async fn remove(tx: &mut Tx, id: Uuid) -> Result<(), Error> {
    query("DELETE FROM users WHERE id = $1")
        .bind(id)
        .execute(tx)
        .await?;
    Ok(())
}

/// A user as administrators list them.
pub(crate) struct ListedRow {
    pub(crate) id: Uuid,
    pub(crate) handle: String,
    pub(crate) display_name: String,
    pub(crate) created_at: UnixMicros,
    pub(crate) standing: Standing,
}

/// Newest first, from `after` on: ids ascend with time (RFC 9562 section 5.7).
pub(crate) async fn page(
    db: &Db,
    only: Option<Uuid>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ListedRow>, Error> {
    let rows = query(
        "SELECT id, handle, display_name, created_at, suspended_at, delete_at FROM users
         WHERE ($1 IS NULL OR id = $1) AND ($2 IS NULL OR id < $2)
         ORDER BY id DESC LIMIT $3",
    )
    .bind(only)
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(ListedRow {
                id: row.get(0)?,
                handle: row.get(1)?,
                display_name: row.get(2)?,
                created_at: row.get(3)?,
                standing: Standing {
                    suspended_at: row.get(4)?,
                    delete_at: row.get(5)?,
                },
            })
        })
        .collect()
}

pub(crate) async fn public(db: &Db, handle: &str) -> Result<Option<PublicRow>, Error> {
    let row = query("SELECT id, handle, display_name, created_at FROM users WHERE handle = $1")
        .bind(handle)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(public_row).transpose()
}

/// As many rows as ids are asked for at most; the input rules bound those.
pub(crate) async fn batch(db: &Db, ids: Vec<Uuid>) -> Result<Vec<PublicRow>, Error> {
    let rows =
        query("SELECT id, handle, display_name, created_at FROM users WHERE id {any_uuid:$1}")
            .bind(ids)
            .fetch_all(db)
            .await?;
    rows.iter().map(public_row).collect()
}

/// The next ones by id, each with the version of the profile.
pub(crate) async fn after(db: &Db, id: Uuid, limit: i64) -> Result<Vec<(PublicRow, i64)>, Error> {
    let rows = query(
        "SELECT id, handle, display_name, created_at, version FROM users
         WHERE id > $1 ORDER BY id LIMIT $2",
    )
    .bind(id)
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| Ok((public_row(row)?, row.get(4)?)))
        .collect()
}

fn public_row(row: &core_platform::db::Row) -> Result<PublicRow, Error> {
    Ok(PublicRow {
        id: row.get(0)?,
        handle: row.get(1)?,
        display_name: row.get(2)?,
        created_at: row.get(3)?,
    })
}
