//! The PostgreSQL side: one small pool for each service, with its own role and database.
//! Invariant: no statement and no idle transaction holds a connection for ever.

use std::time::Duration;

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{ACQUIRE_TIMEOUT, Error, query::PgTx};

/// PostgreSQL works best with few; nine services in two replicas stay below its default of 100
/// only where operators raise it, and the README says so.
const CONNECTIONS_MAX: u32 = 16;
/// Longer than any statement here takes on a healthy server.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// A row lock that is not to be had by then: its holder hangs.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// After this a connection that a dead task left in a transaction is taken back.
const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that was idle for so long may have been cut by a firewall.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// The pool of one service's database.
#[derive(Clone, Debug)]
pub struct Pg {
    pub(super) pool: PgPool,
}

impl Pg {
    pub(super) async fn open(options: PgConnectOptions, name: &str) -> Result<Self, Error> {
        let options = options
            .application_name(&format!("palisade-{name}"))
            .options([
                ("statement_timeout", millis(STATEMENT_TIMEOUT)),
                ("lock_timeout", millis(LOCK_TIMEOUT)),
                (
                    "idle_in_transaction_session_timeout",
                    millis(IDLE_TRANSACTION_TIMEOUT),
                ),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .connect_with(options)
            .await?;
        Ok(Self { pool })
    }

    /// READ COMMITTED: rows that are read to be changed are locked by `{for_update}`.
    pub(super) async fn begin(&self) -> Result<PgTx, Error> {
        Ok(self.pool.begin().await?)
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
