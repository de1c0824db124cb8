//! People for a development database.

use super::*;
use crate::seed::{SEED_PASSWORD, SeedError, seed};

both_databases! {
    #[tokio::test]
    async fn the_same_people_each_time(at: Database) {
        let world = world(&at).await;
        let first = seed(&world.rules, false, NOW).await.unwrap();
        assert!(first.iter().all(|person| person.changed));
        let told = world.events().await;
        let audited = world.audited().await.len();
        assert_eq!(world.count("SELECT count(*) FROM users").await, 6);
        assert_eq!(world.count("SELECT count(*) FROM contacts WHERE verified_at IS NOT NULL").await, 6);
        assert_eq!(world.count("SELECT count(*) FROM role_grants").await, 3);
        assert_eq!(world.count("SELECT count(*) FROM relationships").await, 12);
        assert_eq!(world.count("SELECT count(*) FROM preferences WHERE version = 2").await, 6);
        assert_eq!(world.count("SELECT count(*) FROM sessions WHERE revoked_at IS NULL").await, 0);
        assert!(world.messages().await.is_empty(), "nobody is there to read one");

        let again = seed(&world.rules, false, NOW + MINUTE).await.unwrap();
        assert!(!again.iter().any(|person| person.changed));
        assert_eq!(world.events().await, told);
        assert_eq!(world.audited().await.len(), audited);
    }

    #[tokio::test]
    async fn they_sign_in_and_are_who_they_are(at: Database) {
        let world = world(&at).await;
        for person in seed(&world.rules, false, NOW).await.unwrap() {
            let here = super::at("laptop");
            let login = world.login_at(&person.email, SEED_PASSWORD, &here, NOW);
            let caller = world.caller(&login.await.unwrap());
            assert!(caller.roles.contains(&person.role.to_owned()), "{}", person.email);
            let profile = world.rules.profiles.get(&caller, NOW).await.unwrap();
            assert_eq!(format!("{}@palisade.test", profile.handle), person.email);
            assert_eq!(profile.display_name, profile.name);
        }
    }

    #[tokio::test]
    async fn what_was_changed_since_stays(at: Database) {
        let world = world(&at).await;
        let people = seed(&world.rules, false, NOW).await.unwrap();
        let ada = world.user(&people[0].email).await;
        let caller = world.caller(&world.open(ada, NOW).await.unwrap());
        let change = crate::profiles::ProfileChange {
            display_name: Some("Countess".to_owned()),
            ..Default::default()
        };
        world.rules.profiles.update(&caller, &change, None, NOW).await.unwrap();
        seed(&world.rules, false, NOW).await.unwrap();
        let profile = world.rules.profiles.get(&caller, NOW).await.unwrap();
        assert_eq!(profile.display_name, "Countess");
    }

    #[tokio::test]
    async fn accounts_of_others_are_left_alone(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let taken = crate::profiles::ProfileChange {
            handle: Some("grace".to_owned()),
            ..Default::default()
        };
        world.rules.profiles.update(&caller, &taken, None, NOW).await.unwrap();
        refused!(seed(&world.rules, false, NOW).await, SeedError::Others(1));
        assert_eq!(world.count("SELECT count(*) FROM users").await, 1);

        assert_eq!(seed(&world.rules, true, NOW).await.unwrap().len(), 6);
        assert_eq!(world.rules.profiles.public("grace").await.unwrap().id, caller.user);
        let again = seed(&world.rules, true, NOW).await.unwrap();
        assert!(!again.iter().any(|person| person.changed));
    }
}
