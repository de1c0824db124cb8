//! Signing in: what is alike, what is slowed down, what is noticed.

use super::*;

both_databases! {
    #[tokio::test]
    async fn unknown_and_wrong_look_alike(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let wrong = world.login("wrong password").await.err().unwrap();
        let here = super::at("laptop");
        let unknown = world.login_at("nobody@example.org", "x", &here, NOW).await;
        let unknown = unknown.err().unwrap();
        assert_eq!(wrong.to_string(), unknown.to_string());
        assert!(matches!(
            (wrong, unknown),
            (Error::BadCredentials, Error::BadCredentials)
        ));
        let counted = "SELECT count(*) FROM login_attempts WHERE scope = 'account'";
        assert_eq!(world.count(counted).await, 2, "both are counted");
    }

    #[tokio::test]
    async fn a_replica_whose_clock_is_behind_locks_nobody_out(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        assert!(world.login("wrong password").await.is_err());
        let behind = UnixMicros(NOW.0 - 3_600_000_000);
        let right = world.login_at(EMAIL, PASSWORD, &super::at("laptop"), behind).await;
        assert!(right.is_ok());
    }

    #[tokio::test]
    async fn each_failure_makes_the_next_one_wait_longer(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        for known in [EMAIL, "nobody@example.org"] {
            let here = Origin::default();
            let mut now = NOW;
            let mut waits = Vec::new();
            for _ in 0..12 {
                match world.login_at(known, "wrong password", &here, now).await {
                    Err(Error::BadCredentials) => {}
                    Err(Error::Throttled(wait)) => {
                        waits.push(wait.as_secs());
                        now = now + wait;
                    }
                    _ => panic!("neither wrong nor throttled"),
                }
            }
            assert_eq!(waits, [1, 2, 4, 8], "{known}");
        }
    }

    #[tokio::test]
    async fn a_locked_account_refuses_the_right_password_too_and_opens_again(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let here = Origin::default();
        for _ in 0..5 {
            refused!(
                world.login_at(EMAIL, "wrong password", &here, NOW).await,
                Error::BadCredentials
            );
        }
        refused!(
            world.login_at(EMAIL, PASSWORD, &here, NOW).await,
            Error::Throttled(_)
        );
        let later = NOW + Duration::from_secs(1);
        assert!(world.login_at(EMAIL, PASSWORD, &here, later).await.is_ok());
        // A success forgets the failures.
        assert_eq!(world.count("SELECT count(*) FROM login_attempts").await, 0);
    }

    #[tokio::test]
    async fn a_burst_gains_nothing(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        // Most are let in before the first one is counted.
        let mut tries = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let world = world.clone();
            tries.spawn(async move {
                let here = Origin::default();
                world.login_at(EMAIL, "wrong password", &here, NOW).await.is_ok()
            });
        }
        assert!(tries.join_all().await.iter().all(|opened| !opened));
        let here = Origin::default();
        refused!(
            world.login_at(EMAIL, PASSWORD, &here, NOW).await,
            Error::Throttled(_)
        );
    }

    #[tokio::test]
    async fn a_network_that_tries_many_accounts_is_slowed_down(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let hostile = super::at("script");
        for n in 0..50 {
            let email = format!("user{n}@example.org");
            refused!(
                world.login_at(&email, "password spray", &hostile, NOW).await,
                Error::BadCredentials
            );
        }
        refused!(
            world.login_at(EMAIL, PASSWORD, &hostile, NOW).await,
            Error::Throttled(_)
        );
        let elsewhere = Origin {
            network: "198.51.100.0/24".to_owned(),
            ..hostile
        };
        assert!(world.login_at(EMAIL, PASSWORD, &elsewhere, NOW).await.is_ok());
    }

    #[tokio::test]
    async fn failures_in_a_row_are_told_at_their_levels(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let (mut now, mut failures) = (NOW, 0);
        while failures < 10 {
            match world.login_at(EMAIL, "wrong password", &Origin::default(), now).await {
                Err(Error::Throttled(wait)) => now = now + wait,
                _ => failures += 1,
            }
        }
        let told = world.events().await;
        let told = told.iter().filter(|kind| *kind == "auth.login_failed");
        assert_eq!(told.count(), 2, "at seven and at ten");
    }

    #[tokio::test]
    async fn failures_are_forgotten_after_an_hour(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        for n in 0..4 {
            let now = NOW + MINUTE * n;
            let _ = world.login_at(EMAIL, "wrong password", &Origin::default(), now).await;
        }
        let now = NOW + MINUTE * 65;
        for _ in 0..5 {
            refused!(
                world.login_at(EMAIL, "wrong password", &Origin::default(), now).await,
                Error::BadCredentials
            );
        }
    }

    #[tokio::test]
    async fn a_new_device_is_told_and_a_known_one_is_not(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let login = async |device: &str| {
            let here = super::at(device);
            world.login_at(EMAIL, PASSWORD, &here, NOW).await.unwrap()
        };
        login("laptop").await;
        assert_eq!(world.sent(Template::NewDevice).await, 0, "the first is no news");
        login("phone").await;
        assert_eq!(world.sent(Template::NewDevice).await, 1);
        login("laptop").await;
        login("phone").await;
        assert_eq!(world.sent(Template::NewDevice).await, 1);
        assert!(world.events().await.contains(&"auth.new_device".to_owned()));
        let messages = world.messages().await;
        let told = messages.iter().find(|message| message.template == Template::NewDevice);
        assert_eq!(told.unwrap().values["device"], "phone");
    }

    #[tokio::test]
    async fn an_imported_hash_opens_and_becomes_ours(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let imported = bcrypt::hash("from the old system", 4).unwrap();
        let mut tx = world.db.begin().await.unwrap();
        query("UPDATE passwords SET phc = $1")
            .bind(&imported)
            .execute(&mut tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        refused!(world.login("not it").await, Error::BadCredentials);
        for _ in 0..2 {
            assert!(world.login("from the old system").await.is_ok());
        }
        let ours = "SELECT count(*) FROM passwords WHERE phc LIKE '$argon2id$%'";
        assert_eq!(world.count(ours).await, 1);
        refused!(world.login("not it").await, Error::BadCredentials);
    }

    #[tokio::test]
    async fn a_login_that_raced_a_password_change_opens_nothing(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        // The row is held: the login checks the old password, then waits.
        let mut tx = world.db.begin().await.unwrap();
        query("UPDATE passwords SET phc = 'another'").execute(&mut tx).await.unwrap();
        let login = tokio::spawn({
            let world = world.clone();
            async move { world.login(PASSWORD).await.err() }
        });
        world.hashed(2).await;
        tx.commit().await.unwrap();
        assert!(matches!(login.await.unwrap(), Some(Error::BadCredentials)));
        assert_eq!(world.count("SELECT count(*) FROM sessions").await, 0);
    }
}
