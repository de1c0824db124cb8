//! Signing in by more than a password: authenticators, recovery codes, passkeys, other providers.

use std::fs;
use std::time::Duration;

use core_fakes::{Authenticator, CeremonyFault, Provider};
use http::Method;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret, Totp};

use super::{Stage, in_every_layout, text};
use crate::accounts::{Account, Api, Tokens, password};
use crate::client::Protocol;
use crate::harness::waiting::until;

/// What `CORE_PUBLIC_URL` is without being set: passkeys are bound to it.
const SITE: &str = "https://localhost:8443";
/// Of the person who signs in at the provider.
const AT_PROVIDER: &str = "ada@example.org";
/// The code of the next step is accepted early.
const STEP: Duration = Duration::from_secs(30);
/// Wrong passwords until everybody has to wait.
const WRONG_MAX: usize = 12;

in_every_layout!(second_factors, passkeys, other_providers, guessing);

fn now() -> Duration {
    let seconds = time::OffsetDateTime::now_utc().unix_timestamp();
    Duration::from_secs(seconds.unsigned_abs())
}

fn digits(totp: &Totp, at: Duration) -> String {
    totp.generate(at.as_secs()).to_string()
}

/// Signs in as far as the second factor: the token of the sign-in that waits.
async fn begun(api: &mut Api, account: &Account) -> String {
    let wanted = api.post("/login", None, account.credentials()).await;
    assert_eq!(wanted.status, 200, "{wanted:?}");
    let wanted = wanted.json();
    assert_eq!(wanted["mfa_methods"], json!(["totp", "recovery_code"]));
    assert!(wanted["access_token"].as_str().unwrap_or("").is_empty());
    text(&wanted["mfa_token"]).to_owned()
}

async fn second_factors(stage: Stage) {
    let mut api = stage.api(Protocol::H2).await;
    let account = Account::new("flow-factors");
    let tokens = stage.sign_up(&mut api, &account).await;
    let token = Some(tokens.access.as_str());
    let enrolled = api.post("/v1/auth/totp", token, json!({})).await;
    assert_eq!(enrolled.status, 200, "{enrolled:?}");
    let secret = Secret::try_from_base32(text(&enrolled.json()["secret"]));
    let totp = Builder::new().with_secret(secret.expect("base32")).build();
    let totp = totp.expect("an authenticator");
    let at = now();
    let proof = json!({"code": digits(&totp, at)});
    let confirmed = api.post("/v1/auth/totp:confirm", token, proof).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    let codes = confirmed.json()["recovery_codes"].clone();
    assert_eq!(codes.as_array().map(Vec::len), Some(10));

    let waiting = begun(&mut api, &account).await;
    let complete = |code: String| json!({"mfa_token": waiting, "code": code});
    // The code that confirmed is spent.
    let used = api
        .post("/v1/auth/mfa", None, complete(digits(&totp, at)))
        .await;
    used.assert_problem(401, "unauthenticated");
    let next = digits(&totp, at + STEP);
    let entered = api.post("/v1/auth/mfa", None, complete(next.clone())).await;
    let tokens = api.tokens(&entered);
    assert_eq!(claims(&tokens)["amr"], json!(["pwd", "otp", "mfa"]));
    assert_eq!(api.get("/profile", Some(&tokens.access)).await.status, 200);
    let again = api.post("/v1/auth/mfa", None, complete(next)).await;
    again.assert_problem(401, "unauthenticated");

    // Without the authenticator: a code from the drawer, once.
    for status in [200, 401] {
        let waiting = begun(&mut api, &account).await;
        let proof = json!({"mfa_token": waiting, "recovery_code": codes[0]});
        let answer = api.post("/v1/auth/mfa", None, proof).await;
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 200 {
            api.tokens(&answer);
        }
    }
    stage.end().await;
}

async fn passkeys(stage: Stage) {
    let mut api = stage.api(Protocol::H2).await;
    let account = Account::new("flow-passkey");
    let tokens = stage.sign_up(&mut api, &account).await;
    let token = Some(tokens.access.as_str());
    let begun = api.post("/v1/auth/passkeys:begin", token, json!({})).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let begun = begun.json();
    let (mut key, made) = Authenticator::create(SITE, &begun["options"], CeremonyFault::None);
    let kept = json!({"ceremony": begun["ceremony"], "credential": made, "name": "my phone"});
    let kept = api.post("/v1/auth/passkeys", token, kept).await;
    assert_eq!(kept.status, 201, "{kept:?}");

    // Nobody says who signs in: the key does.
    for fault in [CeremonyFault::None, CeremonyFault::WrongOrigin] {
        let asked = api
            .post("/v1/auth/passkey-login:begin", None, json!({}))
            .await;
        let asked = asked.json();
        let signed = key.answer(&asked["options"], fault);
        let answer = json!({"ceremony": asked["ceremony"], "credential": signed});
        let entered = api
            .post("/v1/auth/passkey-login", None, answer.clone())
            .await;
        if fault != CeremonyFault::None {
            entered.assert_problem(401, "unauthenticated");
            continue;
        }
        let tokens = api.tokens(&entered);
        assert_eq!(claims(&tokens)["amr"], json!(["hwk", "user"]));
        assert_eq!(api.get("/profile", Some(&tokens.access)).await.status, 200);
        let replayed = api.post("/v1/auth/passkey-login", None, answer).await;
        replayed.assert_problem(401, "unauthenticated");
    }
    stage.end().await;
}

async fn other_providers(stage: Stage) {
    let provider = Provider::start().await;
    stage.system.secrets.note(provider.client_secret());
    stage.system.secrets.note(AT_PROVIDER);
    let files = &stage.system.files;
    let secret = files.certs().join("client-secret");
    fs::write(&secret, provider.client_secret()).expect("the folder is ours");
    let written = provider.policy("google", "oidc", secret.to_str().expect("text"));
    let policy = format!("version: 1\nproviders:\n{written}");
    files.save("services/oidc-providers.yaml", &policy);
    let start = "/v1/auth/oidc/google/start";
    until("every replica to know the provider", || async {
        for _ in 0..2 * stage.system.cores.all().count() {
            let mut api = stage.api(Protocol::H1).await;
            if api.get(start, None).await.status != 302 {
                return None;
            }
        }
        Some(())
    })
    .await;

    let mut api = stage.api(Protocol::H2).await;
    // Another browser comes back from a visit that it did not begin; nor does its owner then.
    let (back, cookie) = visit(&mut api, &provider).await;
    let forged = api.get(&back, None).await;
    forged.assert_problem(400, "invalid_argument");
    let mut browser = stage.system.client(Protocol::H2).await;
    let fields = [("cookie", cookie.as_str())];
    let late = browser.send(Method::GET, &back, &fields, "").await;
    late.expect("an answer")
        .assert_problem(400, "invalid_argument");

    let (back, cookie) = visit(&mut api, &provider).await;
    let mut browser = stage.system.client(Protocol::H2).await;
    let entered = browser
        .send(Method::GET, &back, &[("cookie", &cookie)], "")
        .await;
    let tokens = api.tokens(&entered.expect("an answer"));
    let profile = api.get("/profile", Some(&tokens.access)).await.json();
    assert_eq!(profile["email"], AT_PROVIDER);
    assert_eq!(profile["email_verified"], true);
    stage.end().await;
}

/// As far as the provider's consent: where the browser is sent back to, and the cookie it has.
async fn visit(api: &mut Api, provider: &Provider) -> (String, String) {
    let started = api.get("/v1/auth/oidc/google/start", None).await;
    assert_eq!(started.status, 302, "{started:?}");
    let location = started.header("location").expect("where to go");
    assert!(location.starts_with(provider.issuer()), "{location}");
    let cookie = started.header("set-cookie").expect("a cookie");
    for attribute in ["__Host-", "HttpOnly", "Secure", "SameSite=Lax"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let (code, state) = provider.consent(location);
    let back = format!("/v1/auth/oidc/google/callback?code={code}&state={state}");
    (back, cookie)
}

async fn guessing(stage: Stage) {
    let mut api = stage.api(Protocol::H2).await;
    let account = Account::new("flow-guessed");
    stage.sign_up(&mut api, &account).await;
    let wrong = Account {
        password: password("a guess"),
        ..account.clone()
    };
    let mut slowed = None;
    for _ in 0..WRONG_MAX {
        let answer = api.post("/login", None, wrong.credentials()).await;
        if answer.status == 429 {
            slowed = Some(answer);
            break;
        }
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    let slowed = slowed.expect("guessing is slowed down");
    assert_eq!(slowed.json()["reason"], "TOO_MANY_ATTEMPTS");
    let wait = slowed
        .header("retry-after")
        .and_then(|text| text.parse().ok());
    assert!(wait.is_some_and(|wait: u64| wait > 0), "{slowed:?}");
    stage.end().await;
}

/// What a token says; who may believe it is not asked here.
fn claims(tokens: &Tokens) -> Value {
    use base64::Engine;
    let payload = tokens.access.split('.').nth(1).expect("three parts");
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload);
    serde_json::from_slice(&payload.expect("base64url")).expect("JSON")
}
