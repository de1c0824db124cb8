//! One service's database: an SQLite file with one writer and many readers.
//! Invariant: what a commit acknowledged survives the death of the process and
//! of the machine; a write transaction takes the write lock when it begins.
//! Refuses dynamic SQL: statements are `&'static str` (sqlx checks it), values
//! are bound as `$1`.

mod files;
mod migrate;

use std::{path::Path, time::Duration};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{
        SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions,
        SqliteSynchronous,
    },
};

pub use files::{Error as FileError, check as check_dir};
pub use migrate::Migration;

/// WAL lets readers go on beside the writer; more of them than this only
/// compete for the two to sixteen cores a service gets.
const READERS_MAX: u32 = 8;
/// How long a call waits for a connection before it is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long SQLite waits for another process (a backup, a `migrate`) to let go of the lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A handle to the database; clones share the pools.
#[derive(Clone, Debug)]
pub struct Db {
    writer: SqlitePool,
    readers: SqlitePool,
}

/// A write transaction. Dropped without `commit`, it is rolled back.
pub struct Tx(Transaction<'static, Sqlite>);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] FileError),
    /// The lock or a connection could not be had in time; trying again may help.
    #[error("database is busy")]
    Busy,
    #[error("database: {0}")]
    Sql(#[source] sqlx::Error),
    #[error("migrating the database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A value of a kind this code never writes.
    #[error("database holds an impossible value in `{0}`")]
    Corrupt(&'static str),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        // Primary result code 5 is SQLITE_BUSY; the extended codes keep it in the low byte.
        let busy = |error: &dyn sqlx::error::DatabaseError| {
            error
                .code()
                .and_then(|code| code.parse::<u32>().ok())
                .is_some_and(|code| code & 0xff == 5)
        };
        match error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::Database(inner) if busy(inner.as_ref()) => Self::Busy,
            other => Self::Sql(other),
        }
    }
}

impl Db {
    /// Opens `<dir>/<name>.sqlite`, making both if they are missing.
    ///
    /// # Errors
    /// A directory others may look into, or a file that is no database.
    pub async fn open(dir: &Path, name: &'static str) -> Result<Self, Error> {
        let path = files::prepare(dir, name)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // NORMAL would already survive SIGKILL. FULL also survives a power cut: without it,
            // a revoked session or a replaced password could come back. One fsync per
            // commit, against the tens of milliseconds of a password hash.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
        };
        Ok(Self {
            writer: pool(1)
                .connect_with(options.clone().optimize_on_close(true, None))
                .await?,
            readers: pool(READERS_MAX)
                // The file stays writable for these: WAL readers take shared-memory locks.
                .connect_with(options.pragma("query_only", "ON"))
                .await?,
        })
    }

    /// Begins a write. `BEGIN IMMEDIATE`, because a transaction that reads first and
    /// then asks for the lock fails when another got there before (248 of 320 did).
    ///
    /// # Errors
    /// [`Error::Busy`] when the lock is not to be had.
    pub async fn begin(&self) -> Result<Tx, Error> {
        Ok(Tx(self.writer.begin_with("BEGIN IMMEDIATE").await?))
    }

    /// Connections for reading; writing through them is an error.
    pub fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// Answers when the database does.
    ///
    /// # Errors
    /// Whatever kept it from answering.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1 FROM sqlite_schema LIMIT 1")
            .fetch_optional(&self.readers)
            .await?;
        Ok(())
    }

    /// Brings the schema to the newest version, or to `target` in either direction.
    /// Returns the version it is at then.
    ///
    /// # Errors
    /// A migration that was applied and later changed, or one that fails.
    pub async fn migrate(
        &self,
        migrations: &[Migration],
        target: Option<i64>,
    ) -> Result<i64, Error> {
        migrate::run(&self.writer, migrations, target).await
    }

    /// Closes every connection, which folds the log back into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl Tx {
    /// The connection to run statements on.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }

    /// # Errors
    /// Nothing of the transaction is in force then.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.0.commit().await?)
    }
}

#[cfg(test)]
mod tests;
