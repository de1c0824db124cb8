//! Second factors and other providers from outside.

use core_fakes::{Authenticator, CeremonyFault, Provider};
use core_proto::auth::v1::{
    BeginPasskeyLoginRequest, BeginPasskeyRegistrationRequest, CompleteMfaRequest,
    ConfirmTotpRequest, EnrollTotpRequest, FinishOidcRequest, FinishPasskeyLoginRequest,
    FinishPasskeyRegistrationRequest, ListCredentialsRequest, LoginRequest, RecoveryCodes,
    StartOidcRequest, TokenResponse, credential_service_client::CredentialServiceClient,
};
use prost_types::{ListValue, Struct, Value as Wire, value::Kind};
use serde_json::{Value, json};
use tonic::{Code, Request, Response, Status, transport::Channel};
use totp_rs::{Builder, Secret, Totp};

use crate::harness::{Core, EDGE, EMAIL, PASSWORD, World, reason, with_token};
use core_testing::eventually;

/// What `CORE_PUBLIC_URL` is without being set.
const SITE: &str = "https://localhost:8443";

type Client = CredentialServiceClient<Channel>;

fn client(world: &World, core: &Core) -> Client {
    CredentialServiceClient::new(world.channel(core, &[EDGE]))
}

fn text(response: &Response<impl Sized>, name: &str) -> String {
    let value = response.metadata().get(name);
    value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

async fn complete(client: &Client, request: CompleteMfaRequest) -> Result<TokenResponse, Status> {
    let answer = client.clone().complete_mfa(request).await?;
    Ok(answer.into_inner())
}

/// An authenticator of the caller's, and the recovery codes.
async fn confirmed(client: &Client, access: &str, now: u64) -> (Totp, RecoveryCodes) {
    let mut client = client.clone();
    let enroll = with_token(EnrollTotpRequest {}, access);
    let secret = client
        .enroll_totp(enroll)
        .await
        .unwrap()
        .into_inner()
        .secret;
    let secret = Secret::try_from_base32(secret).unwrap();
    let totp = Builder::new().with_secret(secret).build().unwrap();
    let confirm = ConfirmTotpRequest {
        code: totp.generate(now).to_string(),
        allow_sms: false,
    };
    let codes = client.confirm_totp(with_token(confirm, access)).await;
    (totp, codes.unwrap().into_inner())
}

#[tokio::test]
async fn a_login_with_a_second_factor() {
    let world = World::new();
    let core = world.start().await;
    let (edge, client) = (world.edge(&core), client(&world, &core));
    edge.register(EMAIL).await.unwrap();
    let access = edge.login(EMAIL, PASSWORD).await.unwrap().access_token;
    let now = jsonwebtoken::get_current_timestamp();
    let (totp, codes) = confirmed(&client, &access, now).await;
    assert_eq!(codes.recovery_codes.len(), 10);

    let begun = edge.login(EMAIL, PASSWORD).await.unwrap();
    assert_eq!(
        (begun.access_token.as_str(), begun.refresh_token.as_str()),
        ("", "")
    );
    assert_eq!(begun.mfa_methods, ["totp", "recovery_code"]);
    let proof = |code: String| CompleteMfaRequest {
        mfa_token: begun.mfa_token.clone(),
        code,
        ..CompleteMfaRequest::default()
    };
    // The step that confirmed is used; the one after it is accepted early.
    let used = complete(&client, proof(totp.generate(now).to_string())).await;
    assert_eq!(reason(&used.unwrap_err()), "BAD_SECOND_FACTOR");
    let next = totp.generate(now + 30).to_string();
    let tokens = complete(&client, proof(next.clone())).await.unwrap();
    assert!(edge.profile(&tokens.access_token).await.is_ok());
    let again = complete(&client, proof(next)).await.unwrap_err();
    assert_eq!(
        (again.code(), reason(&again).as_str()),
        (Code::Unauthenticated, "BAD_MFA_TOKEN")
    );

    let begun = edge.login(EMAIL, PASSWORD).await.unwrap();
    let both = CompleteMfaRequest {
        mfa_token: begun.mfa_token.clone(),
        code: "123456".to_owned(),
        recovery_code: "x".to_owned(),
        ..CompleteMfaRequest::default()
    };
    assert_eq!(
        reason(&complete(&client, both).await.unwrap_err()),
        "INVALID_INPUT"
    );
    let recovery = CompleteMfaRequest {
        mfa_token: begun.mfa_token,
        recovery_code: codes.recovery_codes[0].clone(),
        ..CompleteMfaRequest::default()
    };
    let tokens = complete(&client, recovery).await.unwrap();
    let list = with_token(ListCredentialsRequest {}, &tokens.access_token);
    let listed = client
        .clone()
        .list_credentials(list)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (listed.credentials.len(), listed.recovery_codes_left),
        (1, 9)
    );
    assert!(listed.credentials[0].confirmed);
}

#[tokio::test]
async fn a_passkey_from_its_making_to_a_session() {
    let world = World::new();
    let core = world.start().await;
    let (edge, mut client) = (world.edge(&core), client(&world, &core));
    edge.register(EMAIL).await.unwrap();
    let access = edge.login(EMAIL, PASSWORD).await.unwrap().access_token;
    let begin = with_token(BeginPasskeyRegistrationRequest {}, &access);
    let begun = client.begin_passkey_registration(begin).await;
    let begun = begun.unwrap().into_inner();
    let options = json(begun.options.unwrap());
    let (mut key, made) = Authenticator::create(SITE, &options, CeremonyFault::None);
    let finish = FinishPasskeyRegistrationRequest {
        ceremony: begun.ceremony,
        credential: Some(wire(&made)),
        name: "my phone".to_owned(),
    };
    let kept = client.finish_passkey_registration(with_token(finish, &access));
    let kept = kept.await.unwrap();
    assert_eq!(text(&kept, "x-http-status"), "201");

    let asked = client
        .begin_passkey_login(BeginPasskeyLoginRequest {})
        .await;
    let asked = asked.unwrap().into_inner();
    let signed = key.answer(&json(asked.options.unwrap()), CeremonyFault::None);
    let finish = FinishPasskeyLoginRequest {
        ceremony: asked.ceremony,
        credential: Some(wire(&signed)),
    };
    let tokens = client.finish_passkey_login(finish.clone()).await;
    let tokens = tokens.unwrap().into_inner();
    assert!(edge.profile(&tokens.access_token).await.is_ok());
    let again = client.finish_passkey_login(finish).await.unwrap_err();
    assert_eq!(reason(&again), "BAD_PASSKEY");
    let list = with_token(ListCredentialsRequest {}, &tokens.access_token);
    let listed = client.list_credentials(list).await.unwrap().into_inner();
    assert_eq!(listed.credentials[0].name, "my phone");
    let without = client.list_credentials(ListCredentialsRequest {}).await;
    assert_eq!(reason(&without.unwrap_err()), "TOKEN_MISSING");
}

/// As the edge makes JSON of it.
fn json(message: Struct) -> Value {
    let value = |wire: Wire| json_value(wire.kind.unwrap());
    let members = message.fields.into_iter();
    members.map(|(name, wire)| (name, value(wire))).collect()
}

fn json_value(kind: Kind) -> Value {
    match kind {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(value) => json!(value),
        Kind::NumberValue(number) => json!(number),
        Kind::StringValue(text) => json!(text),
        Kind::ListValue(list) => {
            let items = list.values.into_iter();
            items.map(|item| json_value(item.kind.unwrap())).collect()
        }
        Kind::StructValue(message) => json(message),
    }
}

/// As the edge makes a message of it.
fn wire(object: &Value) -> Struct {
    let members = object.as_object().unwrap().iter();
    Struct {
        fields: members
            .map(|(name, value)| (name.clone(), wire_value(value)))
            .collect(),
    }
}

fn wire_value(value: &Value) -> Wire {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(wire_value).collect(),
        }),
        Value::Object(_) => Kind::StructValue(wire(value)),
    };
    Wire { kind: Some(kind) }
}

#[tokio::test]
async fn a_sign_in_at_a_provider_that_is_written_down_while_we_run() {
    let world = World::new();
    let provider = Provider::start().await;
    let core = world.start().await;
    let mut client = client(&world, &core);
    let start = || StartOidcRequest {
        provider: "google".to_owned(),
    };
    let unknown = client.start_oidc(start()).await.unwrap_err();
    assert_eq!(reason(&unknown), "NO_SUCH_PROVIDER");

    let secret = world.dir.path().join("client-secret");
    std::fs::write(&secret, provider.client_secret()).unwrap();
    let written = provider.policy("google", "oidc", secret.to_str().unwrap());
    let policy = format!("version: 1\nproviders:\n{written}");
    std::fs::write(world.policies().join("oidc-providers.yaml"), policy).unwrap();
    let asking = client.clone();
    let started = eventually("the provider to be known", async || {
        asking.clone().start_oidc(start()).await.ok()
    })
    .await;
    assert_eq!(text(&started, "x-http-status"), "302");
    let location = text(&started, "x-http-header-location");
    assert!(
        location.starts_with(&format!("{}/authorize?", provider.issuer())),
        "{location}"
    );
    let cookie = text(&started, "x-http-header-set-cookie");
    assert!(cookie.starts_with("__Host-palisade-oidc=") && cookie.contains("HttpOnly"));

    let (code, state) = provider.consent(&location);
    let finish = |state: &str| FinishOidcRequest {
        provider: "google".to_owned(),
        code: code.clone(),
        state: state.to_owned(),
        ..FinishOidcRequest::default()
    };
    let forged = client.finish_oidc(finish("made-up")).await.unwrap_err();
    assert_eq!(
        (forged.code(), reason(&forged).as_str()),
        (Code::InvalidArgument, "BAD_OIDC_STATE")
    );
    let mut back = Request::new(finish(&state));
    let sent = cookie.split(';').next().unwrap().parse().unwrap();
    back.metadata_mut().insert("cookie", sent);
    let tokens = client.finish_oidc(back).await.unwrap().into_inner();
    let profile = world
        .edge(&core)
        .profile(&tokens.access_token)
        .await
        .unwrap();
    assert_eq!(
        (profile.email.as_str(), profile.email_verified),
        ("ada@example.org", true)
    );
    // There is no password to sign in with.
    let login = LoginRequest {
        email: "ada@example.org".to_owned(),
        password: PASSWORD.to_owned(),
    };
    let refused = world
        .edge(&core)
        .auth
        .clone()
        .login(login)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "BAD_CREDENTIALS");
}
