//! The PostgreSQL side: one small pool for each service, with its own role and database.
//! Invariant: no statement and no idle transaction holds a connection for ever, and
//! nobody waits for ever for a server that stopped answering.

use std::{fmt, io, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::Instant;

use super::{
    ACQUIRE_TIMEOUT, Error, Location, Pool,
    door::Door,
    lease::{Connection, Lease},
};

/// PostgreSQL works best with few; nine services in two replicas stay below its default of 100
/// only where operators raise it, and the README says so.
const CONNECTIONS_MAX: u32 = 16;
/// Longer than any statement here takes on a healthy server.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// A row lock that is not to be had by then: its holder hangs.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// After this a connection that a dead task left in a transaction is taken back.
const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that was idle for so long may have been cut by a firewall.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// The pool of one service's database.
#[derive(Clone)]
pub struct Pg {
    pool: PgPool,
    door: Arc<Door>,
}

impl Pg {
    pub(super) async fn open(options: &PgConnectOptions, name: &str) -> Result<Self, Error> {
        let options = options
            .clone()
            .application_name(&format!("palisade-{name}"))
            .options([
                ("statement_timeout", millis(STATEMENT_TIMEOUT)),
                ("lock_timeout", millis(LOCK_TIMEOUT)),
                (
                    "idle_in_transaction_session_timeout",
                    millis(IDLE_TRANSACTION_TIMEOUT),
                ),
            ]);
        // A pool would try again until its time is over, and then not say why.
        let _ = connect(&options).await?.close().await;
        let door = Arc::new(Door::of(&options));
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self { pool, door })
    }

    /// A connection for one statement.
    pub(super) async fn lease(&self) -> Result<Lease, Error> {
        self.door.admits(Instant::now())?;
        let acquired = tokio::select! {
            biased;
            acquired = self.pool.acquire() => acquired,
            refused = self.door.refused() => return Err(refused),
        };
        match acquired {
            Ok(connection) => {
                self.door.answered();
                Ok(Lease::new(Connection::Pg(connection)))
            }
            // The pool tries to connect as long as a caller waits. With connections to
            // spare it was the server that let it wait, and not the other callers.
            Err(sqlx::Error::PoolTimedOut) if self.pool.size() < CONNECTIONS_MAX => {
                Err(self.door.silence())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// READ COMMITTED: rows that are read to be changed are locked by `{for_update}`.
    pub(super) async fn begin(&self) -> Result<Lease, Error> {
        let mut lease = self.lease().await?;
        lease.begin("BEGIN").await?;
        Ok(lease)
    }

    /// A connection outside the pool, for what takes longer than calls may.
    pub(super) async fn apart(&self) -> Result<PgConnection, Error> {
        let unbounded = [("statement_timeout", "0"), ("lock_timeout", "0")];
        let options = self.pool.connect_options();
        connect(&options.as_ref().clone().options(unbounded)).await
    }

    pub(super) fn pools(&self) -> Vec<Pool> {
        vec![Pool::of("postgres", &self.pool)]
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// sqlx's options show their password.
impl fmt::Debug for Pg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pg(..)")
    }
}

/// One connection, or where it was to lead to and why it does not.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    let cause = match tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect()).await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(cause)) => cause,
        Err(_) => sqlx::Error::Io(io::ErrorKind::TimedOut.into()),
    };
    Err(Error::Connect {
        hint: hint(&cause),
        location: Location::Server(Box::new(options.clone())),
        cause,
    })
}

fn hint(cause: &sqlx::Error) -> &'static str {
    match cause {
        sqlx::Error::Io(_) => "is PostgreSQL running there, and reachable from here?",
        sqlx::Error::Tls(_) => {
            "does the server speak TLS, and do `sslmode` and `sslrootcert` in the URL fit its certificate?"
        }
        sqlx::Error::Database(error) => match error.code().as_deref() {
            // invalid_password, invalid_authorization_specification
            Some("28P01" | "28000") => "are role and password in the URL right?",
            // invalid_catalog_name
            Some("3D000") => "`palisade-core migrate --create-with URL` makes role and database",
            // too_many_connections
            Some("53300") => "raise `max_connections` of the server",
            _ => "the server's log may say more",
        },
        _ => "is this a PostgreSQL server?",
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
