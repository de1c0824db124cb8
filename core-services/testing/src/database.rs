//! An empty database for one test.
//! Invariant: it is nobody else's, and it goes when the value is dropped.

use tempfile::TempDir;

use crate::postgres;

/// A folder for SQLite files, or a database on the shared PostgreSQL server.
pub struct Database(Kind);

enum Kind {
    Sqlite(TempDir),
    Postgresql(String),
}

impl Database {
    pub fn sqlite() -> Self {
        Self(Kind::Sqlite(
            tempfile::tempdir().expect("a temporary folder"),
        ))
    }

    pub fn postgresql() -> Self {
        Self(Kind::Postgresql(postgres().fresh()))
    }

    /// As `DATABASE_URL__<SERVICE>` has it: a URL, or a folder that is not there yet.
    pub fn setting(&self) -> String {
        match &self.0 {
            Kind::Sqlite(folder) => folder.path().join("data").display().to_string(),
            Kind::Postgresql(url) => url.clone(),
        }
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self.0, Kind::Sqlite(_))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Kind::Postgresql(url) = &self.0 {
            postgres().forget(url);
        }
    }
}
