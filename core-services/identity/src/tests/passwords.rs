//! Replacing passwords.

use super::*;

impl World {
    async fn change(&self, caller: &Caller, current: &str, new: &str) -> Result<(), Error> {
        let (current, new) = (current.to_owned(), new.to_owned());
        let accounts = &self.rules.accounts;
        accounts
            .change_password(caller, current, new, &Origin::default(), NOW)
            .await
    }

    pub(super) async fn reset(&self, code: &str, new: &str) -> Result<(), Error> {
        let reset = Reset { email: EMAIL, code };
        let accounts = &self.rules.accounts;
        accounts
            .finish_reset(&reset, new.to_owned(), &Origin::default(), NOW)
            .await
    }
}

both_databases! {
    #[tokio::test]
    async fn a_new_password_ends_the_other_sessions(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, "old password").await;
        let mine = world.login("old password").await.unwrap();
        let other = world.login("old password").await.unwrap();
        let caller = world.caller(&mine);
        refused!(world.change(&caller, "not it", "new password").await, Error::WrongPassword);
        refused!(
            world.change(&caller, "old password", "old password").await,
            Error::SamePassword
        );
        assert!(world.is_live(&other).await);

        world.change(&caller, "old password", "new password").await.unwrap();
        assert!(world.login("old password").await.is_err());
        assert!(world.login("new password").await.is_ok());
        refused!(world.refresh(&other.refresh, NOW).await, Error::BadRefreshToken);
        assert!(!world.is_live(&other).await);
        assert!(world.refresh(&mine.refresh, NOW).await.is_ok(), "the caller's own lives");
        assert_eq!(world.sent(Template::PasswordChanged).await, 1);
        assert!(world.events().await.contains(&"session.revoked".to_owned()));
    }

    #[tokio::test]
    async fn a_stolen_token_does_not_buy_guesses(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let caller = world.caller(&world.login(PASSWORD).await.unwrap());
        for _ in 0..5 {
            refused!(
                world.change(&caller, "a guess", "new password").await,
                Error::WrongPassword
            );
        }
        refused!(
            world.change(&caller, PASSWORD, "new password").await,
            Error::Throttled(_)
        );
        assert!(world.login(PASSWORD).await.is_ok(), "logins are counted by themselves");
    }

    #[tokio::test]
    async fn of_two_password_changes_at_once_one_wins(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, "old password").await;
        let caller = world.caller(&world.login("old password").await.unwrap());
        let mut changes = tokio::task::JoinSet::new();
        for new in ["first new password", "second new password"] {
            let (world, caller) = (world.clone(), caller.clone());
            changes.spawn(async move { (new, world.change(&caller, "old password", new).await) });
        }
        let (won, lost): (Vec<_>, Vec<_>) = changes
            .join_all()
            .await
            .into_iter()
            .partition(|(_, changed)| changed.is_ok());
        assert_eq!((won.len(), lost.len()), (1, 1));
        assert!(matches!(lost[0].1, Err(Error::WrongPassword)));
        assert!(world.login(won[0].0).await.is_ok());
    }

    #[tokio::test]
    async fn a_code_sets_a_new_password_and_ends_all_sessions(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, "forgotten password").await;
        let held = world.login("forgotten password").await.unwrap();
        let accounts = &world.rules.accounts;
        accounts.start_reset("ADA@example.org", NOW).await.unwrap();
        let code = world.code(EMAIL).await;
        assert_eq!(code.len(), 10);
        refused!(world.reset("0000000000", "new password").await, Error::BadCode);
        world.reset(&code.to_lowercase(), "new password").await.unwrap();
        refused!(world.reset(&code, "another password").await, Error::BadCode);
        refused!(world.login("forgotten password").await, Error::BadCredentials);
        let tokens = world.login("new password").await.unwrap();
        assert!(!world.is_live(&held).await);
        // Who reads mail at this address has proved it.
        let profile = world.rules.profiles.get(&world.caller(&tokens), NOW).await.unwrap();
        assert!(profile.email.unwrap().verified);
        assert!(world.audited().await.contains(&"password.reset".to_owned()));
    }

    #[tokio::test]
    async fn a_code_for_one_thing_does_nothing_else(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let to_verify = world.code(EMAIL).await;
        refused!(world.reset(&to_verify, "new password").await, Error::BadCode);
        let accounts = &world.rules.accounts;
        accounts.start_reset(EMAIL, NOW).await.unwrap();
        let to_reset = world.code(EMAIL).await;
        refused!(
            accounts.verify_contact(EMAIL, &to_reset, &Origin::default(), NOW).await,
            Error::BadCode
        );
    }

    #[tokio::test]
    async fn a_reset_for_nobody_does_the_same_work(at: Database) {
        let world = world(&at).await;
        let accounts = &world.rules.accounts;
        accounts.start_reset("nobody@example.org", NOW).await.unwrap();
        let messages = world.messages().await;
        assert_eq!(messages.len(), 1);
        assert!(messages[0].to.is_none(), "and is sent to nobody");
        assert_eq!(world.count("SELECT count(*) FROM verification_codes").await, 1);
    }
}
