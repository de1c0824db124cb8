//! Opening accounts: known and unknown addresses look alike.

use super::*;

both_databases! {
    #[tokio::test]
    async fn a_new_account_is_told_and_gets_a_code(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        assert!(world.login(PASSWORD).await.is_ok(), "no proof is needed by default");
        assert_eq!(world.sent(Template::VerifyContact).await, 1);
        assert_eq!(world.events().await, ["user.created"]);
        assert_eq!(world.audited().await, ["user.registered", "login"]);
    }

    #[tokio::test]
    async fn a_known_address_keeps_its_account_and_its_owner_learns_of_it(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        world.register("ADA@Example.org", "another password").await;
        assert_eq!(world.count("SELECT count(*) FROM users").await, 1);
        assert!(world.login(PASSWORD).await.is_ok());
        refused!(world.login("another password").await, Error::BadCredentials);
        assert_eq!(world.sent(Template::RegisteredAgain).await, 1);
        // Whoever tries a hundred times does not fill a mailbox.
        for n in 0..20 {
            let now = NOW + MINUTE * n;
            world.try_register(EMAIL, "another password", now).await.unwrap();
        }
        assert_eq!(world.sent(Template::RegisteredAgain).await, 5);
    }

    #[tokio::test]
    async fn of_many_registrations_of_one_address_at_once_one_wins(at: Database) {
        let world = world(&at).await;
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..6 {
            let world = world.clone();
            calls.spawn(async move {
                let password = format!("password number {n}");
                world.try_register(EMAIL, &password, NOW).await.map(|()| password)
            });
        }
        let answers = calls.join_all().await;
        assert!(answers.iter().all(Result::is_ok), "all get the same answer");
        assert_eq!(world.count("SELECT count(*) FROM users").await, 1);
        let mut opens = 0;
        for password in answers {
            opens += usize::from(world.login(&password.unwrap()).await.is_ok());
        }
        assert_eq!(opens, 1);
        // Nothing is left of the others.
        let keys = "SELECT count(*) FROM data_keys";
        assert_eq!(world.count(keys).await, 2, "the service's and the user's");
        assert_eq!(world.count("SELECT count(*) FROM outbox").await, 1);
    }

    #[tokio::test]
    async fn what_everybody_knows_is_no_password(at: Database) {
        let list = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../policies/services/breached-passwords.txt"
        );
        let policy = Policy {
            breached: Breached::load(std::path::Path::new(list)).unwrap(),
            ..Policy::default()
        };
        let world = world_with(&at, policy).await;
        refused!(world.try_register(EMAIL, "Password1", NOW).await, Error::Breached);
        assert_eq!(world.count("SELECT count(*) FROM users").await, 0);
        world.register(EMAIL, PASSWORD).await;
        let caller = world.caller(&world.login(PASSWORD).await.unwrap());
        let accounts = &world.rules.accounts;
        let change = |new: &str| {
            let current = PASSWORD.to_owned();
            let new = new.to_owned();
            async { accounts.change_password(&caller, current, new, &Origin::default(), NOW).await }
        };
        refused!(change("qwertyuiop").await, Error::Breached);
        assert!(change("analytical-engine").await.is_ok());
    }

    #[tokio::test]
    async fn who_must_be_verified_is_told_only_with_the_right_password(at: Database) {
        let policy = Policy {
            require_verified: true,
            ..Policy::default()
        };
        let world = world_with(&at, policy).await;
        world.register(EMAIL, PASSWORD).await;
        refused!(world.login("not the password").await, Error::BadCredentials);
        refused!(world.login(PASSWORD).await, Error::Unverified);
        let code = world.code(EMAIL).await;
        let accounts = &world.rules.accounts;
        accounts.verify_contact(EMAIL, &code, &Origin::default(), NOW).await.unwrap();
        assert!(world.login(PASSWORD).await.is_ok());
    }
}
