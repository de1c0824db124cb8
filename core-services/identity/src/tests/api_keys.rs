//! API keys: made, used, ended.

use super::*;
use crate::api_keys::{API_KEYS_PER_USER_MAX, NewKey, USE_NOTED};

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn key(scopes: &[&str]) -> NewKey {
    NewKey {
        name: "Nightly build".to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        days: None,
    }
}

both_databases! {
    #[tokio::test]
    async fn a_key_acts_for_its_owner_within_its_scopes(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let keys = &world.rules.api_keys;
        let (made, shown) = keys.create(&ada, key(&["profile:read"]), NOW).await.unwrap();
        let text = made.text();
        assert!(text.starts_with(&format!("{}_", shown.prefix)));
        assert_eq!(shown.expires_at, NOW + 90 * DAY);

        let found = keys.introspect(&text, NOW).await.unwrap().unwrap();
        assert_eq!((found.kind, found.user, found.id), ("api_key", ada.user, made.id));
        assert_eq!(found.scopes, ["profile:read"]);
        let (token, until) = found.access.unwrap();
        assert_eq!(until, NOW + 10 * MINUTE);
        let caller = world.verifier.verify(&token, NOW).unwrap();
        assert_eq!((caller.user, caller.session), (ada.user, made.id));
        assert!(world.rules.profiles.get(&caller, NOW).await.is_ok());
        // The token itself can be asked about, too.
        let found = keys.introspect(&token, NOW).await.unwrap().unwrap();
        assert_eq!((found.kind, found.id, found.expires_at), ("api_key", made.id, until));
        assert!(found.access.is_none());

        keys.revoke(&ada, made.id, NOW).await.unwrap();
        assert!(keys.introspect(&text, NOW).await.unwrap().is_none());
        assert!(keys.introspect(&token, NOW).await.unwrap().is_none());
        refused!(world.rules.profiles.get(&caller, NOW).await, Error::SessionEnded);
        refused!(keys.revoke(&ada, made.id, NOW).await, Error::NoSuchApiKey);
        assert!(keys.list(&ada, NOW).await.unwrap().is_empty());
        let audited = world.audited().await;
        assert!(audited.ends_with(&["api_key.created".to_owned(), "api_key.revoked".to_owned()]));
        assert!(!at.holds("identity", text.splitn(3, '_').nth(2).unwrap().as_bytes()).await);
        assert!(!at.holds("identity", b"Nightly").await);
    }

    #[tokio::test]
    async fn a_key_may_never_do_more_than_its_owner(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let keys = &world.rules.api_keys;
        let beyond = key(&["profile:read", "users:read"]);
        refused!(keys.create(&ada, beyond, NOW).await, Error::Invalid("scopes", _));

        let boss = world.holder("boss@example.org", "admin", NOW).await;
        let (made, _) = keys.create(&boss, key(&["users:read"]), NOW).await.unwrap();
        world.rules.administration.appoint(EMAIL, "admin", NOW).await.unwrap();
        let ada = world.open(ada.user, NOW).await.unwrap();
        let ada = world.caller(&ada);
        world.rules.administration.take(&ada, boss.user, "admin", NOW).await.unwrap();
        let found = keys.introspect(&made.text(), NOW).await.unwrap().unwrap();
        assert!(found.scopes.is_empty(), "the owner lost it, and so did the key");
    }

    #[tokio::test]
    async fn anothers_key_is_no_key(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let eve = world.somebody("eve@example.org", NOW).await;
        let keys = &world.rules.api_keys;
        let (made, _) = keys.create(&ada, key(&["profile:read"]), NOW).await.unwrap();
        refused!(keys.revoke(&eve, made.id, NOW).await, Error::NoSuchApiKey);
        assert!(keys.list(&eve, NOW).await.unwrap().is_empty());
        assert!(keys.introspect(&made.text(), NOW).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_is_no_key_is_not_active(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let keys = &world.rules.api_keys;
        let (made, _) = keys.create(&ada, key(&["profile:read"]), NOW).await.unwrap();
        let (other, _) = keys.create(&ada, key(&["profile:read"]), NOW).await.unwrap();
        let (id, secret) = (made.text(), other.text());
        let mixed = format!("{}_{}", &id[..35], &secret[36..]);
        assert_eq!(mixed.len(), id.len());
        for text in ["", "pk_", "x", "a.b.c", &mixed] {
            assert!(keys.introspect(text, NOW).await.unwrap().is_none(), "{text}");
        }
        let late = NOW + 90 * DAY;
        assert!(keys.introspect(&made.text(), late).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn use_is_noted_to_the_hour(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let keys = &world.rules.api_keys;
        let (made, _) = keys.create(&ada, key(&["profile:read"]), NOW).await.unwrap();
        let used = async |now| {
            keys.introspect(&made.text(), now).await.unwrap().unwrap();
            keys.of_user(ada.user, NOW).await.unwrap()[0].last_used_at
        };
        // 1,800,000,000 is a whole hour.
        assert_eq!(used(NOW + MINUTE).await, Some(NOW));
        assert_eq!(used(NOW + 59 * MINUTE).await, Some(NOW));
        assert_eq!(used(NOW + USE_NOTED + MINUTE).await, Some(NOW + USE_NOTED));
    }

    #[tokio::test]
    async fn nobody_has_more_than_fifty(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let keys = &world.rules.api_keys;
        for _ in 0..API_KEYS_PER_USER_MAX {
            keys.create(&ada, key(&["profile:read"]), NOW).await.unwrap();
        }
        refused!(keys.create(&ada, key(&["profile:read"]), NOW).await, Error::TooMany(_));
        let first = keys.list(&ada, NOW).await.unwrap().pop().unwrap();
        keys.revoke(&ada, first.id, NOW).await.unwrap();
        assert!(keys.create(&ada, key(&["profile:read"]), NOW).await.is_ok());
    }
}
