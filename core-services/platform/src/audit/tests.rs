use serde_json::json;

use super::*;
use crate::crypto::{KeyRing, tests::fresh};

const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

pub(super) async fn audit(db: &Db) -> Audit {
    let dir = tempfile::tempdir().unwrap();
    let ring = KeyRing::open(None, dir.path()).unwrap();
    Audit::new(&Vault::start(db, ring, UnixMicros(1)).await.unwrap()).unwrap()
}

fn entry(n: i64) -> NewEntry {
    NewEntry {
        actor: match n % 3 {
            0 => Actor::User(Uuid::from_u128(7)),
            1 => Actor::Service("order".to_owned()),
            _ => Actor::System,
        },
        action: if n % 2 == 0 {
            "role.granted"
        } else {
            "session.revoked"
        },
        subject: (n % 4 != 0).then(|| format!("s{}", n % 4)),
        detail: json!({"n": n, "ratio": 1e10, "role": "admin"}),
        address_prefix: (n % 5 != 0).then(|| "192.0.2.0/24".to_owned()),
    }
}

pub(super) async fn record(audit: &Audit, db: &Db, numbers: std::ops::Range<i64>) {
    for n in numbers {
        let mut tx = db.begin().await.unwrap();
        let at = UnixMicros(NOW.0 + n);
        audit.record(&mut tx, entry(n), at).await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn fault(audit: &Audit, db: &Db) -> Option<Fault> {
    audit.verify(db, None).await.unwrap().fault
}

async fn run(db: &Db, sql: &'static str, seq: i64) {
    let mut tx = db.begin().await.unwrap();
    let touched = query(sql).bind(seq).execute(&mut tx).await.unwrap();
    assert!(touched > 0, "{sql}");
    tx.commit().await.unwrap();
}

core_testing::both_databases! {
    #[tokio::test]
    async fn any_tampering_is_found(at: Database) {
        let db = fresh(&at).await;
        let audit = audit(&db).await;
        record(&audit, &db, 0..7).await;
        // Everything that one statement can do to one row.
        for sql in [
            "UPDATE audit_log SET id = (SELECT subject FROM data_keys) WHERE seq = $1",
            "UPDATE audit_log SET at = (SELECT MIN(created_at) FROM data_keys) WHERE seq = $1",
            "UPDATE audit_log SET actor_kind = 'operator' WHERE seq = $1",
            "UPDATE audit_log SET actor = actor || 'x' WHERE seq = $1",
            "UPDATE audit_log SET action = 'role.revoked' WHERE seq = $1",
            "UPDATE audit_log SET subject = COALESCE(subject, '') || 'x' WHERE seq = $1",
            "UPDATE audit_log SET subject = CASE WHEN subject IS NULL THEN '' END WHERE seq = $1",
            "UPDATE audit_log SET detail = '{}' WHERE seq = $1",
            "UPDATE audit_log SET detail = detail || ' ' WHERE seq = $1",
            "UPDATE audit_log SET address_prefix = COALESCE(address_prefix, '') || '0' WHERE seq = $1",
            // The text stays the same when read across the two columns.
            "UPDATE audit_log SET actor = actor || action, action = '' WHERE seq = $1",
            "UPDATE audit_log SET prev_hash = hash WHERE seq = $1",
            "UPDATE audit_log SET hash = prev_hash WHERE seq = $1",
            "UPDATE audit_log SET seq = seq + 100 WHERE seq = $1",
            "UPDATE audit_log SET seq = -seq WHERE seq = $1",
            "DELETE FROM audit_log WHERE seq = $1",
            "DELETE FROM audit_log WHERE seq >= $1",
            "UPDATE audit_head SET seq = $1 - 1",
            "UPDATE audit_head SET seq = seq + $1",
            "UPDATE audit_head SET hash = (SELECT prev_hash FROM audit_log WHERE seq = $1)",
            "DELETE FROM audit_head WHERE id <= $1",
        ] {
            for seq in 1..=7 {
                let mut tx = db.begin().await.unwrap();
                for keep in [
                    "DROP TABLE IF EXISTS kept_log",
                    "DROP TABLE IF EXISTS kept_head",
                    "CREATE TABLE kept_log AS SELECT * FROM audit_log",
                    "CREATE TABLE kept_head AS SELECT * FROM audit_head",
                ] {
                    query(keep).execute(&mut tx).await.unwrap();
                }
                tx.commit().await.unwrap();
                assert_eq!(fault(&audit, &db).await, None);
                run(&db, sql, seq).await;
                assert!(fault(&audit, &db).await.is_some(), "{sql} with {seq}");
                let mut tx = db.begin().await.unwrap();
                for restore in [
                    "DELETE FROM audit_log",
                    "DELETE FROM audit_head",
                    "INSERT INTO audit_log SELECT * FROM kept_log",
                    "INSERT INTO audit_head SELECT * FROM kept_head",
                ] {
                    query(restore).execute(&mut tx).await.unwrap();
                }
                tx.commit().await.unwrap();
            }
        }
        record(&audit, &db, 7..9).await;
        assert_eq!(fault(&audit, &db).await, None, "and it goes on");
    }

    #[tokio::test]
    async fn the_first_fault_is_named(at: Database) {
        let db = fresh(&at).await;
        let audit = audit(&db).await;
        record(&audit, &db, 0..600).await;
        let kept = audit.verify(&db, None).await.unwrap();
        assert_eq!((kept.entries, kept.fault), (600, None));
        record(&audit, &db, 600..605).await;
        let head = audit.verify(&db, Some(&kept.head)).await.unwrap();
        assert_eq!((head.entries, head.fault), (605, None));

        // A row moved to the place of its neighbour: the two of them swapped.
        run(&db, "UPDATE audit_log SET seq = -seq WHERE seq = $1", 601).await;
        run(&db, "UPDATE audit_log SET seq = 601 WHERE seq = $1", 602).await;
        run(&db, "UPDATE audit_log SET seq = 602 WHERE seq = -$1", 601).await;
        assert_eq!(fault(&audit, &db).await, Some(Fault::Unlinked { seq: 601 }));
        run(&db, "DELETE FROM audit_log WHERE seq >= $1", 601).await;
        let cut = Fault::Truncated { last: 600, head: 605 };
        assert_eq!(fault(&audit, &db).await, Some(cut));

        // Cut off, with a head that fits: only the anchor kept elsewhere tells.
        run(
            &db,
            "UPDATE audit_head SET seq = $1, hash = (SELECT hash FROM audit_log WHERE seq = 600)",
            600,
        )
        .await;
        assert_eq!(fault(&audit, &db).await, None);
        let told = audit.verify(&db, Some(&head.head)).await.unwrap();
        assert_eq!(told.fault, Some(cut));
        // Written anew from there, it differs at the anchor.
        record(&audit, &db, 700..706).await;
        assert_eq!(fault(&audit, &db).await, None);
        let told = audit.verify(&db, Some(&head.head)).await.unwrap();
        assert_eq!(told.fault, Some(Fault::Anchor { seq: 605 }));
        assert_eq!(told.entries, 604);
    }

    #[tokio::test]
    async fn many_record_at_once(at: Database) {
        let db = fresh(&at).await;
        let audit = audit(&db).await;
        let mut writers = tokio::task::JoinSet::new();
        for n in 0..40 {
            let (db, audit) = (db.clone(), audit.clone());
            writers.spawn(async move {
                let mut tx = db.begin().await.unwrap();
                audit.record(&mut tx, entry(n), NOW).await.unwrap();
                // What is taken back leaves no gap.
                if n % 4 != 0 {
                    tx.commit().await.unwrap();
                }
            });
        }
        while let Some(done) = writers.join_next().await {
            assert_eq!(fault(&audit, &db).await, None, "while others write");
            done.unwrap();
        }
        let report = audit.verify(&db, None).await.unwrap();
        assert_eq!((report.entries, report.fault), (30, None));
    }

    #[tokio::test]
    async fn lists_by_pages(at: Database) {
        let db = fresh(&at).await;
        let audit = audit(&db).await;
        record(&audit, &db, 0..30).await;
        let seqs = async |filter: Filter| -> Vec<i64> {
            let entries = audit.list(&db, &filter).await.unwrap();
            entries.iter().map(|entry| entry.seq).collect()
        };
        let all: Vec<i64> = (1..=30).rev().collect();
        assert_eq!(seqs(Filter::default()).await, all);
        let mut paged = Vec::new();
        let mut before = None;
        loop {
            let page = seqs(Filter { before, limit: 7, ..Filter::default() }).await;
            let Some(last) = page.last() else { break };
            before = Some(*last);
            paged.extend(page);
        }
        assert_eq!(paged, all);

        let (user, subject) = (Uuid::from_u128(7).to_string(), "s2".to_owned());
        let matching = |keep: &dyn Fn(i64) -> bool| -> Vec<i64> {
            (0..30).rev().filter(|n| keep(*n)).map(|n| n + 1).collect()
        };
        for (filter, expected) in [
            (
                Filter { subject: Some(subject.clone()), ..Filter::default() },
                matching(&|n| n % 4 == 2),
            ),
            (
                Filter { actor: Some(user.clone()), ..Filter::default() },
                matching(&|n| n % 3 == 0),
            ),
            (
                Filter { action: Some("role.granted".to_owned()), ..Filter::default() },
                matching(&|n| n % 2 == 0),
            ),
            (
                Filter { subject: Some(subject), actor: Some(user), ..Filter::default() },
                matching(&|n| n % 4 == 2 && n % 3 == 0),
            ),
            (
                Filter {
                    from: Some(UnixMicros(NOW.0 + 5)),
                    until: Some(UnixMicros(NOW.0 + 9)),
                    ..Filter::default()
                },
                matching(&|n| (5..9).contains(&n)),
            ),
        ] {
            assert_eq!(seqs(filter.clone()).await, expected, "{filter:?}");
        }
    }

    #[tokio::test]
    async fn what_is_too_long_is_not_written(at: Database) {
        let db = fresh(&at).await;
        let audit = audit(&db).await;
        let long = "x".repeat(5_000);
        for wrong in [
            NewEntry { subject: Some(long.clone()), ..entry(1) },
            NewEntry { detail: json!({ "x": long.clone() }), ..entry(1) },
            NewEntry { actor: Actor::Service(long.clone()), ..entry(1) },
            NewEntry { address_prefix: Some(long), ..entry(1) },
        ] {
            let mut tx = db.begin().await.unwrap();
            let refused = audit.record(&mut tx, wrong, NOW).await;
            assert!(matches!(refused, Err(Error::TooLong(_))));
        }
        assert_eq!(audit.verify(&db, None).await.unwrap().entries, 0);
    }
}
