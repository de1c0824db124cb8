//! Roles, suspension, and what administrators see.

use core_platform::audit::Filter;

use super::*;

const ADMIN: &str = "boss@example.org";

both_databases! {
    #[tokio::test]
    async fn a_role_is_in_force_at_the_next_refresh(at: Database) {
        let world = world(&at).await;
        let boss = world.holder(ADMIN, "admin", NOW).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let tokens = world.open(ada.user, NOW).await.unwrap();
        let administration = &world.rules.administration;
        administration.grant(&boss, ada.user, "operator", NOW).await.unwrap();
        let renewed = world.refresh(&tokens.refresh, NOW).await.unwrap();
        let caller = world.caller(&renewed);
        assert_eq!(caller.roles, ["user", "operator"]);
        assert!(caller.scopes.contains(&"ops:read".to_owned()));
        administration.take(&boss, ada.user, "operator", NOW).await.unwrap();
        let renewed = world.refresh(&renewed.refresh, NOW).await.unwrap();
        assert_eq!(world.caller(&renewed).scopes, ["profile:read", "profile:write"]);
        let audited = world.audited().await;
        for action in ["role.granted", "role.revoked"] {
            assert!(audited.contains(&action.to_owned()), "{audited:?}");
        }
    }

    #[tokio::test]
    async fn only_roles_there_are_and_none_beyond_ones_own(at: Database) {
        let world = world(&at).await;
        let boss = world.holder(ADMIN, "admin", NOW).await;
        let helper = world.holder("helper@example.org", "support", NOW).await;
        let ada = world.somebody(EMAIL, NOW).await.user;
        let administration = &world.rules.administration;
        for role in ["king", "user"] {
            let refused = administration.grant(&boss, ada, role, NOW).await;
            refused!(refused, Error::Invalid("role", _));
        }
        for role in ["admin", "support"] {
            refused!(administration.grant(&helper, ada, role, NOW).await, Error::BeyondOwnRights);
            refused!(administration.take(&helper, boss.user, role, NOW).await, Error::BeyondOwnRights);
        }
        let nobody = Uuid::now_v7();
        refused!(administration.grant(&boss, nobody, "admin", NOW).await, Error::NoSuchUser);
        refused!(
            administration.appoint("nobody@example.org", "admin", NOW).await,
            Error::NoSuchUser
        );
        // A token from before the role was taken away gives nothing on.
        administration.appoint("helper@example.org", "admin", NOW).await.unwrap();
        let helper = world.caller(&world.open(helper.user, NOW).await.unwrap());
        administration.take(&boss, helper.user, "admin", NOW).await.unwrap();
        refused!(administration.grant(&helper, ada, "admin", NOW).await, Error::BeyondOwnRights);
    }

    #[tokio::test]
    async fn the_last_administrator_stays(at: Database) {
        let world = world(&at).await;
        let first = world.holder(ADMIN, "admin", NOW).await;
        let administration = &world.rules.administration;
        refused!(administration.take(&first, first.user, "admin", NOW).await, Error::LastAdmin);
        refused!(administration.suspend(&first, first.user, NOW).await, Error::LastAdmin);
        refused!(world.rules.accounts.close(&first, NOW).await, Error::LastAdmin);
        let second = world.holder("second@example.org", "admin", NOW).await;
        // Each takes the other's at once: one is left.
        let mut taking = tokio::task::JoinSet::new();
        for (by, from) in [(&first, &second), (&second, &first)] {
            let (world, by, from) = (world.clone(), by.clone(), from.user);
            taking.spawn(async move {
                let administration = &world.rules.administration;
                administration.take(&by, from, "admin", NOW).await.is_ok()
            });
        }
        let taken = taking.join_all().await;
        assert_eq!(taken.iter().filter(|done| **done).count(), 1, "{taken:?}");
        let left = "SELECT count(*) FROM role_grants WHERE role = 'admin'";
        assert_eq!(world.count(left).await, 1);
    }

    #[tokio::test]
    async fn who_is_suspended_is_out_at_once(at: Database) {
        let world = world(&at).await;
        let boss = world.holder(ADMIN, "admin", NOW).await;
        world.register(EMAIL, PASSWORD).await;
        let tokens = world.login(PASSWORD).await.unwrap();
        let ada = world.caller(&tokens);
        let administration = &world.rules.administration;
        administration.suspend(&boss, ada.user, NOW).await.unwrap();
        assert!(!world.is_live(&tokens).await);
        refused!(world.refresh(&tokens.refresh, NOW).await, Error::BadRefreshToken);
        refused!(world.login(PASSWORD).await, Error::Suspended);
        // Without the password nobody learns of it.
        refused!(world.login("something else").await, Error::BadCredentials);
        assert!(world.audited().await.contains(&"user.suspended".to_owned()));
        administration.reinstate(&boss, ada.user, NOW).await.unwrap();
        assert!(!world.is_live(&tokens).await, "what ended stays so");
        assert!(world.login(PASSWORD).await.is_ok());
    }

    #[tokio::test]
    async fn a_login_beside_a_suspension_leaves_no_session(at: Database) {
        let world = world(&at).await;
        let boss = world.holder(ADMIN, "admin", NOW).await;
        let ada = world.somebody(EMAIL, NOW).await.user;
        let mut racing = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let world = world.clone();
            racing.spawn(async move { drop(world.open(ada, NOW).await) });
        }
        let suspending = world.clone();
        racing.spawn(async move {
            let administration = &suspending.rules.administration;
            administration.suspend(&boss, ada, NOW).await.unwrap();
        });
        racing.join_all().await;
        let live = store::sessions::live(&world.db, ada, NOW).await.unwrap();
        assert!(live.is_empty());
    }

    #[tokio::test]
    async fn users_are_found_by_address_and_listed_by_pages(at: Database) {
        let world = world(&at).await;
        let boss = world.holder(ADMIN, "admin", NOW).await;
        let mut expected = vec![boss.user];
        for n in 0..3 {
            expected.push(world.somebody(&format!("u{n}@example.org"), NOW).await.user);
        }
        expected.reverse();
        let administration = &world.rules.administration;
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = administration.users(&boss, None, after, 2, NOW).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.user.id);
            seen.extend(page.iter().map(|listed| listed.user.id));
        }
        assert_eq!(seen, expected);
        let found = administration.users(&boss, Some("BOSS@example.org"), None, 2, NOW).await;
        let found = found.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].roles, ["admin"]);
        let email = found[0].email.as_ref().unwrap();
        assert_eq!((email.value.as_str(), email.verified), (ADMIN, false));
        let nobody = administration.users(&boss, Some("x@example.org"), None, 2, NOW).await;
        assert!(nobody.unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_log_says_who_did_it(at: Database) {
        let world = world(&at).await;
        let boss = world.holder(ADMIN, "admin", NOW).await;
        let ada = world.somebody(EMAIL, NOW).await.user;
        let administration = &world.rules.administration;
        administration.suspend(&boss, ada, NOW).await.unwrap();
        let filter = Filter {
            subject: Some(ada.to_string()),
            action: Some("user.suspended".to_owned()),
            ..Filter::default()
        };
        let found = administration.audit_events(&boss, &filter, NOW).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].actor_kind.as_str(), &found[0].actor), ("user", &boss.user.to_string()));
        let first = Filter {
            action: Some("role.granted".to_owned()),
            ..Filter::default()
        };
        let found = administration.audit_events(&boss, &first, NOW).await.unwrap();
        assert_eq!(found[0].actor_kind, "operator");
    }
}
