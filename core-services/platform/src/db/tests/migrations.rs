//! Up, down, both at once, and steps that fail.

use super::*;

const BROKEN: Migration = Migration {
    version: 2,
    name: "broken",
    up: "ALTER TABLE counter ADD COLUMN note TEXT; CREATE TABLE counter (id {uuid})",
    down: "ALTER TABLE counter DROP COLUMN note",
};

async fn applied(db: &Db) -> Vec<i64> {
    let steps = db.status(&STEPS).await.unwrap();
    let own = steps.iter().filter(|step| step.owner == Owner::Service);
    own.filter(|step| step.is_applied)
        .map(|step| step.version)
        .collect()
}

both_databases! {
    #[tokio::test]
    async fn schemas_go_up_down_and_up_again(at: Database) {
        let db = open(&at).await;
        assert!(applied(&db).await.is_empty());
        assert_eq!(db.migrate(&STEPS, None).await.unwrap(), 2);
        let newest = at.schema("t").await;
        assert!(newest.iter().any(|line| line == "counter.note text"), "{newest:?}");
        assert_eq!(db.migrate(&STEPS, Some(1)).await.unwrap(), 1);
        assert_eq!(applied(&db).await, [1]);
        assert_ne!(at.schema("t").await, newest);
        assert_eq!(db.migrate(&STEPS, Some(0)).await.unwrap(), 0);
        assert!(at.schema("t").await.is_empty());
        for _ in 0..2 {
            assert_eq!(db.migrate(&STEPS, None).await.unwrap(), 2);
            assert_eq!(at.schema("t").await, newest);
        }
        assert_eq!(applied(&db).await, [1, 2]);
    }

    #[tokio::test]
    async fn an_applied_migration_must_not_change_or_go(at: Database) {
        let db = migrated(&at).await;
        let changed = Migration {
            up: "CREATE TABLE counter (id {uuid}) {strict}",
            ..STEPS[0]
        };
        for steps in [&[changed, STEPS[1]][..], &STEPS[..1]] {
            let refused = db.migrate(steps, None).await;
            let refused = refused.unwrap_err().to_string();
            assert!(refused.starts_with("migrating the service's tables: migration "), "{refused}");
            assert!(refused.contains("hint: another build"), "{refused}");
        }
        assert_eq!(applied(&db).await, [1, 2]);
    }

    #[tokio::test]
    async fn a_version_that_is_none_is_refused(at: Database) {
        let db = open(&at).await;
        let refused = db.migrate(&STEPS, Some(7)).await.unwrap_err().to_string();
        assert!(refused.contains("`7`") && refused.contains("newest is 2"), "{refused}");
    }

    #[tokio::test]
    async fn processes_that_start_at_once_migrate_once(at: Database) {
        let mut starts = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let db = open(&at).await;
            starts.spawn(async move { db.migrate(&STEPS, None).await });
        }
        for done in starts.join_all().await {
            assert_eq!(done.unwrap(), 2);
        }
    }

    #[tokio::test]
    async fn a_step_that_fails_leaves_nothing_and_no_lock(at: Database) {
        let db = open(&at).await;
        let failed = db.migrate(&[STEPS[0], BROKEN], None).await.unwrap_err();
        assert!(failed.to_string().contains("migration 2"), "{failed}");
        // From another process, and at once: the failed one holds no lock.
        let other = open(&at).await;
        assert_eq!(other.migrate(&STEPS, None).await.unwrap(), 2);
        assert_eq!(applied(&db).await, [1, 2]);
    }

    #[tokio::test]
    async fn a_half_applied_step_stops_everything(at: Database) {
        let db = migrated(&at).await;
        let mut tx = db.begin().await.unwrap();
        let dirty = query("UPDATE _migrations SET success = $1 WHERE version = 2");
        dirty.bind(false).execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        for target in [None, Some(1)] {
            let refused = db.migrate(&STEPS, target).await.unwrap_err().to_string();
            assert!(refused.contains("migration 2 is partially applied"), "{refused}");
        }
    }
}
