//! What can go wrong with a database, by what a caller can do about it.
//! Invariant: what may be tried again is told apart from what never helps.

use std::{fmt, io, path::PathBuf};

use sqlx::{
    error::{DatabaseError, ErrorKind},
    migrate::MigrateError,
};

use super::{FileError, Location, Owner};

/// PostgreSQL: `serialization_failure` and `deadlock_detected`.
const RETRY_STATES: [&str; 2] = ["40001", "40P01"];
/// PostgreSQL: `lock_not_available`, `query_canceled` (our time-outs), `too_many_connections`.
const BUSY_STATES: [&str; 3] = ["55P03", "57014", "53300"];
/// PostgreSQL: shutting down, crashed, starting up, our transaction idle for too long.
const AWAY_STATES: [&str; 4] = ["57P01", "57P02", "57P03", "25P03"];
/// PostgreSQL and SQLite: no room left.
const FULL_STATES: [&str; 2] = ["53100", "13"];
/// SQLite's primary result code; extended codes keep it in the low byte.
const SQLITE_BUSY: u32 = 5;

#[derive(thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] FileError),
    /// The lock or a connection could not be had in time; trying again may help.
    #[error("database is busy")]
    Busy,
    /// The first connection could not be made.
    #[error("cannot open the database `{location}`: {cause}\nhint: {hint}")]
    Connect {
        location: Location,
        cause: sqlx::Error,
        hint: &'static str,
    },
    /// The server cannot be reached; trying again later may help.
    #[error("database is away: {0}")]
    Away(#[source] sqlx::Error),
    /// No space left; reads still work.
    #[error("database has no room left: {0}")]
    Full(#[source] sqlx::Error),
    /// Two transactions got into each other's way; the same transaction may be run again.
    #[error("transactions collided")]
    Collision,
    /// A value that must be unique is there already.
    #[error("database: a unique value is taken")]
    Taken(#[source] sqlx::Error),
    #[error("database: {0}")]
    Sql(#[source] sqlx::Error),
    /// A statement of it failed before and the caller went on.
    #[error("a transaction in which a statement failed cannot be committed")]
    Failed,
    #[error("migrating {owner}: {fault}{}", advice(fault))]
    Migrate { owner: Owner, fault: MigrateError },
    /// Another process migrates, for longer than anybody waits.
    #[error(
        "another migration holds the lock: {0}\nhint: if it is frozen, end it by pg_terminate_backend"
    )]
    Locked(String),
    #[error("there is no schema version `{wanted}`\nhint: the newest is {newest}")]
    NoVersion { wanted: i64, newest: i64 },
    #[error(
        "a role or database cannot be called `{0}`\nhint: lower-case letters, digits, `_` and `-`, at most 63"
    )]
    Name(String),
    #[error(
        "the administrator's database is a folder\nhint: such as `postgres://postgres:password@host:5432/postgres`"
    )]
    Administrator,
    #[error(
        "a role cannot be made with this password\nhint: use ASCII without blanks, or make the role by hand"
    )]
    Password,
    #[error(
        "the database `{0}` is not empty\nhint: name an empty one, or --replace it with all it holds"
    )]
    NotEmpty(Location),
    #[error("the database `{0}` is in use\nhint: stop the services first")]
    InUse(Location),
    #[error("cannot use `{}`: {source}", path.display())]
    Copy { path: PathBuf, source: io::Error },
    #[error(
        "`{program}` failed: {message}\nhint: it comes with PostgreSQL's client programs, in the server's version or newer"
    )]
    Tool { program: String, message: String },
    /// A value of a kind this code never writes.
    #[error("database holds an impossible value in `{0}`")]
    Corrupt(&'static str),
    /// Something the caller must not write: a fault of the program.
    #[error("the database keeps only {0}")]
    Refused(&'static str),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Away(error)
            }
            sqlx::Error::Database(ref inner) => match judge(inner.as_ref()) {
                Judged::Busy => Self::Busy,
                Judged::Collision => Self::Collision,
                Judged::Away => Self::Away(error),
                Judged::Full => Self::Full(error),
                Judged::Taken => Self::Taken(error),
                Judged::Other => Self::Sql(error),
            },
            other => Self::Sql(other),
        }
    }
}

impl Error {
    pub(super) fn migrating(owner: Owner, error: MigrateError) -> Self {
        let fault = match error {
            MigrateError::Execute(error) => return error.into(),
            // What the failing step ran into decides, unless it is the step's own fault.
            MigrateError::ExecuteMigration(cause, version) => match cause.into() {
                Self::Sql(cause) | Self::Taken(cause) => {
                    MigrateError::ExecuteMigration(cause, version)
                }
                other => return other,
            },
            other => other,
        };
        Self::Migrate { owner, fault }
    }
}

fn advice(error: &MigrateError) -> &'static str {
    match error {
        MigrateError::VersionMismatch(_) | MigrateError::VersionMissing(_) => {
            "\nhint: another build made these tables: run that one, or restore what belongs to this one"
        }
        _ => "",
    }
}

/// PostgreSQL's details quote values, such as the address that is taken.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "db::Error({self})")
    }
}

enum Judged {
    Busy,
    Collision,
    Away,
    Full,
    Taken,
    Other,
}

fn judge(error: &dyn DatabaseError) -> Judged {
    if error.kind() == ErrorKind::UniqueViolation {
        return Judged::Taken;
    }
    let code = error.code().unwrap_or_default();
    let code = code.as_ref();
    // PostgreSQL's states have five places, SQLite's codes up to four digits.
    let is_sqlite_busy = code.len() < 5
        && code
            .parse::<u32>()
            .is_ok_and(|code| code & 0xff == SQLITE_BUSY);
    if is_sqlite_busy || BUSY_STATES.contains(&code) {
        Judged::Busy
    } else if RETRY_STATES.contains(&code) {
        Judged::Collision
    } else if AWAY_STATES.contains(&code) {
        Judged::Away
    } else if FULL_STATES.contains(&code) {
        Judged::Full
    } else {
        Judged::Other
    }
}
