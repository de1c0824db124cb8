use std::{os::unix::fs::PermissionsExt, path::PathBuf};

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

async fn schema(db: &Db) -> Vec<String> {
    let rows = query("SELECT sql FROM sqlite_schema WHERE name = 'counter'")
        .fetch_all(db)
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0).unwrap()).collect()
}

fn at(dir: &tempfile::TempDir) -> Location {
    Location::Directory(dir.path().join("data"))
}

async fn text(db: &Db, pragma: &'static str) -> String {
    let mut tx = db.begin().await.unwrap();
    let row = query(pragma).fetch_one(&mut tx).await.unwrap();
    row.get(0).unwrap()
}

#[tokio::test]
async fn migrates_up_down_and_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&at(&dir), "t").await.unwrap();
    assert_eq!(db.migrate(&STEPS, None).await.unwrap(), 2);
    let newest = schema(&db).await;
    assert_eq!(db.migrate(&STEPS, Some(1)).await.unwrap(), 1);
    assert_ne!(schema(&db).await, newest);
    assert_eq!(db.migrate(&STEPS, Some(0)).await.unwrap(), 0);
    assert!(schema(&db).await.is_empty());
    assert_eq!(db.migrate(&STEPS, None).await.unwrap(), 2);
    assert_eq!(schema(&db).await, newest);
    assert_eq!(
        db.migrate(&STEPS, None).await.unwrap(),
        2,
        "a second run finds nothing to do"
    );
}

#[tokio::test]
async fn an_applied_migration_must_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&at(&dir), "t").await.unwrap();
    db.migrate(&STEPS[..1], None).await.unwrap();
    let changed = Migration {
        up: "CREATE TABLE counter (id {uuid}) {strict}",
        ..STEPS[0]
    };
    assert!(matches!(
        db.migrate(&[changed], None).await,
        Err(Error::Migrate(_))
    ));
}

#[tokio::test]
async fn concurrent_writers_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&at(&dir), "t").await.unwrap();
    // A second handle on the same file stands for a second process.
    let other = Db::open(&at(&dir), "t").await.unwrap();
    db.migrate(&STEPS, None).await.unwrap();
    let id = uuid::Uuid::now_v7();
    let mut tx = db.begin().await.unwrap();
    query("INSERT INTO counter (id, v) VALUES ($1, 0)")
        .bind(id)
        .execute(&mut tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let mut writers = tokio::task::JoinSet::new();
    for n in 0..40 {
        let db = if n % 2 == 0 {
            db.clone()
        } else {
            other.clone()
        };
        writers.spawn(async move {
            let mut tx = db.begin().await?;
            let row = query("SELECT v FROM counter WHERE id = $1")
                .bind(id)
                .fetch_one(&mut tx)
                .await?;
            query("UPDATE counter SET v = $2 WHERE id = $1")
                .bind(id)
                .bind(row.get::<i64>(0)? + 1)
                .execute(&mut tx)
                .await?;
            tx.commit().await
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap().unwrap();
    }
    let row = query("SELECT v FROM counter").fetch_one(&db).await.unwrap();
    assert_eq!(row.get::<i64>(0).unwrap(), 40);
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing_and_readers_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&at(&dir), "t").await.unwrap();
    db.migrate(&STEPS, None).await.unwrap();
    let insert = "INSERT INTO counter (id, v) VALUES (x'00', 1)";
    let mut tx = db.begin().await.unwrap();
    query(insert).execute(&mut tx).await.unwrap();
    drop(tx);
    assert!(query(insert).fetch_optional(&db).await.is_err());
    let row = query("SELECT count(*) FROM counter")
        .fetch_one(&db)
        .await
        .unwrap();
    assert_eq!(row.get::<i64>(0).unwrap(), 0);
}

#[tokio::test]
async fn commits_are_synchronous_and_logged() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&at(&dir), "t").await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let mut number = async |pragma| {
        let row = query(pragma).fetch_one(&mut tx).await.unwrap();
        row.get::<i64>(0).unwrap()
    };
    let synchronous = number("PRAGMA synchronous").await;
    let keys = number("PRAGMA foreign_keys").await;
    drop(tx);
    let mode = text(&db, "PRAGMA journal_mode").await;
    assert_eq!((mode.as_str(), synchronous, keys), ("wal", 2, 1));
}

#[tokio::test]
async fn files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a/b");
    let db = Db::open(&Location::Directory(data.clone()), "t")
        .await
        .unwrap();
    db.migrate(&STEPS, None).await.unwrap();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(data.clone()), 0o700);
    for file in ["t.sqlite", "t.sqlite-wal", "t.sqlite-shm"] {
        assert_eq!(mode(data.join(file)), 0o600, "{file}");
    }
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let refused = Db::open(&Location::Directory(data.clone()), "t")
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("hint: chmod 700"), "{refused}");
}
