//! A connection on loan from a pool, of either database.
//! Invariant: what comes back into the pool has no transaction open, whatever the
//! borrower did: failed, was cancelled, or was dropped half way.
//! Does without sqlx's transactions: SQLite ends one by itself when its disk is
//! full, which they do not notice, and the only writer refuses work from then on.

use std::{future::Future, io, time::Duration};

use sqlx::{Postgres, Sqlite, pool::PoolConnection};

use super::Error;

/// PostgreSQL ends a statement after ten seconds; a server that does not even say so is away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// Rolling back takes no time on a server that answers; from one that does not,
/// the connection is not kept.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) enum Connection {
    Pg(PoolConnection<Postgres>),
    Lite(PoolConnection<Sqlite>),
}

/// Dropped before `done`, it is rolled back first.
pub(super) struct Lease(Option<Connection>);

impl Lease {
    pub(super) fn new(connection: Connection) -> Self {
        Self(Some(connection))
    }

    pub(super) fn connection(&mut self) -> Result<&mut Connection, Error> {
        // `done` takes the lease along: there always is one.
        self.0.as_mut().ok_or_else(silent)
    }

    pub(super) async fn run(&mut self, sql: &'static str) -> Result<(), Error> {
        match self.connection()? {
            Connection::Pg(pg) => answered(sqlx::query(sql).execute(&mut **pg))
                .await
                .map(drop),
            Connection::Lite(lite) => Ok(sqlx::query(sql).execute(&mut **lite).await.map(drop)?),
        }
    }

    /// Gives it back; nothing is open on it.
    pub(super) fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.0.take() else {
            return;
        };
        tokio::spawn(async move {
            match connection {
                // sqlx's way back into the pool waits for the server without a bound: while
                // one is paused each cancelled call would take a connection along for good.
                Connection::Pg(mut pg) => {
                    let rollback = sqlx::query("ROLLBACK").execute(&mut *pg);
                    let done = tokio::time::timeout(ROLLBACK_TIMEOUT, rollback).await;
                    if !matches!(done, Ok(Ok(_))) {
                        pg.close_on_drop();
                    }
                }
                // Fails where nothing is open, which is what it is for.
                Connection::Lite(mut lite) => {
                    let _ = sqlx::query("ROLLBACK").execute(&mut *lite).await;
                }
            }
        });
    }
}

/// The answer, or `Away` when there is none in time. The caller drops its lease then.
pub(super) async fn answered<T>(
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER_TIMEOUT, statement).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(silent()),
    }
}

/// A server that does not answer.
pub(super) fn silent() -> Error {
    Error::Away(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))
}
