//! What the facade promises, on both databases.

mod copies;
mod faults;
mod migrations;
mod postgres;
mod sqlite;
mod values;

use core_testing::{Database, both_databases};
use uuid::Uuid;

use super::*;

const STEPS: [Migration; 2] = [
    Migration {
        version: 1,
        name: "counter",
        up: "CREATE TABLE counter (id {uuid} PRIMARY KEY NOT NULL, v {int} NOT NULL) {strict}",
        down: "DROP TABLE counter",
    },
    Migration {
        version: 2,
        name: "note",
        up: "ALTER TABLE counter ADD COLUMN note TEXT",
        down: "ALTER TABLE counter DROP COLUMN note",
    },
];

async fn open(at: &Database) -> Db {
    let location = Location::from_setting(&at.setting()).unwrap();
    Db::open(&location, "t").await.unwrap()
}

async fn migrated(at: &Database) -> Db {
    let db = open(at).await;
    db.migrate(&STEPS, None).await.unwrap();
    db
}

async fn insert(tx: &mut Tx, id: Uuid, v: i64) -> Result<u64, Error> {
    query("INSERT INTO counter (id, v) VALUES ($1, $2)")
        .bind(id)
        .bind(v)
        .execute(tx)
        .await
}

async fn inserted(db: &Db, v: i64) -> Uuid {
    let id = Uuid::now_v7();
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, id, v).await.unwrap();
    tx.commit().await.unwrap();
    id
}

async fn sum(db: &Db) -> Result<i64, Error> {
    query("SELECT CAST(COALESCE(SUM(v), 0) AS BIGINT) FROM counter")
        .fetch_one(db)
        .await?
        .get(0)
}

/// Reads a row to change it, and changes it.
async fn increment(db: &Db, id: Uuid) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    let row = query("SELECT v FROM counter WHERE id = $1 {for_update}")
        .bind(id)
        .fetch_one(&mut tx)
        .await?;
    query("UPDATE counter SET v = $2 WHERE id = $1")
        .bind(id)
        .bind(row.get::<i64>(0)? + 1)
        .execute(&mut tx)
        .await?;
    tx.commit().await
}

both_databases! {
    #[tokio::test]
    async fn concurrent_writers_wait_for_each_other(at: Database) {
        let db = migrated(&at).await;
        // A second handle stands for a second process.
        let other = open(&at).await;
        let id = inserted(&db, 0).await;
        let mut writers = tokio::task::JoinSet::new();
        for n in 0..40 {
            let db = if n % 2 == 0 { db.clone() } else { other.clone() };
            writers.spawn(async move { increment(&db, id).await });
        }
        for done in writers.join_all().await {
            done.unwrap();
        }
        assert_eq!(sum(&db).await.unwrap(), 40);
    }

    #[tokio::test]
    async fn a_dropped_transaction_leaves_nothing(at: Database) {
        let db = migrated(&at).await;
        for _ in 0..40 {
            let mut tx = db.begin().await.unwrap();
            insert(&mut tx, Uuid::now_v7(), 1).await.unwrap();
        }
        assert_eq!(sum(&db).await.unwrap(), 0);
        inserted(&db, 7).await;
        assert_eq!(sum(&db).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_transaction_reads_what_it_wrote_and_nobody_else_does(at: Database) {
        let db = migrated(&at).await;
        let mut tx = db.begin().await.unwrap();
        insert(&mut tx, Uuid::now_v7(), 5).await.unwrap();
        let row = query("SELECT v FROM counter").fetch_one(&mut tx).await.unwrap();
        assert_eq!(row.get::<i64>(0).unwrap(), 5);
        assert_eq!(sum(&db).await.unwrap(), 0);
        tx.commit().await.unwrap();
        assert_eq!(sum(&db).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn a_taken_value_is_told_apart_and_ends_the_transaction(at: Database) {
        let db = migrated(&at).await;
        let id = inserted(&db, 1).await;
        let mut tx = db.begin().await.unwrap();
        insert(&mut tx, Uuid::now_v7(), 10).await.unwrap();
        let taken = insert(&mut tx, id, 100).await.unwrap_err();
        assert!(matches!(taken, Error::Taken(_)), "{taken}");
        // PostgreSQL would have answered with success and kept nothing.
        let refused = tx.commit().await.unwrap_err();
        assert!(matches!(refused, Error::Failed), "{refused}");
        assert_eq!(sum(&db).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn conflicts_are_answered_in_one_statement(at: Database) {
        let db = migrated(&at).await;
        let id = inserted(&db, 1).await;
        let mut tx = db.begin().await.unwrap();
        let kept = query(
            "INSERT INTO counter (id, v) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET v = counter.v + excluded.v RETURNING v",
        );
        let row = kept.bind(id).bind(4_i64).fetch_one(&mut tx).await.unwrap();
        assert_eq!(row.get::<i64>(0).unwrap(), 5);
        let nothing = query(
            "INSERT INTO counter (id, v) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING v",
        );
        let row = nothing.bind(id).bind(4_i64).fetch_optional(&mut tx).await.unwrap();
        assert!(row.is_none());
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn what_was_bound_is_in_no_error(at: Database) {
        let db = open(&at).await;
        let mut tx = db.begin().await.unwrap();
        query("CREATE TABLE t (email TEXT NOT NULL UNIQUE)").execute(&mut tx).await.unwrap();
        let insert = || query("INSERT INTO t (email) VALUES ($1)").bind("ada@example.org");
        insert().execute(&mut tx).await.unwrap();
        let error = insert().execute(&mut tx).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, Error::Taken(_)) && !text.contains("ada"), "{text}");
    }
}
