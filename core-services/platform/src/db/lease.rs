//! A connection on loan from a pool, of either database.
//! Invariant: what comes back into the pool has no transaction open, whatever the
//! borrower did: failed, was cancelled, or was dropped half way.
//! Does without sqlx's transactions: SQLite ends one by itself when its disk is
//! full, which they do not notice, and the only writer refuses work from then on.

use std::{future::Future, io, time::Duration};

use sqlx::{Connection as _, PgConnection, Postgres, Sqlite, pool::PoolConnection};

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
pub(super) struct Lease {
    connection: Option<Connection>,
    /// A transaction may be open on it.
    begun: bool,
}

impl Lease {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection: Some(connection),
            begun: false,
        }
    }

    pub(super) async fn begin(&mut self, sql: &'static str) -> Result<(), Error> {
        // Before the answer, which may never come.
        self.begun = true;
        self.run(sql).await
    }

    pub(super) fn connection(&mut self) -> Result<&mut Connection, Error> {
        // `done` takes the lease along: there always is one.
        self.connection.as_mut().ok_or_else(silent)
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
        self.connection = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let begun = self.begun;
        tokio::spawn(async move {
            match connection {
                // sqlx's way back into the pool waits for the server without a bound: while
                // one is paused each cancelled call would take a connection along for good.
                Connection::Pg(mut pg) => {
                    let clearing = cleared(&mut pg, begun);
                    let done = tokio::time::timeout(ROLLBACK_TIMEOUT, clearing).await;
                    if !matches!(done, Ok(Ok(()))) {
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

/// Nothing is open on it, and nothing under way. A rollback of nothing would be a warning in
/// the log.
async fn cleared(pg: &mut PgConnection, begun: bool) -> Result<(), sqlx::Error> {
    if begun {
        sqlx::query("ROLLBACK").execute(pg).await.map(drop)
    } else {
        pg.ping().await
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
