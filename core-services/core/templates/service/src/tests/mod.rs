//! The rules on real databases, both of them, with the time in the test's hand.

use core_platform::{
    clock::UnixMicros,
    crypto::{KeyRing, Vault},
    db::{Db, Location, query},
    token::{Caller, Kind},
};
use core_testing::{Database, both_databases};
use uuid::Uuid;

use crate::{Error, MIGRATIONS, SERVICE, items::Items};

mod calls;
mod items;

const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);
/// Few, so that a test gets there.
const ITEMS_MAX: i64 = 3;

async fn database(at: &Database) -> Db {
    // Another test may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let location = Location::from_setting(&at.setting()).unwrap();
    let db = Db::open(&location, SERVICE).await.unwrap();
    db.migrate(&MIGRATIONS, None).await.unwrap();
    db
}

async fn rules(at: &Database) -> Items {
    Items {
        db: database(at).await,
        items_max: ITEMS_MAX,
    }
}

async fn vault(db: &Db) -> Vault {
    let keys = tempfile::tempdir().unwrap();
    let ring = KeyRing::open(None, keys.path()).unwrap();
    Vault::start(db, ring, NOW).await.unwrap()
}

/// Somebody else each time.
fn somebody() -> Caller {
    Caller {
        user: Uuid::now_v7(),
        session: Uuid::now_v7(),
        scopes: vec!["sample:read".to_owned(), "sample:write".to_owned()],
        roles: Vec::new(),
        auth_time: None,
        amr: Vec::new(),
        acr: None,
        kind: Kind::default(),
    }
}

async fn count(db: &Db, sql: &'static str) -> i64 {
    let row = query(sql).fetch_one(db).await.unwrap();
    row.get(0).unwrap()
}
