//! Failed logins.

use core_platform::{
    clock::UnixMicros,
    db::{Error, On, Tx, query},
};

/// Until when this subject's logins are refused; `None` if there are none to remember.
pub(crate) async fn locked_until(
    on: impl Into<On<'_>>,
    scope: &'static str,
    subject: &[u8],
) -> Result<Option<UnixMicros>, Error> {
    let row = query("SELECT locked_until FROM login_attempts WHERE scope = $1 AND subject = $2")
        .bind(scope)
        .bind(subject)
        .fetch_optional(on)
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// Counts one more failure; what came before `forgotten` does not count. Returns how many.
pub(crate) async fn fail(
    tx: &mut Tx,
    scope: &'static str,
    subject: &[u8],
    forgotten: UnixMicros,
    now: UnixMicros,
) -> Result<i64, Error> {
    let row = query(
        "INSERT INTO login_attempts (scope, subject, failures, last_at, locked_until)
         VALUES ($1, $2, 1, $3, $5)
         ON CONFLICT (scope, subject) DO UPDATE SET
             failures = CASE WHEN login_attempts.last_at < $4 THEN 1
                             ELSE login_attempts.failures + 1 END,
             last_at = excluded.last_at
         RETURNING failures",
    )
    .bind(scope)
    .bind(subject)
    .bind(now)
    .bind(forgotten)
    // Not locked, by no clock: that of another replica may be behind this one.
    .bind(UnixMicros(0))
    .fetch_one(&mut *tx)
    .await?;
    row.get(0)
}

pub(crate) async fn lock(
    tx: &mut Tx,
    scope: &'static str,
    subject: &[u8],
    until: UnixMicros,
) -> Result<(), Error> {
    query("UPDATE login_attempts SET locked_until = $3 WHERE scope = $1 AND subject = $2")
        .bind(scope)
        .bind(subject)
        .bind(until)
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn clear(tx: &mut Tx, scope: &'static str, subject: &[u8]) -> Result<(), Error> {
    query("DELETE FROM login_attempts WHERE scope = $1 AND subject = $2")
        .bind(scope)
        .bind(subject)
        .execute(tx)
        .await?;
    Ok(())
}

/// Forgets what is too old to count, whoever's it was.
pub(crate) async fn sweep(tx: &mut Tx, forgotten: UnixMicros) -> Result<(), Error> {
    query("DELETE FROM login_attempts WHERE last_at < $1")
        .bind(forgotten)
        .execute(tx)
        .await?;
    Ok(())
}
