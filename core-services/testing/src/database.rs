//! An empty database for one test.
//! Invariant: it is nobody else's, and it goes when the value is dropped.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::{postgres, schema};

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

    /// Tables, columns, indexes and references of a service's database, sorted, in the
    /// same words for both databases; the migrations' own tables are left out.
    pub async fn schema(&self, service: &str) -> Vec<String> {
        match &self.0 {
            Kind::Sqlite(_) => schema::of_sqlite(&self.file(service)).await,
            Kind::Postgresql(url) => schema::of_postgresql(url).await,
        }
    }

    /// Is there a value in any table of a service's database that contains these bytes?
    /// Of letters either case is found.
    pub async fn holds(&self, service: &str, bytes: &[u8]) -> bool {
        let values = match &self.0 {
            Kind::Sqlite(_) => schema::values_of_sqlite(&self.file(service)).await,
            Kind::Postgresql(url) => schema::values_of_postgresql(url).await,
        };
        let mut windows = values.iter().flat_map(|value| value.windows(bytes.len()));
        windows.any(|window| window.eq_ignore_ascii_case(bytes))
    }

    fn file(&self, service: &str) -> PathBuf {
        PathBuf::from(self.setting()).join(format!("{service}.sqlite"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Kind::Postgresql(url) = &self.0 {
            postgres().forget(url);
        }
    }
}
