//! Schema versions: one text, rendered for the database at hand.
//! Invariant: a version that was applied never changes (sqlx compares
//! checksums of the rendered text), and each one can be taken back.
//! Refuses tokens it does not know: a typo would become a column type.

use std::borrow::Cow;

use sqlx::{
    AssertSqlSafe, SqlSafeStr,
    migrate::{MigrationType, Migrator},
};

use super::{Db, Dialect, Error};

/// What each token stands for: on PostgreSQL, on SQLite.
const TOKENS: [(&str, &str, &str); 9] = [
    // 16 bytes
    ("{uuid}", "UUID", "BLOB"),
    // Microseconds since 1970
    ("{ts}", "TIMESTAMPTZ", "INTEGER"),
    ("{blob}", "BYTEA", "BLOB"),
    ("{int}", "BIGINT", "INTEGER"),
    ("{real}", "DOUBLE PRECISION", "REAL"),
    ("{bool}", "BOOLEAN", "INTEGER"),
    ("{json}", "JSONB", "TEXT"),
    // An ascending number of the database's own
    (
        "{serial}",
        "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL",
    ),
    // Without it SQLite stores text in an integer column and says nothing
    ("{strict}", "", "STRICT"),
];

/// The platform's own tables, in every service's database.
const PLATFORM_TABLE: &str = "_platform_migrations";
const SERVICE_TABLE: &str = "_migrations";

/// One step of the schema, in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Ascending, never reused.
    pub version: i64,
    pub name: &'static str,
    pub up: &'static str,
    pub down: &'static str,
}

pub(super) async fn run(
    db: &Db,
    migrations: &[Migration],
    target: Option<i64>,
) -> Result<i64, Error> {
    // Going down to nothing takes the platform's tables along, last.
    if target == Some(0) {
        go(db, SERVICE_TABLE, migrations, Some(0)).await?;
        return go(db, PLATFORM_TABLE, &crate::MIGRATIONS, Some(0)).await;
    }
    go(db, PLATFORM_TABLE, &crate::MIGRATIONS, None).await?;
    go(db, SERVICE_TABLE, migrations, target).await
}

async fn go(
    db: &Db,
    table: &'static str,
    migrations: &[Migration],
    target: Option<i64>,
) -> Result<i64, Error> {
    let mut steps = Vec::with_capacity(migrations.len() * 2);
    for step in migrations {
        for (kind, text) in [
            (MigrationType::ReversibleUp, step.up),
            (MigrationType::ReversibleDown, step.down),
        ] {
            steps.push(sqlx::migrate::Migration::new(
                step.version,
                Cow::Borrowed(step.name),
                kind,
                // Compiled in, and rendered from compiled-in text: no input can reach it.
                AssertSqlSafe(render(text, db.dialect())?).into_sql_str(),
                false,
            ));
        }
    }
    let newest = migrations
        .iter()
        .map(|step| step.version)
        .max()
        .unwrap_or(0);
    let mut migrator = Migrator::with_migrations(steps);
    migrator.dangerous_set_table_name(table);
    // Two replicas that start at once: on PostgreSQL an advisory lock lets one go first.
    match db {
        Db::Pg(db) => walk(&migrator, &db.pool, target, newest).await?,
        Db::Lite(db) => walk(&migrator, &db.writer, target, newest).await?,
    }
    Ok(target.unwrap_or(newest))
}

async fn walk<'a, A>(
    migrator: &Migrator,
    pool: A,
    target: Option<i64>,
    newest: i64,
) -> Result<(), Error>
where
    A: sqlx::Acquire<'a> + Copy,
    <A::Connection as std::ops::Deref>::Target: sqlx::migrate::Migrate,
{
    let Some(target) = target else {
        return Ok(migrator.run(pool).await?);
    };
    if target < newest {
        migrator.undo(pool, target).await?;
    }
    if target > 0 {
        migrator.run_to(target, pool).await?;
    }
    Ok(())
}

fn render(text: &str, dialect: Dialect) -> Result<String, Error> {
    let rendered = TOKENS
        .iter()
        .fold(text.to_owned(), |text, (token, pg, lite)| {
            let part = match dialect {
                Dialect::Postgres => pg,
                Dialect::Sqlite => lite,
            };
            text.replace(token, part)
        });
    if rendered.contains(['{', '}']) {
        return Err(Error::Corrupt("migration token"));
    }
    Ok(rendered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_become_types() {
        let text = "id {uuid}, at {ts}, key {blob}, n {int}";
        assert_eq!(
            render(text, Dialect::Sqlite).unwrap(),
            "id BLOB, at INTEGER, key BLOB, n INTEGER"
        );
        assert_eq!(
            render(text, Dialect::Postgres).unwrap(),
            "id UUID, at TIMESTAMPTZ, key BYTEA, n BIGINT"
        );
        assert!(render("id {uid}", Dialect::Sqlite).is_err());
    }
}
