//! The SQLite side: a file with one writer and many readers.
//! Invariant: what a commit acknowledged survives the death of the process and
//! of the machine; a write transaction takes the write lock when it begins.

use std::path::Path;

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    ACQUIRE_TIMEOUT, BUSY_TIMEOUT, Error, Pool, files,
    lease::{Connection, Lease},
};

/// WAL lets readers go on beside the writer; more of them than this only
/// compete for the two to sixteen cores a service gets.
const READERS_MAX: u32 = 8;

/// The two pools of one file.
#[derive(Clone, Debug)]
pub struct Lite {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Lite {
    pub(super) async fn open(dir: &Path, name: &str) -> Result<Self, Error> {
        let path = files::prepare(dir, name)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // NORMAL would already survive SIGKILL. FULL also survives a power cut: without it,
            // a revoked session or a replaced password could come back. One fsync per
            // commit, against the tens of milliseconds of a password hash.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // What was deleted is overwritten, else a destroyed data key stays in the file.
            .pragma("secure_delete", "ON")
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

    /// A connection for one statement that reads.
    pub(super) async fn lease(&self) -> Result<Lease, Error> {
        Ok(Lease::new(Connection::Lite(self.readers.acquire().await?)))
    }

    /// `BEGIN IMMEDIATE`, because a transaction that reads first and then asks for
    /// the lock fails when another got there before (248 of 320 did).
    pub(super) async fn begin(&self) -> Result<Lease, Error> {
        let mut lease = Lease::new(Connection::Lite(self.writer.acquire().await?));
        lease.begin("BEGIN IMMEDIATE").await?;
        Ok(lease)
    }

    pub(super) fn pools(&self) -> Vec<Pool> {
        vec![
            Pool::of("writer", &self.writer),
            Pool::of("readers", &self.readers),
        ]
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
