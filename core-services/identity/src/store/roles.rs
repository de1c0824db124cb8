//! Who has which role, beside the one that everyone has.

use core_platform::{
    clock::UnixMicros,
    db::{Db, Error, On, Tx, query},
};
use uuid::Uuid;

/// In the order of their names.
pub(crate) async fn of_user(on: impl Into<On<'_>>, user: Uuid) -> Result<Vec<String>, Error> {
    let rows = query("SELECT role FROM role_grants WHERE user_id = $1 ORDER BY role")
        .bind(user)
        .fetch_all(on)
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Of each of these users; a page of them at most.
pub(crate) async fn of_users(db: &Db, users: Vec<Uuid>) -> Result<Vec<(Uuid, String)>, Error> {
    let rows = query(
        "SELECT user_id, role FROM role_grants WHERE user_id {any_uuid:$1} ORDER BY user_id, role",
    )
    .bind(users)
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| Ok((row.get(0)?, row.get(1)?)))
        .collect()
}

/// True if the user had it not.
pub(crate) async fn grant(
    tx: &mut Tx,
    user: Uuid,
    role: &str,
    now: UnixMicros,
) -> Result<bool, Error> {
    let done = query(
        "INSERT INTO role_grants (user_id, role, granted_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id, role) DO NOTHING",
    )
    .bind(user)
    .bind(role)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(done > 0)
}

/// True if the user had it.
pub(crate) async fn revoke(tx: &mut Tx, user: Uuid, role: &str) -> Result<bool, Error> {
    let done = query("DELETE FROM role_grants WHERE user_id = $1 AND role = $2")
        .bind(user)
        .bind(role)
        .execute(tx)
        .await?;
    Ok(done > 0)
}

/// Holds all grants of a role until the transaction ends. Of two that would each take
/// one of the last two away, the second sees what the first left.
pub(crate) async fn lock(tx: &mut Tx, role: &str) -> Result<(), Error> {
    query("SELECT user_id FROM role_grants WHERE role = $1 ORDER BY user_id {for_update}")
        .bind(role)
        .fetch_all(&mut *tx)
        .await?;
    Ok(())
}

/// How many others have the role and can sign in.
pub(crate) async fn others(tx: &mut Tx, role: &str, but: Uuid) -> Result<i64, Error> {
    let row = query(
        "SELECT count(*) FROM role_grants g JOIN users u ON u.id = g.user_id
         WHERE g.role = $1 AND g.user_id <> $2
             AND u.suspended_at IS NULL AND u.delete_at IS NULL",
    )
    .bind(role)
    .bind(but)
    .fetch_one(&mut *tx)
    .await?;
    row.get(0)
}
