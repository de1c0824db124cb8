//! PostgreSQL, Redis and NATS for tests: Debian's programs on free ports, with
//! their data in a temporary folder.
//! Invariant: a server and its folder go when the test process goes, however it
//! ends (`guard.sh`); what is shared is a server, never a database.
//! Refuses to leave a test out where a program is missing: it fails and says how
//! to install it. Knows nothing of the platform, whose own tests use it, too.

mod database;
mod eventually;
mod nats;
mod postgres;
mod redis;
mod schema;
mod server;

pub use database::Database;
pub use eventually::eventually;
pub use nats::{Nats, nats};
pub use postgres::{Postgres, postgres};
pub use redis::{Redis, redis};
pub use server::Server;

/// Runs each test on SQLite and on PostgreSQL, as `<name>::on_sqlite` and `<name>::on_postgresql`:
///
/// ```
/// core_testing::both_databases! {
///     #[tokio::test]
///     async fn it_answers(at: Database) {
///         assert!(!at.setting().is_empty());
///     }
/// }
/// ```
#[macro_export]
macro_rules! both_databases {
    ($(
        $(#[$attribute:meta])*
        async fn $name:ident($at:ident: Database) $body:block
    )+) => {$(
        mod $name {
            #[allow(unused_imports, reason = "a test may need none of its module's names")]
            use super::*;

            $(#[$attribute])*
            async fn on_sqlite() {
                body($crate::Database::sqlite()).await;
            }

            $(#[$attribute])*
            async fn on_postgresql() {
                body($crate::Database::postgresql()).await;
            }

            async fn body($at: $crate::Database) $body
        }
    )+};
}
