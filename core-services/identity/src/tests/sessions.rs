//! Listing sessions and ending them.

use super::*;
use crate::sessions::SESSIONS_PER_USER_MAX;

both_databases! {
    #[tokio::test]
    async fn logout_ends_the_session_at_once(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let tokens = world.login(PASSWORD).await.unwrap();
        let caller = world.caller(&tokens);
        let sessions = &world.rules.sessions;
        sessions.logout(&caller, NOW).await.unwrap();
        refused!(sessions.logout(&caller, NOW).await, Error::SessionEnded);
        refused!(sessions.list(&caller, NOW).await, Error::SessionEnded);
        refused!(world.refresh(&tokens.refresh, NOW).await, Error::BadRefreshToken);
        assert_eq!(world.events().await.last().unwrap(), "session.revoked");
    }

    #[tokio::test]
    async fn an_owner_sees_and_ends_their_sessions(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let sessions = &world.rules.sessions;
        let laptop = world.login(PASSWORD).await.unwrap();
        let phone = super::at("phone");
        let phone = world.login_at(EMAIL, PASSWORD, &phone, NOW + Duration::from_secs(20)).await.unwrap();
        let (mine, other) = (world.caller(&laptop), world.caller(&phone));
        let listed = sessions.list(&mine, NOW + MINUTE).await.unwrap();
        let devices: Vec<_> = listed.iter().map(|session| session.device.as_str()).collect();
        assert_eq!(devices, ["phone", "laptop"]);
        assert_eq!(listed[0].id, other.session);
        assert_eq!(listed[0].network, "192.0.2.0/24");
        sessions.revoke(&mine, other.session, NOW).await.unwrap();
        refused!(sessions.revoke(&mine, other.session, NOW).await, Error::NoSuchSession);
        assert!(!world.is_live(&phone).await && world.is_live(&laptop).await);

        let third = world.login(PASSWORD).await.unwrap();
        sessions.revoke_all(&mine, true, NOW).await.unwrap();
        assert!(!world.is_live(&third).await && world.is_live(&laptop).await);
        sessions.revoke_all(&mine, false, NOW).await.unwrap();
        assert!(!world.is_live(&laptop).await);
    }

    #[tokio::test]
    async fn anothers_session_is_no_session(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        world.register("eve@example.org", PASSWORD).await;
        let ada = world.login(PASSWORD).await.unwrap();
        let here = super::at("laptop");
        let eve = world.login_at("eve@example.org", PASSWORD, &here, NOW).await.unwrap();
        let (adas, eves) = (world.caller(&ada), world.caller(&eve));
        let sessions = &world.rules.sessions;
        refused!(sessions.revoke(&eves, adas.session, NOW).await, Error::NoSuchSession);
        // A token that mixed the two would reach neither.
        let mixed = Caller {
            session: adas.session,
            ..eves
        };
        refused!(sessions.logout(&mixed, NOW).await, Error::SessionEnded);
        refused!(sessions.list(&mixed, NOW).await, Error::SessionEnded);
        refused!(world.rules.profiles.get(&mixed, NOW).await, Error::SessionEnded);
        assert!(world.is_live(&ada).await);
    }

    #[tokio::test]
    async fn the_oldest_session_makes_room(at: Database) {
        use crate::sessions::NewSession;
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let mine = world.login(PASSWORD).await.unwrap();
        let caller = world.caller(&mine);
        let mut tx = world.db.begin().await.unwrap();
        for n in 0..SESSIONS_PER_USER_MAX {
            let now = NOW + Duration::from_secs(1 + n as u64);
            let new = NewSession {
                user: caller.user,
                amr: &["pwd"],
                auth_time: now,
                origin: &super::at("laptop"),
            };
            world.rules.sessions.open(&mut tx, &new, now).await.unwrap();
        }
        tx.commit().await.unwrap();
        let live = "SELECT count(*) FROM sessions WHERE revoked_at IS NULL";
        let max = i64::try_from(SESSIONS_PER_USER_MAX).unwrap();
        assert_eq!(world.count(live).await, max);
        assert!(!world.is_live(&mine).await);
        let by_limit = "SELECT count(*) FROM sessions WHERE reason = 'limit'";
        assert_eq!(world.count(by_limit).await, 1);
    }

    #[tokio::test]
    async fn keys_survive_a_restart(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let tokens = world.login(PASSWORD).await.unwrap();
        let ring = KeyRing::open(None, world.keys.path()).unwrap();
        let vault = Vault::start(&world.db, ring, NOW).await.unwrap();
        let metrics = Metrics::new().unwrap();
        let (policy, policies) = (Policy::default(), world.policies.clone());
        let cache = Cache::local("identity", &metrics);
        let (on, settings) = ((world.db.clone(), vault, cache), super::tokens());
        let again = Rules::new(on, &settings, policy, policies, &metrics, NOW);
        let again = again.await.unwrap();
        let jwks = |rules: &Rules| rules.sessions.signer.jwks_json(NOW);
        assert_eq!(jwks(&again), jwks(&world.rules));
        assert!(again.sessions.signer.verifier().verify(&tokens.access, NOW).is_ok());
        // Data keys, too: an answer that was lost before the restart is given after it.
        let traded = world.refresh(&tokens.refresh, NOW).await.unwrap();
        let here = super::at("laptop");
        let repeated = again.sessions.refresh(&tokens.refresh, &here, NOW).await.unwrap();
        assert_eq!(traded.refresh, repeated.refresh);
    }
}
