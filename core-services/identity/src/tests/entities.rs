//! Users as other services' read models begin with them.

use core_platform::{
    events::Event,
    jobs::{NewJob, enqueue},
    ops::Entity,
};
use core_proto::user::v1::UserProfile;
use prost::Message as _;

use super::*;
use crate::{accounts::Deletion, entities, profiles::ProfileChange};

/// The first one, as a consumer would get it.
fn told(mut page: Vec<Entity>) -> Event {
    let message = page.remove(0).event.into_message();
    Event::decode(&message.encode_to_vec()).unwrap()
}

fn ids(page: &[Entity]) -> Vec<Uuid> {
    page.iter().map(|entity| entity.id).collect()
}

both_databases! {
    #[tokio::test]
    async fn users_are_told_of_as_user_created_does(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let page = entities::users().page(&world.db, None, 9).await.unwrap();
        let now = told(page);
        let then = query("SELECT body FROM outbox WHERE type = $1").bind("user.created");
        let then = then.fetch_one(&world.db).await.unwrap();
        let then = Event::decode(&then.get::<Vec<u8>>(0).unwrap()).unwrap();
        assert_eq!(now.subject, ada.user.to_string());
        assert!(now.id != then.id);
        let same = Event { id: then.id, actor: then.actor.clone(), ..now };
        assert!(same == then);

        let later = NOW + MINUTE;
        let change = ProfileChange {
            handle: Some("countess".to_owned()),
            display_name: Some("Countess".to_owned()),
            ..ProfileChange::default()
        };
        world.rules.profiles.update(&ada, &change, None, later).await.unwrap();
        let page = entities::users().page(&world.db, None, 9).await.unwrap();
        let event = told(page);
        assert_eq!((event.aggregate_version, event.time), (2, NOW));
        let shown: UserProfile = event.data().unwrap();
        assert_eq!((shown.handle.as_str(), shown.display_name.as_str()), ("countess", "Countess"));
    }

    #[tokio::test]
    async fn pages_go_on_and_end(at: Database) {
        let world = world(&at).await;
        let mut users = Vec::new();
        for n in 0..3 {
            users.push(world.somebody(&format!("n{n}@example.org"), NOW).await.user);
        }
        let source = entities::users();
        let page = source.page(&world.db, None, 2).await.unwrap();
        assert_eq!(ids(&page), users[..2]);
        users.push(world.somebody("late@example.org", NOW).await.user);
        let page = source.page(&world.db, Some(users[1]), 2).await.unwrap();
        assert_eq!(ids(&page), users[2..]);
        assert!(source.page(&world.db, Some(users[3]), 2).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_leaves_is_told_of_until_everything_is_gone(at: Database) {
        let policy = Policy {
            deletion_grace: Duration::ZERO,
            ..Policy::default()
        };
        let world = world_with(&at, policy).await;
        let now = clock::now();
        let ada = world.somebody(EMAIL, now).await;
        let eve = world.somebody("eve@example.org", now).await;
        let listed = async || {
            let page = entities::users().page(&world.db, None, 9).await.unwrap();
            ids(&page)
        };
        world.rules.accounts.close(&ada, now).await.unwrap();
        assert_eq!(listed().await, [ada.user, eve.user]);
        let forgetting = NewJob::new(Deletion::KIND, &()).unwrap();
        let mut tx = world.db.begin().await.unwrap();
        enqueue(&mut tx, forgetting, now).await.unwrap();
        tx.commit().await.unwrap();
        world.work(Deletion::KIND).await;
        assert_eq!(listed().await, [eve.user]);
    }
}
