//! Schema versions: one text, rendered for the dialect at hand.
//! Invariant: a version that was applied never changes (sqlx compares
//! checksums of the rendered text), and each one can be taken back.
//! Refuses tokens it does not know: a typo would become a column type.

use std::borrow::Cow;

use sqlx::{
    AssertSqlSafe, SqlSafeStr, SqlitePool,
    migrate::{MigrationType, Migrator},
};

use super::Error;

/// What each token stands for on SQLite.
const TOKENS: [(&str, &str); 4] = [
    // 16 bytes
    ("{uuid}", "BLOB"),
    // Microseconds since 1970
    ("{ts}", "INTEGER"),
    ("{blob}", "BLOB"),
    // Without it SQLite stores text in an integer column and says nothing
    ("{strict}", "STRICT"),
];

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
    pool: &SqlitePool,
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
                AssertSqlSafe(render(text)?).into_sql_str(),
                false,
            ));
        }
    }
    let newest = migrations
        .iter()
        .map(|step| step.version)
        .max()
        .unwrap_or(0);
    let migrator = Migrator::with_migrations(steps);
    let Some(target) = target else {
        migrator.run(pool).await?;
        return Ok(newest);
    };
    if target < newest {
        migrator.undo(pool, target).await?;
    }
    if target > 0 {
        migrator.run_to(target, pool).await?;
    }
    Ok(target)
}

fn render(text: &str) -> Result<String, Error> {
    let rendered = TOKENS.iter().fold(text.to_owned(), |text, (token, sql)| {
        text.replace(token, sql)
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
        assert_eq!(
            render("id {uuid}, at {ts}, key {blob}").unwrap(),
            "id BLOB, at INTEGER, key BLOB"
        );
        assert!(render("id {uid}").is_err());
    }
}
