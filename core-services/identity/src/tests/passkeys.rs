//! Passkeys, with a software authenticator: real ceremonies, and those of a thief.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use passkey::{
    authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod},
    client::{Client, DefaultClientData},
    crypto::aws_lc_rs::AwsLcRsBackend,
    types::{
        Passkey,
        ctap2::{Aaguid, Ctap2Error},
        webauthn::{CredentialCreationOptions, CredentialRequestOptions},
    },
};
use serde_json::json;
use tonic::async_trait;
use url::Url;

use super::*;
use crate::credentials::{Ceremony, Credential, Proof};

/// Somebody is there; `verified`: and has shown that it is them.
struct User {
    verified: bool,
}

#[async_trait]
impl UserValidationMethod for User {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(
        &self,
        _hint: UiHint<'a, Passkey>,
        _presence: bool,
        _verification: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck {
            presence: true,
            verification: self.verified,
        })
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

fn origin() -> Url {
    "https://localhost:8443".parse().unwrap()
}

fn device(
    holds: Option<Passkey>,
    verified: bool,
) -> Authenticator<Option<Passkey>, User, AwsLcRsBackend> {
    let user = User { verified };
    let mut device = Authenticator::new(Aaguid::new_empty(), holds, user, AwsLcRsBackend);
    device.set_make_credentials_with_signature_counter(true);
    device
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What the browser makes of `navigator.credentials.create()`, and the key it keeps.
async fn create(options: &Value) -> (Value, Passkey) {
    let options: CredentialCreationOptions = serde_json::from_value(options.clone()).unwrap();
    let mut browser = Client::new(device(None, true)).allows_insecure_localhost(true);
    let made = browser
        .register(&origin(), options, DefaultClientData)
        .await
        .unwrap();
    let kept = browser.authenticator().store().clone().unwrap();
    let made = json!({
        "id": made.id,
        "rawId": text(&made.raw_id),
        "type": "public-key",
        "response": {
            "attestationObject": text(&made.response.attestation_object),
            "clientDataJSON": text(&made.response.client_data_json),
        },
        "clientExtensionResults": {},
    });
    (made, kept)
}

/// What it makes of `navigator.credentials.get()`, and what the key has become.
async fn answer(options: &Value, key: &Passkey, verified: bool) -> (Value, Passkey) {
    let options: CredentialRequestOptions = serde_json::from_value(options.clone()).unwrap();
    let holds = device(Some(key.clone()), verified);
    let mut browser = Client::new(holds).allows_insecure_localhost(true);
    let signed = browser
        .authenticate(&origin(), options, DefaultClientData)
        .await
        .unwrap();
    let kept = browser.authenticator().store().clone().unwrap();
    let signed = json!({
        "id": signed.id,
        "rawId": text(&signed.raw_id),
        "type": "public-key",
        "response": {
            "authenticatorData": text(&signed.response.authenticator_data),
            "clientDataJSON": text(&signed.response.client_data_json),
            "signature": text(&signed.response.signature),
            "userHandle": signed.response.user_handle.map(|handle| text(&handle)),
        },
        "clientExtensionResults": {},
    });
    (signed, kept)
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

    async fn passkey(&self, caller: &Caller) -> Passkey {
        let begun = self.begin_registration(caller).await;
        let (made, key) = create(&begun.options).await;
        self.keep(caller, &begun.ticket, made).await.unwrap();
        key
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
        world.register(EMAIL, PASSWORD).await;
        let caller = world.caller(&world.login(PASSWORD).await.unwrap());
        let begun = world.begin_registration(&caller).await;
        let selection = &begun.options["publicKey"]["authenticatorSelection"];
        assert_eq!(selection["residentKey"], "required");
        assert_eq!(selection["userVerification"], "required");
        let (made, key) = create(&begun.options).await;
        let kept = world.keep(&caller, &begun.ticket, made.clone()).await.unwrap();
        assert_eq!((kept.kind.as_str(), kept.name.as_str()), ("passkey", "my phone"));
        // The challenge is used up.
        refused!(world.keep(&caller, &begun.ticket, made).await, Error::BadCeremony);
        assert_eq!(world.sent(Template::CredentialChanged).await, 1);

        let asked = world.ask().await;
        assert_eq!(asked.options["publicKey"]["allowCredentials"], json!([]));
        let (signed, _) = answer(&asked.options, &key, true).await;
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
        world.register(EMAIL, PASSWORD).await;
        let caller = world.caller(&world.login(PASSWORD).await.unwrap());
        let key = world.passkey(&caller).await;
        let (one, other) = (world.ask().await, world.ask().await);
        let (signed, _) = answer(&one.options, &key, true).await;
        refused!(world.enter(&other.ticket, &signed).await, Error::BadPasskey);
        refused!(world.enter("made up", &signed).await, Error::BadPasskey);
        assert!(world.enter(&one.ticket, &signed).await.is_ok());
        let asked = world.ask().await;
        refused!(world.enter(&asked.ticket, &json!({ "id": 1 })).await, Error::BadPasskey);
    }

    #[tokio::test]
    async fn a_copied_key_is_noticed_by_its_counter(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let caller = world.caller(&world.login(PASSWORD).await.unwrap());
        let copy = world.passkey(&caller).await;
        let asked = world.ask().await;
        let (signed, key) = answer(&asked.options, &copy, true).await;
        assert!(world.enter(&asked.ticket, &signed).await.is_ok());
        let asked = world.ask().await;
        let (signed, _) = answer(&asked.options, &copy, true).await;
        refused!(world.enter(&asked.ticket, &signed).await, Error::BadPasskey);
        let asked = world.ask().await;
        let (signed, _) = answer(&asked.options, &key, true).await;
        assert!(world.enter(&asked.ticket, &signed).await.is_ok());
    }

    #[tokio::test]
    async fn who_was_not_verified_stays_out(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let caller = world.caller(&world.login(PASSWORD).await.unwrap());
        let key = world.passkey(&caller).await;
        let asked = world.ask().await;
        // A browser that does not do as it is told.
        let mut options = asked.options.clone();
        options["publicKey"]["userVerification"] = "discouraged".into();
        let (signed, _) = answer(&options, &key, false).await;
        refused!(world.enter(&asked.ticket, &signed).await, Error::BadPasskey);
    }

    #[tokio::test]
    async fn a_handle_of_somebody_else_opens_nothing(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let caller = world.caller(&world.login(PASSWORD).await.unwrap());
        let key = world.passkey(&caller).await;
        for handle in [json!(text(Uuid::from_u128(7).as_bytes())), Value::Null] {
            let asked = world.ask().await;
            let (mut signed, _) = answer(&asked.options, &key, true).await;
            signed["response"]["userHandle"] = handle;
            refused!(world.enter(&asked.ticket, &signed).await, Error::BadPasskey);
        }
    }

    #[tokio::test]
    async fn a_registration_is_the_callers_own(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        world.register("eve@example.org", PASSWORD).await;
        let caller = world.caller(&world.login(PASSWORD).await.unwrap());
        let here = super::at("laptop");
        let eve = world.login_at("eve@example.org", PASSWORD, &here, NOW).await.unwrap();
        let eve = world.caller(&eve);
        let begun = world.begin_registration(&caller).await;
        let (made, _) = create(&begun.options).await;
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
    async fn a_passkey_is_a_second_factor_of_its_owner(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        world.register("eve@example.org", PASSWORD).await;
        let caller = world.caller(&world.login(PASSWORD).await.unwrap());
        let here = super::at("laptop");
        let eve = world.login_at("eve@example.org", PASSWORD, &here, NOW).await.unwrap();
        let (mine, hers) = (world.passkey(&caller).await, world.passkey(&world.caller(&eve)).await);
        world.confirmed(false).await;
        let begun = world.begin_login(NOW).await;
        assert_eq!(begun.methods, ["totp", "recovery_code", "passkey"]);
        let proof = async |key: &Passkey| {
            let asked = world.ask().await;
            let (answer, _) = answer(&asked.options, key, true).await;
            Proof::Passkey { ticket: asked.ticket, answer }
        };
        let tried = world.complete(&begun, proof(&hers).await, NOW).await;
        refused!(tried, Error::BadSecondFactor);
        let tokens = world.complete(&begun, proof(&mine).await, NOW).await.unwrap();
        assert_eq!(world.caller(&tokens).amr, ["pwd", "hwk", "user", "mfa"]);
    }
}
