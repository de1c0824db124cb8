//! Locks that are held too long, and servers that go away.

use core_testing::{Postgres, eventually, postgres};
use futures::future::join_all;

use super::*;

/// A server of the test's own, and a database on it.
async fn server() -> (Postgres, Db) {
    let server = Postgres::start();
    let location = Location::from_setting(&server.fresh()).unwrap();
    let db = Db::open(&location, "t").await.unwrap();
    db.migrate(&STEPS, None).await.unwrap();
    (server, db)
}

async fn answers(db: &Db, v: i64) {
    eventually("an answer", async || {
        let sum = sum(db).await.ok()?;
        assert_eq!(sum, v);
        Some(())
    })
    .await;
}

both_databases! {
    #[tokio::test]
    async fn a_lock_that_is_held_too_long_is_busy(at: Database) {
        let db = migrated(&at).await;
        let other = open(&at).await;
        let id = inserted(&db, 1).await;
        let mut holder = db.begin().await.unwrap();
        let held = query("UPDATE counter SET v = 2 WHERE id = $1").bind(id);
        held.execute(&mut holder).await.unwrap();
        let busy = increment(&other, id).await.unwrap_err();
        assert!(matches!(busy, Error::Busy), "{busy}");
        holder.commit().await.unwrap();
        increment(&other, id).await.unwrap();
        assert_eq!(sum(&db).await.unwrap(), 3);
    }
}

#[tokio::test]
async fn transactions_that_wait_for_each_other_collide() {
    let at = Database::postgresql();
    let db = migrated(&at).await;
    let (one, two) = (inserted(&db, 0).await, inserted(&db, 0).await);
    let lock = |id| query("SELECT v FROM counter WHERE id = $1 {for_update}").bind(id);
    let (mut left, mut right) = (db.begin().await.unwrap(), db.begin().await.unwrap());
    lock(one).fetch_one(&mut left).await.unwrap();
    lock(two).fetch_one(&mut right).await.unwrap();
    let crossed = tokio::join!(lock(two).fetch_one(&mut left), async move {
        lock(one).fetch_one(&mut right).await.err()
    });
    let collided = crossed.0.err().or(crossed.1).unwrap();
    assert!(matches!(collided, Error::Collision), "{collided}");
}

#[tokio::test]
async fn locked_rows_are_skipped_where_that_is_asked_for() {
    let at = Database::postgresql();
    let db = migrated(&at).await;
    let (one, two) = (inserted(&db, 0).await, inserted(&db, 0).await);
    let next = || query("SELECT id FROM counter ORDER BY id LIMIT 1 {skip_locked}");
    let (mut left, mut right) = (db.begin().await.unwrap(), db.begin().await.unwrap());
    let row = next().fetch_one(&mut left).await.unwrap();
    assert_eq!(row.get::<Uuid>(0).unwrap(), one);
    let row = next().fetch_one(&mut right).await.unwrap();
    assert_eq!(row.get::<Uuid>(0).unwrap(), two);
}

#[tokio::test]
async fn a_cut_connection_is_away_once() {
    let at = Database::postgresql();
    let db = migrated(&at).await;
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, Uuid::now_v7(), 1).await.unwrap();
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE application_name = 'palisade-t' AND datname = '";
    let name = at.setting().rsplit('/').next().unwrap().to_owned();
    assert_ne!(postgres().administer(&format!("{cut}{name}'")), "0");
    let away = insert(&mut tx, Uuid::now_v7(), 1).await.unwrap_err();
    assert!(matches!(away, Error::Away(_)), "{away}");
    drop(tx);
    assert_eq!(sum(&db).await.unwrap(), 0);
}

#[tokio::test]
async fn a_killed_server_is_away_and_comes_back_with_what_was_acknowledged() {
    let (server, db) = server().await;
    inserted(&db, 4).await;
    let tx = db.begin().await.unwrap();
    server.kill();
    let away = tx.commit().await.unwrap_err();
    assert!(matches!(away, Error::Away(_)), "{away}");
    let away = sum(&db).await.unwrap_err();
    assert!(matches!(away, Error::Away(_)), "{away}");
    let away = db.begin().await.err().unwrap();
    assert!(matches!(away, Error::Away(_)), "{away}");
    server.restart();
    answers(&db, 4).await;
}

#[tokio::test]
async fn a_server_that_refuses_is_named_to_all_and_found_again() {
    let (server, db) = server().await;
    inserted(&db, 4).await;
    server.kill();
    let refuses = format!("`127.0.0.1:{}` refuses connections", server.port());
    // The first finds it out, many at once hear of it: nobody waits until time is over.
    let _ = sum(&db).await.unwrap_err();
    for said in join_all((0..40).map(|_| sum(&db))).await {
        let away = said.unwrap_err();
        assert!(matches!(away, Error::Away(_)), "{away}");
        assert!(away.to_string().contains(&refuses), "{away}");
    }
    server.restart();
    answers(&db, 4).await;
    let all = join_all((0..40).map(|_| sum(&db))).await;
    assert!(all.iter().all(|answer| matches!(answer, Ok(4))));
}

#[tokio::test]
async fn a_paused_server_is_away_and_keeps_no_connection() {
    let (server, db) = server().await;
    inserted(&db, 4).await;
    let mut tx = db.begin().await.unwrap();
    server.pause();
    // More callers than connections; each is told, none is left waiting.
    let callers = (0..40).map(|_| sum(&db));
    let (said, written) = tokio::join!(join_all(callers), insert(&mut tx, Uuid::now_v7(), 1));
    assert!(
        said.iter()
            .all(|answer| matches!(answer, Err(Error::Away(_) | Error::Busy)))
    );
    let away = written.unwrap_err();
    assert!(matches!(away, Error::Away(_)), "{away}");
    drop(tx);
    server.resume();
    answers(&db, 4).await;
    let all = join_all((0..40).map(|_| sum(&db))).await;
    assert!(all.iter().all(|answer| matches!(answer, Ok(4))));
}
