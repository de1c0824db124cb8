//! Making items, finding them, and what becomes of them.

use core_platform::events::{Event, Failure};
use core_proto::sample::v1::ItemCreated;

use super::*;
use crate::consumers::forget;

both_databases! {
    #[tokio::test]
    async fn an_item_is_its_owners_only(at: Database) {
        let rules = rules(&at).await;
        let (ada, bob) = (somebody(), somebody());
        let item = rules.create(&ada, "engine", NOW).await.unwrap();
        assert_eq!(rules.get(&ada, item.id).await.unwrap(), item);
        let refused = rules.get(&bob, item.id).await;
        assert!(matches!(refused, Err(Error::NoSuchItem)));
        assert!(rules.list(&bob, None, 10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_name_is_used_once_by_each_owner(at: Database) {
        let rules = rules(&at).await;
        let (ada, bob) = (somebody(), somebody());
        rules.create(&ada, "engine", NOW).await.unwrap();
        let refused = rules.create(&ada, "engine", NOW).await;
        assert!(matches!(refused, Err(Error::NameTaken)));
        rules.create(&bob, "engine", NOW).await.unwrap();
    }

    #[tokio::test]
    async fn there_is_an_end(at: Database) {
        let rules = rules(&at).await;
        let ada = somebody();
        for name in ["one", "two", "three"] {
            rules.create(&ada, name, NOW).await.unwrap();
        }
        // What was refused is not counted.
        for name in ["three", "four", "five"] {
            assert!(rules.create(&ada, name, NOW).await.is_err());
        }
        assert_eq!(count(&rules.db, "SELECT items FROM owners").await, ITEMS_MAX);
        assert_eq!(count(&rules.db, "SELECT count(*) FROM items").await, ITEMS_MAX);
        rules.create(&somebody(), "four", NOW).await.unwrap();
    }

    #[tokio::test]
    async fn each_item_is_told_once(at: Database) {
        let rules = rules(&at).await;
        let ada = somebody();
        let item = rules.create(&ada, "engine", NOW).await.unwrap();
        rules.create(&ada, "engine", NOW).await.unwrap_err();
        let rows = query("SELECT body FROM outbox").fetch_all(&rules.db).await.unwrap();
        let bodies: Vec<Vec<u8>> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        let [body] = &bodies[..] else {
            panic!("{} events", bodies.len());
        };
        let event = Event::decode(body).unwrap();
        assert_eq!((event.kind.as_str(), event.source.as_str()), ("sample.item_created", SERVICE));
        assert_eq!(event.subject, item.id.to_string());
        let told: ItemCreated = event.data().unwrap();
        assert_eq!(told.owner_id, ada.user.to_string());
    }

    #[tokio::test]
    async fn everything_goes_with_the_account(at: Database) {
        let rules = rules(&at).await;
        let (ada, bob) = (somebody(), somebody());
        rules.create(&ada, "engine", NOW).await.unwrap();
        let kept = rules.create(&bob, "engine", NOW).await.unwrap();
        let deleted = |subject: String| Event {
            id: Uuid::now_v7(),
            kind: "user.deleted".to_owned(),
            source: "identity".to_owned(),
            subject,
            aggregate_version: 0,
            time: NOW,
            traceparent: String::new(),
            actor: String::new(),
            data: Vec::new(),
            schema: String::new(),
        };
        let mut tx = rules.db.begin().await.unwrap();
        forget(&mut tx, &deleted(ada.user.to_string())).await.unwrap();
        let refused = forget(&mut tx, &deleted("ada".to_owned())).await;
        assert!(matches!(refused, Err(Failure::Permanent(_))));
        tx.commit().await.unwrap();
        assert!(rules.list(&ada, None, 10).await.unwrap().is_empty());
        assert_eq!(rules.list(&bob, None, 10).await.unwrap(), [kept]);
    }

    #[tokio::test]
    async fn the_schema_goes_down_and_up(at: Database) {
        let db = database(&at).await;
        let schema = at.schema(SERVICE).await;
        db.migrate(&MIGRATIONS, Some(0)).await.unwrap();
        db.migrate(&MIGRATIONS, None).await.unwrap();
        assert_eq!(at.schema(SERVICE).await, schema);
    }
}
