//! Copies that are put back, and databases that are made.

use core_testing::postgres;

use super::*;

fn location(at: &Database) -> Location {
    Location::from_setting(&at.setting()).unwrap()
}

/// Another database of the same kind.
fn sibling(at: &Database) -> Database {
    if at.is_sqlite() {
        Database::sqlite()
    } else {
        Database::postgresql()
    }
}

/// The schema of `STEPS` as the migrations make it, and one row.
async fn filled(at: &Database) -> Db {
    let db = migrated(at).await;
    inserted(&db, 5).await;
    db
}

both_databases! {
    #[tokio::test]
    async fn a_copy_is_put_back_elsewhere(at: Database) {
        let db = filled(&at).await;
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy");
        // The service goes on meanwhile, with a write that is not committed yet.
        let mut tx = db.begin().await.unwrap();
        insert(&mut tx, Uuid::now_v7(), 100).await.unwrap();
        location(&at).dump("t", &copy).await.unwrap();
        tx.commit().await.unwrap();
        let other = sibling(&at);
        assert!(location(&other).is_empty("t").await.unwrap());
        location(&other).load("t", &copy, false).await.unwrap();
        assert!(!location(&other).is_empty("t").await.unwrap());
        assert_eq!(other.schema("t").await, at.schema("t").await);
        let restored = open(&other).await;
        assert_eq!(sum(&restored).await.unwrap(), 5);
        // It is at the version it was copied at.
        assert_eq!(restored.migrate(&STEPS, None).await.unwrap(), 2);
        inserted(&restored, 1).await;
        assert_eq!(sum(&restored).await.unwrap(), 6);
    }

    #[tokio::test]
    async fn data_and_running_services_are_not_written_over(at: Database) {
        let db = filled(&at).await;
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy");
        location(&at).dump("t", &copy).await.unwrap();
        assert!(location(&at).dump("t", &copy).await.is_err(), "a copy stays");
        inserted(&db, 7).await;
        let refused = location(&at).load("t", &copy, false).await.unwrap_err();
        assert!(matches!(refused, Error::NotEmpty(_)), "{refused}");
        let refused = location(&at).load("t", &copy, true).await.unwrap_err();
        assert!(matches!(refused, Error::InUse(_)), "{refused}");
        assert_eq!(sum(&db).await.unwrap(), 12);
        db.close().await;
        location(&at).load("t", &copy, true).await.unwrap();
        assert_eq!(sum(&open(&at).await).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn a_damaged_copy_is_refused(at: Database) {
        let db = filled(&at).await;
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy");
        location(&at).dump("t", &copy).await.unwrap();
        db.close().await;
        let mut bytes = std::fs::read(&copy).unwrap();
        let half = bytes.len() / 2;
        bytes.truncate(half);
        std::fs::write(&copy, bytes).unwrap();
        let other = sibling(&at);
        assert!(location(&other).load("t", &copy, false).await.is_err());
        assert!(location(&other).is_empty("t").await.unwrap());
    }
}

#[tokio::test]
async fn a_role_and_its_database_are_made_once_and_are_its_own() {
    let administrator = Location::from_setting(&postgres().admin_url()).unwrap();
    let at = |role: &str, password: &str, database: &str| {
        let port = postgres().port();
        let url = format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}");
        Location::from_setting(&url).unwrap()
    };
    let own = at("maker", "s%40cret", "maker_db");
    let made = create(&administrator, &own).await.unwrap();
    assert!(made.role && made.database);
    // The password that was made is the one that opens it: the server checks SCRAM.
    let db = Db::open(&own, "maker").await.unwrap();
    db.migrate(&STEPS, None).await.unwrap();
    let row = query("SELECT datcollate::text FROM pg_database WHERE datname = current_database()");
    let row = row.fetch_one(&db).await.unwrap();
    assert_eq!(row.get::<String>(0).unwrap(), "C");
    db.close().await;
    let again = create(&administrator, &at("maker", "other", "maker_db"))
        .await
        .unwrap();
    assert_eq!(again, Created::default());
    assert!(
        Db::open(&at("maker", "other", "maker_db"), "maker")
            .await
            .is_err()
    );

    create(&administrator, &at("stranger", "pw", "stranger_db"))
        .await
        .unwrap();
    let foreign = Db::open(&at("stranger", "pw", "maker_db"), "stranger").await;
    assert!(
        foreign
            .unwrap_err()
            .to_string()
            .contains("permission denied")
    );
    for name in ["a\"b", "Ada", ""] {
        let mut url = at("x", "pw", "x").to_string();
        url = url.replace("/x", &format!("/{}", name.replace('"', "%22")));
        let Ok(wanted) = Location::from_setting(&url) else {
            continue;
        };
        let refused = create(&administrator, &wanted).await.unwrap_err();
        assert!(matches!(refused, Error::Name(_)), "{refused}");
    }
}
