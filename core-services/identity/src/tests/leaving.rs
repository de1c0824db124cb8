//! Taking one's data away, and closing the account.

use core_platform::jobs::{NewJob, enqueue};

use super::*;
use crate::{
    accounts::Deletion,
    exports::{Assembly, KEPT},
    relationships::Kind,
};

impl World {
    async fn sweep(&self) {
        let job = NewJob::new(Deletion::KIND, &()).unwrap();
        let mut tx = self.db.begin().await.unwrap();
        enqueue(&mut tx, job, clock::now()).await.unwrap();
        tx.commit().await.unwrap();
        self.work(Deletion::KIND).await;
    }
}

fn document(archive: &[u8], name: &str) -> Value {
    use std::io::Read;
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
    let mut text = String::new();
    let mut file = archive.by_name(name).unwrap();
    file.read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

both_databases! {
    #[tokio::test]
    async fn an_export_holds_what_is_kept_and_is_its_owners(at: Database) {
        let now = clock::now();
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, now).await;
        let eve = world.somebody("eve@example.org", now).await;
        world.rules.relationships.put(&ada, eve.user, Kind::Follow, now).await.unwrap();
        world.passkey(&ada).await;
        let exports = &world.rules.exports;
        let asked = exports.request(&ada, now).await.unwrap();
        assert!(!asked.ready);
        refused!(exports.download(&ada, asked.id, now).await, Error::ExportNotReady);
        world.work(Assembly::KIND).await;
        let again = exports.request(&ada, now).await.unwrap();
        assert_eq!((again.id, again.ready), (asked.id, true));

        let archive = exports.download(&ada, asked.id, now).await.unwrap();
        assert_eq!(document(&archive, "profile.json")["name"], "Ada Lovelace");
        assert_eq!(document(&archive, "contacts.json")[0]["value"], EMAIL);
        let follows = document(&archive, "relationships.json");
        assert_eq!(follows[0]["user_id"], eve.user.to_string());
        assert_eq!(document(&archive, "credentials.json")[0]["kind"], "passkey");
        assert_eq!(document(&archive, "sessions.json")[0]["device"], "laptop");
        assert!(document(&archive, "audit.json").as_array().unwrap().len() > 1);

        refused!(exports.download(&eve, asked.id, now).await, Error::NoSuchExport);
        refused!(exports.download(&ada, asked.id, now + KEPT).await, Error::NoSuchExport);
        assert!(!at.holds("identity", b"lovelace").await, "sealed at rest");
    }

    #[tokio::test]
    async fn who_comes_back_in_time_stays(at: Database) {
        let now = clock::now();
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, now).await;
        let delete_at = world.rules.accounts.close(&ada, now).await.unwrap();
        assert_eq!(delete_at, now + Duration::from_secs(14 * 24 * 3600));
        refused!(world.rules.profiles.get(&ada, now).await, Error::SessionEnded);
        assert_eq!(world.sent(Template::AccountClosed).await, 1);
        let tokens = world.open(ada.user, now).await.unwrap();
        let ada = world.caller_at(&tokens, now);
        assert!(world.rules.profiles.get(&ada, now).await.is_ok());
        assert!(world.audited().await.contains(&"deletion.cancelled".to_owned()));
        let leaving = "SELECT count(*) FROM users WHERE delete_at IS NOT NULL";
        assert_eq!(world.count(leaving).await, 0);
    }

    #[tokio::test]
    async fn nothing_is_left_of_who_does_not(at: Database) {
        let policy = Policy {
            deletion_grace: Duration::ZERO,
            ..Policy::default()
        };
        let now = clock::now();
        let world = world_with(&at, policy).await;
        let ada = world.somebody(EMAIL, now).await;
        let eve = world.somebody("eve@example.org", now).await;
        world.rules.relationships.put(&eve, ada.user, Kind::Follow, now).await.unwrap();
        world.rules.exports.request(&ada, now).await.unwrap();
        world.work(Assembly::KIND).await;
        world.rules.accounts.close(&ada, now).await.unwrap();
        refused!(world.open(ada.user, now).await, Error::BadCredentials);
        world.sweep().await;

        refused!(world.open(ada.user, now).await, Error::BadCredentials);
        let gone = world.vault.key(&world.db, ada.user).await;
        assert!(matches!(gone, Err(core_platform::crypto::Error::Shredded)));
        for table in [
            "SELECT count(*) FROM users",
            "SELECT count(*) FROM contacts",
            "SELECT count(*) FROM passwords",
            "SELECT count(*) FROM preferences",
        ] {
            assert_eq!(world.count(table).await, 1, "{table}: only Eve's is left");
        }
        for table in [
            "SELECT count(*) FROM relationships",
            "SELECT count(*) FROM account_exports",
        ] {
            assert_eq!(world.count(table).await, 0, "{table}");
        }
        let events = world.events().await;
        assert!(events.contains(&"user.deleted".to_owned()), "{events:?}");
        assert!(world.audited().await.contains(&"user.deleted".to_owned()));
        // The address is free again.
        world.somebody(EMAIL, now).await;
    }
}
