//! Accounts: reading and changing them.
//! Invariant: what a session's holder sees or changes is joined with that
//! session being alive, in the same statement.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, Row, Tx, query},
};
use uuid::Uuid;

/// An account without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: Uuid,
    pub email: String,
    pub name: String,
    pub display_name: String,
    pub phone: String,
    pub created_at: UnixMicros,
    pub updated_at: UnixMicros,
}

pub(crate) struct NewUser<'a> {
    pub(crate) email: &'a str,
    pub(crate) name: &'a str,
    pub(crate) password_hash: &'a str,
}

/// What to change; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct ProfileChange {
    pub name: Option<String>,
    pub display_name: Option<String>,
    pub phone: Option<String>,
}

/// Inserts the account; an address that is known keeps its account and gets a
/// mark instead. One statement and one write either way, so that neither the
/// answer nor its time tells which. True if it is new.
pub(crate) async fn upsert_user(
    tx: &mut Tx,
    new: &NewUser<'_>,
    now: UnixMicros,
) -> Result<bool, Error> {
    let id = Uuid::now_v7();
    let kept = query(
        "INSERT INTO users (id, email, password_hash, name, display_name, phone, created_at, updated_at)
         VALUES ($1, $2, $3, $4, '', '', $5, $5)
         ON CONFLICT (email) DO UPDATE SET registered_again_at = excluded.created_at
         RETURNING id",
    )
    .bind(id)
    .bind(new.email)
    .bind(new.password_hash)
    .bind(new.name)
    .bind(now)
    .fetch_one(&mut *tx)
    .await?;
    Ok(kept.get::<Uuid>(0)? == id)
}

pub(crate) async fn credentials(db: &Db, email: &str) -> Result<Option<(Uuid, String)>, Error> {
    let row = query("SELECT id, password_hash FROM users WHERE email = $1")
        .bind(email)
        .fetch_optional(db)
        .await?;
    row.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
}

pub(crate) async fn password_hash(db: &Db, user: Uuid) -> Result<Option<String>, Error> {
    let row = query("SELECT password_hash FROM users WHERE id = $1")
        .bind(user)
        .fetch_optional(db)
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// Is this still the account's password hash? It may have changed while it was checked.
pub(crate) async fn has_password_hash(tx: &mut Tx, user: Uuid, hash: &str) -> Result<bool, Error> {
    let found = query("SELECT 1 FROM users WHERE id = $1 AND password_hash = $2")
        .bind(user)
        .bind(hash)
        .fetch_optional(&mut *tx)
        .await?;
    Ok(found.is_some())
}

pub(crate) async fn set_password_hash(
    tx: &mut Tx,
    user: Uuid,
    hash: &str,
    now: UnixMicros,
) -> Result<(), Error> {
    query("UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1")
        .bind(user)
        .bind(hash)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

/// The account, if this session of it is alive.
pub(crate) async fn user_of_session(
    db: &Db,
    user: Uuid,
    session: Uuid,
    now: UnixMicros,
) -> Result<Option<User>, Error> {
    let row = query(
        "SELECT u.id, u.email, u.name, u.display_name, u.phone, u.created_at, u.updated_at
         FROM users u JOIN sessions s ON s.user_id = u.id
         WHERE u.id = $1 AND s.id = $2 AND s.revoked_at IS NULL AND s.expires_at > $3",
    )
    .bind(user)
    .bind(session)
    .bind(now)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(user_row).transpose()
}

/// Changes the account and returns it, if this session of it is alive.
pub(crate) async fn update_user_of_session(
    tx: &mut Tx,
    user: Uuid,
    session: Uuid,
    change: &ProfileChange,
    now: UnixMicros,
) -> Result<Option<User>, Error> {
    let row = query(
        "UPDATE users SET
             name = COALESCE($3, name),
             display_name = COALESCE($4, display_name),
             phone = COALESCE($5, phone),
             updated_at = $6
         WHERE id = $1 AND EXISTS (
             SELECT 1 FROM sessions
             WHERE id = $2 AND user_id = $1 AND revoked_at IS NULL AND expires_at > $6)
         RETURNING id, email, name, display_name, phone, created_at, updated_at",
    )
    .bind(user)
    .bind(session)
    .bind(change.name.clone())
    .bind(change.display_name.clone())
    .bind(change.phone.clone())
    .bind(now)
    .fetch_optional(&mut *tx)
    .await?;
    row.as_ref().map(user_row).transpose()
}

fn user_row(row: &Row) -> Result<User, Error> {
    Ok(User {
        id: row.get(0)?,
        email: row.get(1)?,
        name: row.get(2)?,
        display_name: row.get(3)?,
        phone: row.get(4)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
    })
}
