//! What only a file has: its mode, its log, its one writer.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use super::*;

async fn pragma(tx: &mut Tx, pragma: &'static str) -> Row {
    query(pragma).fetch_one(tx).await.unwrap()
}

#[tokio::test]
async fn commits_are_synchronous_and_logged() {
    let at = Database::sqlite();
    let db = open(&at).await;
    let mut tx = db.begin().await.unwrap();
    let synchronous: i64 = pragma(&mut tx, "PRAGMA synchronous").await.get(0).unwrap();
    let keys: i64 = pragma(&mut tx, "PRAGMA foreign_keys").await.get(0).unwrap();
    let mode: String = pragma(&mut tx, "PRAGMA journal_mode").await.get(0).unwrap();
    assert_eq!((mode.as_str(), synchronous, keys), ("wal", 2, 1));
}

#[tokio::test]
async fn readers_cannot_write() {
    let at = Database::sqlite();
    let db = migrated(&at).await;
    let insert = query("INSERT INTO counter (id, v) VALUES (x'00', 1)");
    assert!(insert.fetch_optional(&db).await.is_err());
    assert_eq!(sum(&db).await.unwrap(), 0);
}

#[tokio::test]
async fn files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a/b");
    let location = Location::Directory(data.clone());
    let db = Db::open(&location, "t").await.unwrap();
    db.migrate(&STEPS, None).await.unwrap();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(data.clone()), 0o700);
    for file in ["t.sqlite", "t.sqlite-wal", "t.sqlite-shm"] {
        assert_eq!(mode(data.join(file)), 0o600, "{file}");
    }
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let refused = Db::open(&location, "t").await.unwrap_err().to_string();
    assert!(refused.contains("hint: chmod 700"), "{refused}");
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_reads_go_on() {
    let at = Database::sqlite();
    let db = open(&at).await;
    let mut tx = db.begin().await.unwrap();
    query("CREATE TABLE t (b BLOB)")
        .execute(&mut tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    // The writer is one connection: what it is told stays.
    let mut tx = db.begin().await.unwrap();
    pragma(&mut tx, "PRAGMA max_page_count = 8").await;
    let big = || query("INSERT INTO t (b) VALUES ($1)").bind(vec![7; 100_000]);
    let full = big().execute(&mut tx).await.unwrap_err();
    assert!(matches!(full, Error::Full(_)), "{full}");
    drop(tx);
    let row = query("SELECT COUNT(*) FROM t")
        .fetch_one(&db)
        .await
        .unwrap();
    assert_eq!(row.get::<i64>(0).unwrap(), 0);
    let mut tx = db.begin().await.unwrap();
    pragma(&mut tx, "PRAGMA max_page_count = 1000").await;
    big().execute(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
}
