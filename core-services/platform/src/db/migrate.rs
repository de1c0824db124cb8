//! Schema versions: one text, rendered for the database at hand.
//! Invariant: a version that was applied never changes (sqlx compares
//! checksums of the rendered text), and each one can be taken back.
//! Refuses tokens it does not know: a typo would become a column type.

use std::{borrow::Cow, fmt, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, SqlSafeStr,
    migrate::{Migrate, MigrateError, MigrationType, Migrator},
};

use tokio::time::Instant;

use super::{Db, Dialect, Error, lease, postgres::LOCK_TIMEOUT, query};

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

/// Names the lock of a migration among PostgreSQL's advisory locks of the database.
const LOCK_KEY: i64 = 0x7061_6c69_7361_6465;
/// How long a replica waits for another's migration, which may rewrite large tables.
const LOCK_WAIT: Duration = Duration::from_secs(600);
const LOOKED_EVERY: Duration = Duration::from_millis(100);
/// An operator who waits wants to know that it goes on.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// One step of the schema, in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Ascending, never reused.
    pub version: i64,
    pub name: &'static str,
    pub up: &'static str,
    pub down: &'static str,
}

/// Whose table a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Platform,
    Service,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Platform => "the platform's tables",
            Self::Service => "the service's tables",
        })
    }
}

/// A step, and whether the database has taken it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub owner: Owner,
    pub version: i64,
    pub name: &'static str,
    pub is_applied: bool,
}

pub(super) async fn run(
    db: &Db,
    migrations: &[Migration],
    target: Option<i64>,
) -> Result<i64, Error> {
    let newest = newest(migrations);
    if let Some(wanted) = target
        && wanted != 0
        && !migrations.iter().any(|step| step.version == wanted)
    {
        return Err(Error::NoVersion { wanted, newest });
    }
    let platform = migrator(&crate::MIGRATIONS, PLATFORM_TABLE, db.dialect())?;
    let service = migrator(migrations, SERVICE_TABLE, db.dialect())?;
    match db {
        Db::Pg(db) => {
            // Closed at the end, whatever that is, and with it goes the lock.
            let mut connection = db.apart().await?;
            let outcome = alone(&mut connection, &platform, &service, target).await;
            let _ = connection.close().await;
            outcome?;
        }
        // One transaction around all steps: the lock of two processes that migrate at once,
        // and nothing half done after a kill.
        Db::Lite(db) => {
            let mut lease = db.begin().await?;
            if let lease::Connection::Lite(lite) = lease.connection()? {
                walk(&mut **lite, &platform, &service, target).await?;
            }
            lease.run("COMMIT").await?;
            lease.done();
        }
    }
    Ok(target.unwrap_or(newest))
}

/// Walks while no other process does: two replicas that start at once.
async fn alone(
    connection: &mut PgConnection,
    platform: &Migrator,
    service: &Migrator,
    target: Option<i64>,
) -> Result<(), Error> {
    locked(connection).await?;
    // A step that waits for a table keeps all calls on that table waiting behind it.
    sqlx::query("SELECT set_config('lock_timeout', $1, false)")
        .bind(LOCK_TIMEOUT.as_millis().to_string())
        .execute(&mut *connection)
        .await?;
    walk(connection, platform, service, target).await
}

/// Gets the lock, and says for whom it has to wait.
async fn locked(connection: &mut PgConnection) -> Result<(), Error> {
    let began = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let locked = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(LOCK_KEY)
            .fetch_one(&mut *connection);
        if locked.await? {
            return Ok(());
        }
        let is_over = began.elapsed() >= LOCK_WAIT;
        if is_over || told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            let holder = holder(connection).await?;
            if is_over {
                return Err(Error::Locked(holder));
            }
            tracing::warn!(holder, "another migration holds the lock, waiting for it");
            told = Some(Instant::now());
        }
        tokio::time::sleep(LOOKED_EVERY).await;
    }
}

async fn holder(connection: &mut PgConnection) -> Result<String, Error> {
    // A key of 64 bits is kept in two halves, which `objsubid` 1 tells.
    let found: Option<String> = sqlx::query_scalar(
        "SELECT format('process %s, `%s`, from %s, connected for %s s', pid, application_name,
                       COALESCE(host(client_addr), 'its own machine'),
                       EXTRACT(EPOCH FROM now() - backend_start)::bigint)
         FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE locktype = 'advisory' AND granted AND objsubid = 1
           AND (classid::bigint << 32) + objid::bigint = $1
           AND datname = current_database()",
    )
    .bind(LOCK_KEY)
    .fetch_optional(connection)
    .await?;
    Ok(found.unwrap_or_else(|| "nobody by now".to_owned()))
}

async fn walk<C>(
    connection: &mut C,
    platform: &Migrator,
    service: &Migrator,
    target: Option<i64>,
) -> Result<(), Error>
where
    C: Migrate,
{
    // Going down to nothing takes the platform's tables along, last.
    let of = |owner| move |error| Error::migrating(owner, error);
    if target == Some(0) {
        let service = back(connection, service, 0).await;
        service.map_err(of(Owner::Service))?;
        let platform = back(connection, platform, 0).await;
        return platform.map_err(of(Owner::Platform));
    }
    let platform = platform.run_direct(None, connection, false).await;
    platform.map_err(of(Owner::Platform))?;
    if let Some(target) = target {
        let back = back(connection, service, target).await;
        back.map_err(of(Owner::Service))?;
    }
    let service = service.run_direct(target, connection, false).await;
    service.map_err(of(Owner::Service))
}

/// Takes back what was applied beyond `target`, the newest first. sqlx's own way asks
/// for a connection in terms that a spawned task cannot meet.
async fn back<C>(connection: &mut C, migrator: &Migrator, target: i64) -> Result<(), MigrateError>
where
    C: Migrate,
{
    let table = &migrator.table_name;
    connection.ensure_migrations_table(table).await?;
    if let Some(version) = connection.dirty_version(table).await? {
        return Err(MigrateError::Dirty(version));
    }
    for applied in connection
        .list_applied_migrations(table)
        .await?
        .iter()
        .rev()
    {
        let down = migrator.iter().find(|step| {
            step.version == applied.version && step.migration_type.is_down_migration()
        });
        let down = down.ok_or(MigrateError::VersionMissing(applied.version))?;
        if applied.version > target {
            connection.revert(table, down).await?;
        }
    }
    Ok(())
}

pub(super) async fn status(db: &Db, migrations: &[Migration]) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::with_capacity(crate::MIGRATIONS.len() + migrations.len());
    for (owner, migrations) in [
        (Owner::Platform, &crate::MIGRATIONS[..]),
        (Owner::Service, migrations),
    ] {
        let applied = applied(db, owner).await?;
        steps.extend(migrations.iter().map(|step| Step {
            owner,
            version: step.version,
            name: step.name,
            is_applied: applied.contains(&step.version),
        }));
    }
    Ok(steps)
}

async fn applied(db: &Db, owner: Owner) -> Result<Vec<i64>, Error> {
    let (table, versions) = match owner {
        Owner::Platform => (PLATFORM_TABLE, "SELECT version FROM _platform_migrations"),
        Owner::Service => (SERVICE_TABLE, "SELECT version FROM _migrations"),
    };
    let tables = match db.dialect() {
        Dialect::Postgres => "SELECT 1::BIGINT WHERE to_regclass($1) IS NOT NULL",
        Dialect::Sqlite => "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1",
    };
    // A database that nobody migrated yet.
    if query(tables)
        .bind(table)
        .fetch_optional(db)
        .await?
        .is_none()
    {
        return Ok(Vec::new());
    }
    let rows = query(versions).fetch_all(db).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

fn newest(migrations: &[Migration]) -> i64 {
    let versions = migrations.iter().map(|step| step.version);
    versions.max().unwrap_or(0)
}

fn migrator(
    migrations: &[Migration],
    table: &'static str,
    dialect: Dialect,
) -> Result<Migrator, Error> {
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
                AssertSqlSafe(render(text, dialect)?).into_sql_str(),
                // On SQLite there is one around all steps.
                dialect == Dialect::Sqlite,
            ));
        }
    }
    let mut migrator = Migrator::with_migrations(steps);
    migrator.dangerous_set_table_name(table);
    // sqlx's lock stays when a step fails, on a connection that goes back into the pool.
    migrator.set_locking(false);
    Ok(migrator)
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
