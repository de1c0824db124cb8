//! Proving contacts and changing them.

use super::*;
use crate::profiles::ProfileChange;

const PHONE: &str = "+442071838750";

impl World {
    async fn verify(&self, contact: &str, code: &str, now: UnixMicros) -> Result<(), Error> {
        let accounts = &self.rules.accounts;
        accounts
            .verify_contact(contact, code, &Origin::default(), now)
            .await
    }

    async fn profile(&self, tokens: &Tokens) -> crate::profiles::Profile {
        let caller = self.caller(tokens);
        self.rules.profiles.get(&caller, NOW).await.unwrap()
    }
}

both_databases! {
    #[tokio::test]
    async fn a_code_proves_an_address_once(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let tokens = world.login(PASSWORD).await.unwrap();
        assert!(!world.profile(&tokens).await.email.unwrap().verified);
        let code = world.code(EMAIL).await;
        assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        let typed = format!(" {}-{} ", &code[..3], &code[3..]);
        world.verify("ADA@example.org", &typed, NOW).await.unwrap();
        assert!(world.profile(&tokens).await.email.unwrap().verified);
        refused!(world.verify(EMAIL, &code, NOW).await, Error::BadCode);
        assert!(world.events().await.contains(&"user.contact_verified".to_owned()));
    }

    #[tokio::test]
    async fn a_code_is_guessed_at_five_times_and_lives_a_quarter_of_an_hour(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let code = world.code(EMAIL).await;
        let wrong = if code == "000000" { "000001" } else { "000000" };
        for _ in 0..5 {
            refused!(world.verify(EMAIL, wrong, NOW).await, Error::BadCode);
        }
        refused!(world.verify(EMAIL, &code, NOW).await, Error::BadCode);

        world.rules.accounts.resend(EMAIL, NOW + MINUTE).await.unwrap();
        let code = world.code(EMAIL).await;
        refused!(world.verify(EMAIL, &code, NOW + MINUTE * 16).await, Error::BadCode);
        assert!(world.verify(EMAIL, &code, NOW + MINUTE * 15).await.is_ok());
    }

    #[tokio::test]
    async fn asking_again_is_limited_and_looks_alike_for_every_address(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let accounts = &world.rules.accounts;
        for n in 0..20 {
            accounts.resend(EMAIL, NOW + MINUTE * n).await.unwrap();
            accounts.resend("nobody@example.org", NOW + MINUTE * n).await.unwrap();
        }
        assert_eq!(world.sent(Template::VerifyContact).await, 5);
        // The same rows are written and the same jobs run for an address nobody has.
        let messages = world.messages().await;
        let decoys = messages.iter().filter(|message| message.to.is_none());
        assert_eq!(decoys.count(), 5);
        refused!(
            world.verify("nobody@example.org", "123456", NOW).await,
            Error::BadCode
        );
        accounts.resend(EMAIL, NOW + MINUTE * 90).await.unwrap();
        assert_eq!(world.sent(Template::VerifyContact).await, 6, "an hour later");
    }

    #[tokio::test]
    async fn of_many_who_send_the_code_at_once_one_uses_it(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let code = world.code(EMAIL).await;
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let (world, code) = (world.clone(), code.clone());
            calls.spawn(async move { world.verify(EMAIL, &code, NOW).await.is_ok() });
        }
        let used = calls.join_all().await.into_iter().filter(|used| *used).count();
        assert_eq!(used, 1);
    }

    #[tokio::test]
    async fn a_new_address_replaces_the_old_one_when_it_is_proved(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let tokens = world.login(PASSWORD).await.unwrap();
        let caller = world.caller(&tokens);
        let new = "countess@example.org";
        world.rules.accounts.change_contact(&caller, new, NOW).await.unwrap();
        assert_eq!(world.profile(&tokens).await.email.unwrap().value, EMAIL);
        let code = world.code(new).await;
        world.verify(new, &code, NOW).await.unwrap();
        let email = world.profile(&tokens).await.email.unwrap();
        assert!(email.verified && email.value == new);
        assert_eq!(world.sent(Template::ContactChanged).await, 1, "the old one is told");
        refused!(world.login(PASSWORD).await, Error::BadCredentials);
        let here = super::at("laptop");
        assert!(world.login_at(new, PASSWORD, &here, NOW).await.is_ok());
    }

    #[tokio::test]
    async fn an_address_that_is_anothers_is_not_taken_and_not_told(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let eve = world.somebody("eve@example.org", NOW).await;
        world.rules.accounts.change_contact(&eve, EMAIL, NOW).await.unwrap();
        // Ada had not proved her address, so a code goes there; it is Ada who reads it.
        let code = world.code(EMAIL).await;
        refused!(world.verify(EMAIL, &code, NOW).await, Error::BadCode);
        assert!(world.login(PASSWORD).await.is_ok(), "it is still Ada's");
    }

    #[tokio::test]
    async fn a_number_belongs_to_whoever_proves_it(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        world.register("eve@example.org", PASSWORD).await;
        let here = super::at("laptop");
        let ada = world.login(PASSWORD).await.unwrap();
        let eve = world.login_at("eve@example.org", PASSWORD, &here, NOW).await.unwrap();
        let change = ProfileChange {
            phone: Some(PHONE.to_owned()),
            ..ProfileChange::default()
        };
        let profiles = &world.rules.profiles;
        profiles.update(&world.caller(&eve), &change, None, NOW).await.unwrap();
        let eves = world.code(PHONE).await;
        let later = NOW + MINUTE;
        profiles.update(&world.caller(&ada), &change, None, later).await.unwrap();
        let adas = world.code(PHONE).await;
        world.verify(PHONE, &adas, later).await.unwrap();
        assert!(world.profile(&ada).await.phone.unwrap().verified);
        // Eve typed Ada's number first, which gives her nothing.
        refused!(world.verify(PHONE, &eves, later).await, Error::BadCode);
        assert!(!world.profile(&eve).await.phone.unwrap().verified);
    }
}
