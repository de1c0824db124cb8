//! Passkeys, with a software authenticator: real ceremonies, and those of a thief.

use core_fakes::{Authenticator, CeremonyFault};
use serde_json::json;

use super::*;
use crate::credentials::{Ceremony, Credential, Proof};

const SITE: &str = "https://localhost:8443";

fn create(options: &Value) -> (Authenticator, Value) {
    Authenticator::create(SITE, options, CeremonyFault::None)
}

impl World {
    async fn begin_registration(&self, caller: &Caller) -> Ceremony {
        let credentials = self.credentials();
        credentials
            .begin_passkey_registration(caller, NOW)
            .await
            .unwrap()
    }

    async fn keep(&self, caller: &Caller, ticket: &str, made: Value) -> Result<Credential, Error> {
        let here = super::at("laptop");
        let credentials = self.credentials();
        credentials
            .finish_passkey_registration(caller, ticket, made, "my phone", &here, NOW)
            .await
    }

    pub(super) async fn passkey(&self, caller: &Caller) -> Authenticator {
        let begun = self.begin_registration(caller).await;
        let (key, made) = create(&begun.options);
        self.keep(caller, &begun.ticket, made).await.unwrap();
        key
    }

    pub(super) async fn sign_in_with(&self, key: &mut Authenticator) -> Result<Tokens, Error> {
        let asked = self.ask().await;
        let signed = key.answer(&asked.options, CeremonyFault::None);
        self.enter(&asked.ticket, &signed).await
    }

    async fn ask(&self) -> Ceremony {
        self.credentials().begin_passkey_login(NOW).await.unwrap()
    }

    async fn enter(&self, ticket: &str, answer: &Value) -> Result<Tokens, Error> {
        let here = super::at("laptop");
        let credentials = self.credentials();
        credentials
            .finish_passkey_login(ticket, answer.clone(), &here, NOW)
            .await
    }
}

both_databases! {
    #[tokio::test]
    async fn a_passkey_opens_a_session_without_a_name(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let begun = world.begin_registration(&caller).await;
        let selection = &begun.options["publicKey"]["authenticatorSelection"];
        assert_eq!(selection["residentKey"], "required");
        assert_eq!(selection["userVerification"], "required");
        let (mut key, made) = create(&begun.options);
        let kept = world.keep(&caller, &begun.ticket, made.clone()).await.unwrap();
        assert_eq!((kept.kind.as_str(), kept.name.as_str()), ("passkey", "my phone"));
        // The challenge is used up.
        refused!(world.keep(&caller, &begun.ticket, made).await, Error::BadCeremony);
        assert_eq!(world.sent(Template::CredentialChanged).await, 1);

        let asked = world.ask().await;
        assert_eq!(asked.options["publicKey"]["allowCredentials"], json!([]));
        let signed = key.answer(&asked.options, CeremonyFault::None);
        let tokens = world.enter(&asked.ticket, &signed).await.unwrap();
        let entered = world.caller(&tokens);
        assert_eq!(entered.user, caller.user);
        assert_eq!(entered.amr, ["hwk", "user"]);
        assert_eq!(entered.acr.as_deref(), Some("2"));
        refused!(world.enter(&asked.ticket, &signed).await, Error::BadPasskey);
        let (found, _) = world.credentials().list(&caller, NOW).await.unwrap();
        assert_eq!(found[0].last_used_at, Some(NOW));
    }

    #[tokio::test]
    async fn an_answer_to_another_challenge_opens_nothing(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let mut key = world.passkey(&caller).await;
        let (one, other) = (world.ask().await, world.ask().await);
        let signed = key.answer(&one.options, CeremonyFault::None);
        refused!(world.enter(&other.ticket, &signed).await, Error::BadPasskey);
        refused!(world.enter("made up", &signed).await, Error::BadPasskey);
        assert!(world.enter(&one.ticket, &signed).await.is_ok());
        let asked = world.ask().await;
        refused!(world.enter(&asked.ticket, &json!({ "id": 1 })).await, Error::BadPasskey);
    }

    #[tokio::test]
    async fn a_copied_key_is_noticed_by_its_counter(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let mut key = world.passkey(&caller).await;
        let mut copy = key.clone();
        assert!(world.sign_in_with(&mut key).await.is_ok());
        refused!(world.sign_in_with(&mut copy).await, Error::BadPasskey);
        assert!(world.sign_in_with(&mut key).await.is_ok());
    }

    #[tokio::test]
    async fn a_faulty_ceremony_registers_nothing(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        for fault in [
            CeremonyFault::WrongOrigin,
            CeremonyFault::WrongSite,
            CeremonyFault::WrongChallenge,
            CeremonyFault::Unverified,
        ] {
            let begun = world.begin_registration(&caller).await;
            let (_, made) = Authenticator::create(SITE, &begun.options, fault);
            let kept = world.keep(&caller, &begun.ticket, made).await;
            assert!(matches!(kept, Err(Error::BadCeremony)), "{fault:?}");
            // Nor does the right answer afterwards: the challenge is used up.
            let (_, made) = create(&begun.options);
            refused!(world.keep(&caller, &begun.ticket, made).await, Error::BadCeremony);
        }
        assert_eq!(world.count("SELECT count(*) FROM credentials").await, 0);
        assert_eq!(world.sent(Template::CredentialChanged).await, 0);
    }

    #[tokio::test]
    async fn a_faulty_answer_opens_nothing(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let mut key = world.passkey(&caller).await;
        assert!(world.sign_in_with(&mut key).await.is_ok());
        for fault in [
            CeremonyFault::StuckCounter,
            CeremonyFault::WrongOrigin,
            CeremonyFault::WrongSite,
            CeremonyFault::WrongChallenge,
            CeremonyFault::WrongKey,
            CeremonyFault::Unverified,
        ] {
            let asked = world.ask().await;
            let signed = key.answer(&asked.options, fault);
            let entered = world.enter(&asked.ticket, &signed).await;
            assert!(matches!(entered, Err(Error::BadPasskey)), "{fault:?}");
            let signed = key.answer(&asked.options, CeremonyFault::None);
            refused!(world.enter(&asked.ticket, &signed).await, Error::BadPasskey);
        }
        assert!(world.sign_in_with(&mut key).await.is_ok());
    }

    #[tokio::test]
    async fn a_handle_of_somebody_else_opens_nothing(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let mut key = world.passkey(&caller).await;
        for handle in [json!("AAAAAAAAAAAAAAAAAAAABw"), Value::Null] {
            let asked = world.ask().await;
            let mut signed = key.answer(&asked.options, CeremonyFault::None);
            signed["response"]["userHandle"] = handle;
            refused!(world.enter(&asked.ticket, &signed).await, Error::BadPasskey);
        }
    }

    #[tokio::test]
    async fn a_registration_is_the_callers_own(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let eve = world.somebody("eve@example.org", NOW).await;
        let begun = world.begin_registration(&caller).await;
        let (_, made) = create(&begun.options);
        refused!(world.keep(&eve, &begun.ticket, made).await, Error::BadCeremony);
        let begun = world.begin_registration(&caller).await;
        let known = &begun.options["publicKey"]["excludeCredentials"];
        assert_eq!(known.as_array().map_or(0, Vec::len), 0);
        world.passkey(&caller).await;
        let begun = world.begin_registration(&caller).await;
        let known = &begun.options["publicKey"]["excludeCredentials"];
        assert_eq!(known.as_array().map_or(0, Vec::len), 1);
    }

    #[tokio::test]
    async fn one_person_has_twenty_at_most(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        // Begun while there was room.
        let last = world.begin_registration(&caller).await;
        for _ in 0..20 {
            world.passkey(&caller).await;
        }
        let (_, made) = create(&last.options);
        refused!(world.keep(&caller, &last.ticket, made).await, Error::TooManyCredentials);
        let begun = world.credentials().begin_passkey_registration(&caller, NOW).await;
        refused!(begun, Error::TooManyCredentials);
        let (found, _) = world.credentials().list(&caller, NOW).await.unwrap();
        assert_eq!(found.len(), 20);
    }

    #[tokio::test]
    async fn a_passkey_is_a_second_factor_of_its_owner(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let eve = world.somebody("eve@example.org", NOW).await;
        let (mut mine, mut hers) = (world.passkey(&caller).await, world.passkey(&eve).await);
        world.confirmed(false).await;
        let begun = world.begin_login(NOW).await;
        assert_eq!(begun.methods, ["totp", "recovery_code", "passkey"]);
        let proof = async |key: &mut Authenticator| {
            let asked = world.ask().await;
            let answer = key.answer(&asked.options, CeremonyFault::None);
            Proof::Passkey { ticket: asked.ticket, answer }
        };
        let tried = world.complete(&begun, proof(&mut hers).await, NOW).await;
        refused!(tried, Error::BadSecondFactor);
        let tokens = world.complete(&begun, proof(&mut mine).await, NOW).await.unwrap();
        assert_eq!(world.caller(&tokens).amr, ["pwd", "hwk", "user", "mfa"]);
    }
}
