//! A database copied into one file, and put back from it.
//! Invariant: a copy is one moment of the database while the service goes on; what
//! is put back is whole or not there.
//! Refuses to write over data, or under a running service, unless told to replace it.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sqlx::{
    ConnectOptions, Connection, Row as _,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteLockingMode},
};
use tokio::process::Command;

use super::{BUSY_TIMEOUT, Dialect, Error, Location, create::password, files, postgres::connect};

/// Where Debian keeps PostgreSQL's programs, by version, outside the path.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The parts of a URL's query that libpq has a variable for.
const LIBPQ: [(&str, &str); 4] = [
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
];

const DROP_TABLES: &str = "DO $$ DECLARE t record; BEGIN
    FOR t IN SELECT oid::regclass AS name FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    LOOP EXECUTE 'DROP TABLE IF EXISTS ' || t.name || ' CASCADE'; END LOOP;
END $$";

impl Location {
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Directory(_) => Dialect::Sqlite,
            Self::Server(_) => Dialect::Postgres,
        }
    }

    /// Is the database of the service `name` missing, or without a table?
    ///
    /// # Errors
    /// A server that cannot be reached, or a file that is no database.
    pub async fn is_empty(&self, name: &str) -> Result<bool, Error> {
        let tables: i64 = match self {
            Self::Directory(dir) => {
                let file = files::path(dir, name);
                if fs::metadata(&file).map_or(0, |found| found.len()) == 0 {
                    return Ok(true);
                }
                let mut connection = sqlite(&file).connect().await?;
                let count = sqlx::query("SELECT COUNT(*) FROM sqlite_schema");
                let count = count.fetch_one(&mut connection).await?.try_get(0)?;
                connection.close().await?;
                count
            }
            Self::Server(options) => {
                let mut connection = connect(options).await?;
                let count = "SELECT COUNT(*) FROM pg_class
                             WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
                sqlx::query(count)
                    .fetch_one(&mut connection)
                    .await?
                    .try_get(0)?
            }
        };
        Ok(tables == 0)
    }

    /// Copies the database of the service `name` into the new file `into`.
    ///
    /// # Errors
    /// A file that cannot be written, or what the database or its program says.
    pub async fn dump(&self, name: &str, into: &Path) -> Result<(), Error> {
        // Before a byte of it is written, nobody else may read the copy.
        let mut new = OpenOptions::new();
        new.write(true).create_new(true).mode(0o600);
        let file = new.open(into).map_err(at(into))?;
        match self {
            Self::Directory(dir) => {
                let mut connection = sqlite(&files::path(dir, name)).connect().await?;
                let path = into.to_string_lossy().into_owned();
                sqlx::query("VACUUM INTO $1")
                    .bind(path)
                    .execute(&mut connection)
                    .await?;
                connection.close().await?;
            }
            Self::Server(options) => {
                let mut dump = tool("pg_dump", options);
                dump.args(["--format=custom", "--no-owner", "--no-privileges", "--file"]);
                run(dump.arg(into)).await?;
            }
        }
        file.sync_all().map_err(at(into))
    }

    /// Puts a copy in the place of the database of the service `name`.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] unless it may `replace` what is there, [`Error::InUse`] if the
    /// service runs, or what the database or its program says.
    pub async fn load(&self, name: &str, from: &Path, replace: bool) -> Result<(), Error> {
        if !replace && !self.is_empty(name).await? {
            return Err(Error::NotEmpty(self.clone()));
        }
        match self {
            Self::Directory(dir) => {
                let file = files::prepare(dir, name)?;
                self.alone(&file).await?;
                put(from, &file).await
            }
            Self::Server(options) => {
                self.clear(options).await?;
                let mut restore = tool("pg_restore", options);
                restore.args(["--exit-on-error", "--single-transaction", "--no-owner"]);
                restore.args(["--no-privileges", "--dbname"]);
                restore.arg(options.get_database().unwrap_or_default());
                run(restore.arg(from)).await
            }
        }
    }

    /// Nobody has the file open: else a running service would go on with the old one.
    async fn alone(&self, file: &Path) -> Result<(), Error> {
        let options = sqlite(file).locking_mode(SqliteLockingMode::Exclusive);
        let locked = async {
            let mut connection = options.connect().await?;
            sqlx::query("BEGIN EXCLUSIVE")
                .execute(&mut connection)
                .await?;
            sqlx::query("ROLLBACK").execute(&mut connection).await?;
            connection.close().await
        };
        match locked.await.map_err(Error::from) {
            Err(Error::Busy) => Err(Error::InUse(self.clone())),
            other => other,
        }
    }

    async fn clear(&self, options: &PgConnectOptions) -> Result<(), Error> {
        let mut connection = connect(options).await?;
        let others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
                      AND application_name LIKE 'palisade-%'";
        if sqlx::query(others)
            .fetch_optional(&mut connection)
            .await?
            .is_some()
        {
            return Err(Error::InUse(self.clone()));
        }
        sqlx::query(DROP_TABLES).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }
}

/// Checks the copy beside its place, then moves it there in one step.
async fn put(from: &Path, file: &Path) -> Result<(), Error> {
    let beside = file.with_extension("restored");
    fs::copy(from, &beside).map_err(at(&beside))?;
    let private = Permissions::from_mode(0o600);
    fs::set_permissions(&beside, private).map_err(at(&beside))?;
    let mut connection = sqlite(&beside).connect().await?;
    let check = sqlx::query("PRAGMA quick_check")
        .fetch_one(&mut connection)
        .await?;
    let said: String = check.try_get(0)?;
    connection.close().await?;
    if said != "ok" {
        let _ = fs::remove_file(&beside);
        return Err(Error::Corrupt("backup"));
    }
    let synced = File::open(&beside).and_then(|copy| copy.sync_all());
    synced.map_err(at(&beside))?;
    // The old log is not the new file's.
    for log in ["sqlite-wal", "sqlite-shm"] {
        let _ = fs::remove_file(file.with_extension(log));
    }
    fs::rename(&beside, file).map_err(at(file))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(at(folder))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Copy { path, source }
}

fn sqlite(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(BUSY_TIMEOUT)
}

/// One of PostgreSQL's programs, told by its environment where to: arguments are public.
fn tool(name: &'static str, options: &PgConnectOptions) -> Command {
    let mut command = Command::new(program(name));
    let host = match options.get_socket() {
        Some(socket) => socket.as_os_str(),
        None => OsStr::new(options.get_host()),
    };
    command
        .env("PGHOST", host)
        .env("PGPORT", options.get_port().to_string())
        .env("PGUSER", options.get_username())
        .env("PGDATABASE", options.get_database().unwrap_or_default())
        .env("LC_MESSAGES", "C")
        .kill_on_drop(true);
    if let Some(password) = password(options) {
        command.env("PGPASSWORD", password);
    }
    for (key, value) in options.to_url_lossy().query_pairs() {
        if let Some((_, variable)) = LIBPQ.iter().find(|(name, _)| *name == key) {
            command.env(variable, value.as_ref());
        }
    }
    command
}

/// The newest of Debian's, or whatever the path has.
fn program(name: &'static str) -> PathBuf {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|version| {
            let number: u32 = version.file_name().to_str()?.parse().ok()?;
            let program = version.path().join("bin").join(name);
            program.is_file().then_some((number, program))
        })
        .max();
    newest.map_or_else(|| name.into(), |(_, program)| program)
}

async fn run(command: &mut Command) -> Result<(), Error> {
    let program = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let failed = |message: String| Error::Tool {
        program: program.clone(),
        message,
    };
    let output = command
        .output()
        .await
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.trim().to_owned()))
}
