//! Profiles and preferences.

use serde_json::{Map, json};

use super::*;
use crate::profiles::ProfileChange;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

both_databases! {
    #[tokio::test]
    async fn profiles_change_field_by_field(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let profiles = &world.rules.profiles;
        let later = NOW + Duration::from_secs(5);
        let change = ProfileChange {
            display_name: Some("Countess".to_owned()),
            phone: Some("+4915112345678".to_owned()),
            ..ProfileChange::default()
        };
        let profile = profiles.update(&caller, &change, None, later).await.unwrap();
        assert_eq!(
            (profile.name.as_str(), profile.display_name.as_str()),
            ("Ada Lovelace", "Countess")
        );
        assert_eq!((profile.created_at, profile.updated_at, profile.version), (NOW, later, 2));
        let cleared = ProfileChange {
            phone: Some(String::new()),
            ..ProfileChange::default()
        };
        let profile = profiles.update(&caller, &cleared, None, later).await.unwrap();
        assert_eq!(profile.display_name, "Countess");
        assert!(profile.phone.is_none());
        assert!(profiles.get(&caller, later).await.unwrap() == profile);
        let told = world.events().await;
        let told = told.iter().filter(|kind| *kind == "user.profile_updated");
        assert_eq!(told.count(), 2);
    }

    #[tokio::test]
    async fn of_many_changes_to_one_version_one_is_made(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let mut changes = tokio::task::JoinSet::new();
        for n in 0..6 {
            let (world, caller) = (world.clone(), caller.clone());
            changes.spawn(async move {
                let change = ProfileChange {
                    display_name: Some(format!("name {n}")),
                    ..ProfileChange::default()
                };
                world.rules.profiles.update(&caller, &change, Some(1), NOW).await
            });
        }
        let answers = changes.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        let lost = answers.iter().filter_map(|answer| answer.as_ref().err());
        assert!(lost.into_iter().all(|error| matches!(error, Error::Changed)));
    }

    #[tokio::test]
    async fn a_handle_is_one_users_and_finds_the_public_profile(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        world.register("eve@example.org", PASSWORD).await;
        let here = super::at("laptop");
        let ada = world.caller(&world.login(PASSWORD).await.unwrap());
        let eve = world.login_at("eve@example.org", PASSWORD, &here, NOW).await.unwrap();
        let eve = world.caller(&eve);
        let profiles = &world.rules.profiles;
        let made = profiles.get(&ada, NOW).await.unwrap().handle;
        assert!(profiles.public(&made).await.is_ok());
        let change = ProfileChange {
            handle: Some("countess".to_owned()),
            ..ProfileChange::default()
        };
        profiles.update(&ada, &change, None, NOW).await.unwrap();
        refused!(profiles.update(&eve, &change, None, NOW).await, Error::HandleTaken);
        assert_eq!(profiles.public("Countess").await.unwrap().id, ada.user);
        refused!(profiles.public(&made).await, Error::NoSuchUser);
        let both = vec![ada.user, eve.user, Uuid::nil()];
        assert_eq!(profiles.batch(both).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn preferences_merge_and_count_versions(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let profiles = &world.rules.profiles;
        let held = profiles.preferences(&caller, NOW).await.unwrap();
        assert!(held.values.is_empty() && held.version == 1);
        let patch = object(json!({"theme": "dark", "size": 1.5, "mail": {"news": true}}));
        profiles.update_preferences(&caller, patch, Some(1), NOW).await.unwrap();
        let patch = object(json!({"theme": null, "mail": {"offers": false}}));
        refused!(
            profiles.update_preferences(&caller, patch.clone(), Some(1), NOW).await,
            Error::Changed
        );
        profiles.update_preferences(&caller, patch, None, NOW).await.unwrap();
        let held = profiles.preferences(&caller, NOW).await.unwrap();
        let expected = json!({"size": 1.5, "mail": {"news": true, "offers": false}});
        assert_eq!((Value::Object(held.values), held.version), (expected, 3));
        let large = object(json!({"x": "y".repeat(20_000)}));
        refused!(
            profiles.update_preferences(&caller, large, None, NOW).await,
            Error::Invalid(..)
        );
        let told = world.events().await;
        let told = told.iter().filter(|kind| *kind == "user.settings_updated");
        assert_eq!(told.count(), 2);
    }
}
