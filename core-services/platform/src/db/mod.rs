//! One service's database: an SQLite file, or a database on a PostgreSQL server.
//! Invariant: one SQL text for both; what a commit acknowledged survives the
//! death of the process and of the machine.
//! Refuses dynamic SQL: statements are `&'static str`, values are bound as `$1`.

mod create;
mod door;
mod dump;
mod error;
mod files;
mod lease;
mod location;
mod migrate;
mod postgres;
mod query;
mod sqlite;
mod value;

use std::time::Duration;

pub use create::{Created, create};
pub use error::Error;
pub use files::{Error as FileError, check as check_dir};
use lease::Lease;
pub use location::{Location, SettingError};
pub use migrate::{Migration, Owner, Step};
pub use postgres::Pg;
pub use query::{On, Query, query};
pub use sqlite::Lite;
pub use value::{Column, Row, Value};

/// How long a call waits for a connection before it is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long SQLite waits for another process (a backup, a `migrate`) to let go of the lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Which SQL is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Postgres,
    Sqlite,
}

/// A handle to the database; clones share the pools.
#[derive(Clone, Debug)]
pub enum Db {
    Pg(Pg),
    Lite(Lite),
}

/// One pool of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// `postgres`, or `writer` and `readers` of SQLite.
    pub name: &'static str,
    pub open: u32,
    pub idle: usize,
    pub max: u32,
}

impl Pool {
    fn of<D: sqlx::Database>(name: &'static str, pool: &sqlx::Pool<D>) -> Self {
        Self {
            name,
            open: pool.size(),
            idle: pool.num_idle(),
            max: pool.options().get_max_connections(),
        }
    }
}

/// A write transaction. Dropped without `commit`, it is rolled back.
pub struct Tx {
    lease: Lease,
    /// A statement of it failed.
    failed: bool,
}

impl Db {
    /// Opens the database of the service `name`.
    ///
    /// # Errors
    /// A directory others may look into, a file that is no database, or a server
    /// that cannot be reached.
    pub async fn open(location: &Location, name: &str) -> Result<Self, Error> {
        Ok(match location {
            Location::Directory(dir) => Self::Lite(Lite::open(dir, name).await?),
            Location::Server(options) => Self::Pg(Pg::open(options, name).await?),
        })
    }

    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Pg(_) => Dialect::Postgres,
            Self::Lite(_) => Dialect::Sqlite,
        }
    }

    /// Begins a write.
    ///
    /// # Errors
    /// [`Error::Busy`] when SQLite's lock or a connection is not to be had in time.
    pub async fn begin(&self) -> Result<Tx, Error> {
        let lease = match self {
            Self::Pg(db) => db.begin().await?,
            Self::Lite(db) => db.begin().await?,
        };
        Ok(Tx {
            lease,
            failed: false,
        })
    }

    /// A connection for one statement that reads.
    async fn lease(&self) -> Result<Lease, Error> {
        match self {
            Self::Pg(db) => db.lease().await,
            Self::Lite(db) => db.lease().await,
        }
    }

    /// Answers when the database does.
    ///
    /// # Errors
    /// Whatever kept it from answering.
    pub async fn ping(&self) -> Result<(), Error> {
        match self {
            Self::Pg(_) => query("SELECT 1::BIGINT"),
            // Without a table SQLite would not look at the file.
            Self::Lite(_) => query("SELECT 1 FROM sqlite_schema LIMIT 1"),
        }
        .fetch_optional(self)
        .await?;
        Ok(())
    }

    /// Brings the platform's tables and the service's own to the newest version, or
    /// the service's to `target` in either direction. Returns the version it is at then.
    ///
    /// # Errors
    /// A version there is none of, a migration that was applied and later changed, or
    /// one that fails: it has left nothing then.
    pub async fn migrate(
        &self,
        migrations: &[Migration],
        target: Option<i64>,
    ) -> Result<i64, Error> {
        migrate::run(self, migrations, target).await
    }

    /// Which steps the database has taken, the platform's first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn status(&self, migrations: &[Migration]) -> Result<Vec<Step>, Error> {
        migrate::status(self, migrations).await
    }

    /// Its pools of connections, at this moment.
    pub fn pools(&self) -> Vec<Pool> {
        match self {
            Self::Pg(db) => db.pools(),
            Self::Lite(db) => db.pools(),
        }
    }

    /// Closes every connection, which folds SQLite's log back into its file.
    pub async fn close(&self) {
        match self {
            Self::Pg(db) => db.close().await,
            Self::Lite(db) => db.close().await,
        }
    }
}

impl Tx {
    /// # Errors
    /// Nothing of the transaction is in force then; but after [`Error::Away`] nobody
    /// knows, and the caller must look before it tries again.
    pub async fn commit(mut self) -> Result<(), Error> {
        // PostgreSQL answers COMMIT of a failed transaction with success and rolls it
        // back, SQLite would commit the rest of it: both would be a lie.
        if self.failed {
            return Err(Error::Failed);
        }
        self.lease.run("COMMIT").await?;
        self.lease.done();
        Ok(())
    }

    fn watched<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        self.failed |= outcome.is_err();
        outcome
    }
}

#[cfg(test)]
mod tests;
