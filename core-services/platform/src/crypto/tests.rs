use crate::{clock::UnixMicros, db::Db, db::Location};

use super::*;
use uuid::Uuid;

const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);
const NAME: Field = Field::new("profiles.name");
const K1: &str = "k1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";
const K2: &str = "k2:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n";

/// An empty database with the platform's tables.
pub(crate) async fn fresh(at: &core_testing::Database) -> Db {
    let location = Location::from_setting(&at.setting()).unwrap();
    let db = Db::open(&location, "t").await.unwrap();
    db.migrate(&[], None).await.unwrap();
    db
}
const K3: &str = "k3:AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n";

fn ring(lines: &[&str]) -> KeyRing {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring");
    std::fs::write(&path, lines.concat()).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).unwrap();
    KeyRing::load(&path).unwrap()
}

async fn created(vault: &Vault, db: &Db) -> (Uuid, SubjectKey) {
    let subject = Uuid::now_v7();
    let mut tx = db.begin().await.unwrap();
    let key = vault.create(&mut tx, subject, NOW).await.unwrap();
    tx.commit().await.unwrap();
    (subject, key)
}

/// A second replica, which has nothing in its cache.
async fn replica(db: &Db, lines: &[&str]) -> Vault {
    Vault::start(db, ring(lines), NOW).await.unwrap()
}

core_testing::both_databases! {
    #[tokio::test]
    async fn keys_open_in_every_replica(at: Database) {
        let db = fresh(&at).await;
        let vault = replica(&db, &[K1]).await;
        let (subject, key) = created(&vault, &db).await;
        let sealed = key.seal(NAME, b"Ada").unwrap();
        let other = replica(&db, &[K1]).await;
        let theirs = other.key(&db, subject).await.unwrap();
        assert_eq!(theirs.open_text(NAME, &sealed).unwrap(), "Ada");
        let service = vault.service_key().seal(NAME, b"client secret").unwrap();
        let opened = other.service_key().open(NAME, &service).unwrap();
        assert_eq!(opened, b"client secret");
        assert_eq!(vault.blind_index("email", "a"), other.blind_index("email", "a"));
        // Made twice, it stays the first one.
        let mut tx = db.begin().await.unwrap();
        let again = other.create(&mut tx, subject, NOW).await.unwrap();
        assert_eq!(again.open_text(NAME, &sealed).unwrap(), "Ada");
        drop(tx);
        let nobody = Uuid::now_v7();
        assert!(matches!(vault.key(&db, nobody).await, Err(Error::NoKey)));
        let many = other.keys(&db, &[subject, nobody]).await.unwrap();
        assert_eq!(many.keys().copied().collect::<Vec<_>>(), [subject]);
    }

    #[tokio::test]
    async fn a_rolled_back_key_is_used_by_nobody(at: Database) {
        let db = fresh(&at).await;
        let vault = replica(&db, &[K1]).await;
        let subject = Uuid::now_v7();
        let mut tx = db.begin().await.unwrap();
        vault.create(&mut tx, subject, NOW).await.unwrap();
        assert!(vault.key(&mut tx, subject).await.is_ok());
        drop(tx);
        assert!(matches!(vault.key(&db, subject).await, Err(Error::NoKey)));
    }

    #[tokio::test]
    async fn a_shredded_subject_stays_forgotten(at: Database) {
        let db = fresh(&at).await;
        let vault = replica(&db, &[K1]).await;
        let (subject, key) = created(&vault, &db).await;
        let sealed = key.seal(NAME, b"Ada").unwrap();
        let (kept, _) = created(&vault, &db).await;
        assert!(vault.key(&db, subject).await.is_ok(), "cached from now on");

        let mut tx = db.begin().await.unwrap();
        assert!(vault.shred(&mut tx, subject, NOW).await.unwrap());
        tx.commit().await.unwrap();
        vault.forget(subject);
        for vault in [vault, replica(&db, &[K1]).await] {
            assert!(matches!(vault.key(&db, subject).await, Err(Error::Shredded)));
            let mut tx = db.begin().await.unwrap();
            let anew = vault.create(&mut tx, subject, NOW).await;
            assert!(matches!(anew, Err(Error::Shredded)));
            assert!(!vault.shred(&mut tx, subject, NOW).await.unwrap());
            drop(tx);
            let all = vault.keys(&db, &[subject, kept]).await.unwrap();
            assert!(all.contains_key(&kept) && !all.contains_key(&subject));
            for key in [all[&kept].clone(), vault.service_key().clone()] {
                assert!(matches!(key.open(NAME, &sealed), Err(Error::Damaged(_))));
            }
        }
    }

    #[tokio::test]
    async fn rotation_moves_every_key(at: Database) {
        let db = fresh(&at).await;
        let old = replica(&db, &[K1]).await;
        // More than one batch.
        let mut tx = db.begin().await.unwrap();
        let mut sealed = Vec::new();
        for _ in 0..250 {
            let subject = Uuid::now_v7();
            let key = old.create(&mut tx, subject, NOW).await.unwrap();
            sealed.push((subject, key.seal(NAME, b"Ada").unwrap()));
        }
        assert!(old.shred(&mut tx, sealed[0].0, NOW).await.unwrap());
        tx.commit().await.unwrap();
        let index = old.blind_index("email", "a@example.org");

        let both = replica(&db, &[K2, K1]).await;
        let (young, _) = created(&both, &db).await;
        assert!(old.key(&db, young).await.is_err(), "the old ring lacks k2");
        let before = both.wrapped_by_older(&db).await.unwrap();
        assert_eq!(before, [("k1".to_owned(), 250)], "249 and the service's own");
        assert_eq!(both.rewrap(&db).await.unwrap(), 250);
        assert!(both.wrapped_by_older(&db).await.unwrap().is_empty());
        assert_eq!(both.rewrap(&db).await.unwrap(), 0);

        // Taken out only now; a ring without it has nothing to do, and says what it lacks.
        let new = replica(&db, &[K2]).await;
        assert_eq!(new.rewrap(&db).await.unwrap(), 0);
        let lacking = replica(&db, &[K3, K2]).await;
        created(&lacking, &db).await;
        let lacks = new.wrapped_by_older(&db).await.unwrap();
        assert_eq!(lacks, [("k3".to_owned(), 1)]);
        for (subject, sealed) in &sealed[1..] {
            let key = new.key(&db, *subject).await.unwrap();
            assert_eq!(key.open_text(NAME, sealed).unwrap(), "Ada");
        }
        assert_eq!(new.blind_index("email", "a@example.org"), index);
        let refused = Vault::start(&db, ring(&[K1]), NOW).await.err().unwrap();
        assert!(refused.to_string().contains("wrapped by `k2`"), "{refused}");
    }

    #[tokio::test]
    async fn a_key_moved_to_another_subject_does_not_open(at: Database) {
        let db = fresh(&at).await;
        let vault = replica(&db, &[K1]).await;
        let (one, _) = created(&vault, &db).await;
        let (two, _) = created(&vault, &db).await;
        let mut tx = db.begin().await.unwrap();
        crate::db::query(
            "UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys WHERE subject = $1)
             WHERE subject = $2",
        )
        .bind(one)
        .bind(two)
        .execute(&mut tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        assert!(matches!(vault.key(&db, two).await, Err(Error::Damaged(_))));
    }

    #[tokio::test]
    async fn a_lost_ring_is_not_replaced_by_a_new_one(at: Database) {
        let db = fresh(&at).await;
        let dir = tempfile::tempdir().unwrap();
        let (ring, kept) = (dir.path().join("keyring"), dir.path().join("kept"));
        let open = || Vault::open(&db, (None, dir.path()), NOW);
        open().await.unwrap();
        std::fs::rename(&ring, &kept).unwrap();
        let lost = open().await.err().unwrap().to_string();
        assert!(lost.contains("keyring`, and the database holds 1 data keys"), "{lost}");
        assert!(lost.contains("hint: put the file back"), "{lost}");
        assert!(!ring.exists(), "nothing was made");
        Vault::open(&db, (Some(&kept), dir.path()), NOW).await.unwrap();
        std::fs::rename(&kept, &ring).unwrap();
        open().await.unwrap();
    }

    #[tokio::test]
    async fn replicas_start_at_the_same_time(at: Database) {
        let db = fresh(&at).await;
        let starts = (0..4).map(|_| Vault::start(&db, ring(&[K1]), NOW));
        let vaults: Vec<Vault> = futures::future::try_join_all(starts).await.unwrap();
        let sealed = vaults[0].service_key().seal(NAME, b"x").unwrap();
        for vault in &vaults {
            assert_eq!(vault.service_key().open(NAME, &sealed).unwrap(), b"x");
        }
    }
}

#[test]
fn nothing_shows_a_key() {
    let keys = ring(&[K1]);
    assert_eq!(format!("{keys:?}"), r#"["k1"]"#);
}

#[tokio::test]
async fn a_shredded_key_is_not_in_the_file_any_more() {
    let at = core_testing::Database::sqlite();
    let db = fresh(&at).await;
    let vault = replica(&db, &[K1]).await;
    let (subject, _) = created(&vault, &db).await;
    created(&vault, &db).await;
    let row = crate::db::query("SELECT wrapped FROM data_keys WHERE subject = $1").bind(subject);
    let wrapped: Vec<u8> = row.fetch_one(&db).await.unwrap().get(0).unwrap();
    let file = std::path::Path::new(&at.setting()).join("t.sqlite");
    let holds_it = async || {
        // Folds the log into the file.
        db.close().await;
        let bytes = std::fs::read(&file).unwrap();
        // A part of it would do for a guess at the rest.
        let mut parts = wrapped.windows(20);
        parts.any(|part| bytes.windows(20).any(|here| here == part))
    };
    assert!(holds_it().await);

    let db = fresh(&at).await;
    let mut tx = db.begin().await.unwrap();
    assert!(vault.shred(&mut tx, subject, NOW).await.unwrap());
    tx.commit().await.unwrap();
    db.close().await;
    assert!(!holds_it().await);
}
