//! The README's story over every protocol: an account from its registration to its last logout.

use http::Method;
use serde_json::{Value, json};

use crate::accounts::{Account, Api, Tokens, forged, password};
use crate::client::{Client, Protocol, Response};
use crate::harness::System;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http1() {
    tell(System::start().await, Protocol::H1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2() {
    tell(System::start().await, Protocol::H2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http3() {
    tell(System::start().await, Protocol::H3).await;
}

/// An operator who looks for a fault at night must not learn anybody's password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_everything_logged() {
    for protocol in Protocol::ALL {
        tell(System::start_verbose().await, protocol).await;
    }
}

/// A refusal of the services: a problem with their reason.
#[track_caller]
fn assert_refused(response: &Response, status: u16, code: &str, reason: &str) {
    response.assert_problem(status, code);
    let problem = response.json();
    assert_eq!(problem["reason"], reason, "{problem}");
    assert_eq!(problem["domain"], "palisade.internal", "{problem}");
}

/// All within the shipped limits: twenty sign-ins at once are allowed.
async fn tell(system: System, protocol: Protocol) {
    let mut api = Api::new(system.client(protocol).await, &system.secrets);
    let mut account = Account::new(&format!("story-{protocol:?}"));

    registration(&mut api, &account).await;
    let tokens = sign_in(&mut api, &account).await;
    profile(&mut api, &account, &tokens).await;
    program(&system, &mut api, protocol, &tokens).await;
    bad_tokens(&mut api, &tokens).await;
    refresh_rotation(&mut api, &tokens).await;
    change_of_password(&mut api, &mut account).await;
    logout(&mut api, &account).await;
    published_keys(&mut api).await;
    plain_http(&system).await;

    system.end().await;
}

async fn registration(api: &mut Api, account: &Account) {
    for target in ["/register", "/v1/auth/register"] {
        let response = api.post(target, None, account.registration()).await;
        assert_eq!(
            response.status, 201,
            "known or not, the answer is the same: {response:?}"
        );
        assert_eq!(response.json(), json!({}));
    }
    let bad = Account {
        email: account.email.replace('@', " at "),
        password: "open-sesame"[..4].to_owned(),
    };
    let response = api.post("/register", None, bad.registration()).await;
    response.assert_problem(400, "invalid_argument");
    let problem = response.json();
    let errors = problem["errors"].as_array().expect("field violations");
    let mut fields: Vec<_> = errors
        .iter()
        .filter_map(|error| error["field"].as_str())
        .collect();
    fields.sort_unstable();
    assert_eq!(fields, ["email", "password"], "{problem}");
    assert!(
        errors.iter().all(|error| error["description"].is_string()),
        "{problem}"
    );

    for (body, field) in [
        (r#"{"email":"#, None),
        (r#"{"email":7,"password":"x","name":"x"}"#, None),
        (r#"{"admin":true}"#, Some("admin")),
    ] {
        let response = api.send(Method::POST, "/register", None, body).await;
        let code = response.json()["code"].as_str().expect("a code").to_owned();
        response.assert_problem(400, &code);
        if let Some(field) = field {
            assert!(
                response.json()["detail"].to_string().contains(field),
                "{response:?}"
            );
        }
    }
}

async fn sign_in(api: &mut Api, account: &Account) -> Tokens {
    let wrong = Account {
        password: password("wrong"),
        ..account.clone()
    };
    let unknown = Account::new("nobody");
    let mut answers = Vec::new();
    for bad in [wrong, unknown] {
        let response = api.post("/login", None, bad.credentials()).await;
        assert_refused(&response, 401, "unauthenticated", "BAD_CREDENTIALS");
        assert!(
            response.header("www-authenticate").is_some(),
            "{response:?}"
        );
        let mut answer = response.json();
        answer["request_id"] = Value::Null;
        answers.push(answer);
    }
    assert_eq!(answers[0], answers[1], "nobody learns who has an account");
    for target in ["/auth/login", "/v1/auth/login"] {
        let response = api.post(target, None, account.credentials()).await;
        api.tokens(&response);
    }
    api.login(account).await
}

async fn profile(api: &mut Api, account: &Account, tokens: &Tokens) {
    let token = Some(tokens.access.as_str());
    let first = api.get("/profile", token).await;
    assert_eq!(first.status, 200, "{first:?}");
    let shown = first.json();
    assert_eq!(
        (&shown["email"], &shown["name"]),
        (&json!(account.email), &json!("Ada Lovelace"))
    );

    let change = json!({"display_name": "Countess", "phone": "+442071838750"});
    let changed = api.put("/profile", &tokens.access, change).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let changed = changed.json();
    assert_eq!(
        (
            &changed["display_name"],
            &changed["phone"],
            &changed["name"]
        ),
        (
            &json!("Countess"),
            &json!("+442071838750"),
            &json!("Ada Lovelace")
        ),
    );
    for target in ["/profile", "/user/profile", "/v1/profile"] {
        let response = api.get(target, token).await;
        assert_eq!(
            (response.status, response.json()),
            (200, changed.clone()),
            "{target}"
        );
    }
    let bad = api
        .put("/v1/profile", &tokens.access, json!({"phone": "ask me"}))
        .await;
    bad.assert_problem(400, "invalid_argument");
    assert_eq!(bad.json()["errors"][0]["field"], "phone");
    assert_eq!(
        api.get("/profile", token).await.json(),
        changed,
        "nothing was written"
    );
}

/// Refused by the edge, before anything reaches a service.
/// A key is as much of a secret as a password.
async fn program(system: &System, api: &mut Api, protocol: Protocol, tokens: &Tokens) {
    let wanted = json!({"name": "backup", "scopes": ["profile:read"]});
    let made = api.post("/v1/api-keys", Some(&tokens.access), wanted).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let key = made["key"].as_str().expect("a key");
    system.secrets.note(key);
    let mut client = system.client(protocol).await;
    let read = client.get_with("/profile", &[("x-api-key", key)]).await;
    assert_eq!(read.status, 200, "{read:?}");
}

async fn bad_tokens(api: &mut Api, tokens: &Tokens) {
    let forged = forged(&tokens.access);
    let cases = [
        (None, "credential_missing"),
        (Some(forged.as_str()), "token_signature_invalid"),
        (Some(tokens.refresh.as_str()), "token_malformed"),
    ];
    for (token, code) in cases {
        for target in ["/profile", "/user/profile"] {
            let response = api.get(target, token).await;
            response.assert_problem(401, code);
            let challenge = response.header("www-authenticate").expect("a challenge");
            assert!(challenge.starts_with("Bearer"), "{challenge}");
        }
    }
}

/// By the service, or by the edge as soon as that has heard of it.
#[track_caller]
fn assert_ended(response: &Response) {
    if response.json()["code"] == "token_revoked" {
        response.assert_problem(401, "token_revoked");
    } else {
        assert_refused(response, 401, "unauthenticated", "SESSION_ENDED");
    }
}

/// A refresh token works once. Its second use ends the session, with all that came of it.
async fn refresh_rotation(api: &mut Api, first: &Tokens) {
    let second = refresh(api, first).await;
    let third = refresh(api, &second).await;
    assert_eq!(api.get("/profile", Some(&third.access)).await.status, 200);

    for reused in [first, &second, &third] {
        let body = json!({"refresh_token": reused.refresh});
        let response = api.post("/v1/auth/refresh", None, body).await;
        assert_refused(&response, 401, "unauthenticated", "BAD_REFRESH_TOKEN");
    }
    let response = api.get("/profile", Some(&third.access)).await;
    assert_ended(&response);
}

async fn refresh(api: &mut Api, tokens: &Tokens) -> Tokens {
    let body = json!({"refresh_token": tokens.refresh});
    let response = api.post("/v1/auth/refresh", None, body).await;
    let fresh = api.tokens(&response);
    assert_ne!(fresh.refresh, tokens.refresh);
    fresh
}

async fn change_of_password(api: &mut Api, account: &mut Account) {
    let tokens = api.login(account).await;
    let other = api.login(account).await;
    let fresh = password("changed");
    let wrong = json!({"current_password": password("wrong"), "new_password": fresh});
    let response = api
        .post("/change-password", Some(&tokens.access), wrong)
        .await;
    assert_refused(&response, 403, "permission_denied", "WRONG_PASSWORD");

    let right = json!({"current_password": account.password, "new_password": fresh});
    let response = api
        .post("/change-password", Some(&tokens.access), right)
        .await;
    assert_eq!(
        (response.status, response.body.len()),
        (204, 0),
        "{response:?}"
    );
    let response = api.post("/login", None, account.credentials()).await;
    assert_refused(&response, 401, "unauthenticated", "BAD_CREDENTIALS");
    let response = api.get("/profile", Some(&other.access)).await;
    assert_ended(&response);
    assert_eq!(api.get("/profile", Some(&tokens.access)).await.status, 200);
    account.password = fresh;
}

/// The token is genuine and fresh; the service knows better, and soon the edge does.
async fn logout(api: &mut Api, account: &Account) {
    let tokens = api.login(account).await;
    let response = api
        .post("/v1/auth/logout", Some(&tokens.access), json!({}))
        .await;
    assert_eq!(
        (response.status, response.body.len()),
        (204, 0),
        "{response:?}"
    );
    let response = api.get("/profile", Some(&tokens.access)).await;
    assert_ended(&response);
    let body = json!({"refresh_token": tokens.refresh});
    let response = api.post("/v1/auth/refresh", None, body).await;
    assert_refused(&response, 401, "unauthenticated", "BAD_REFRESH_TOKEN");
}

async fn published_keys(api: &mut Api) {
    let target = "/.well-known/jwks.json";
    let miss = api.get(target, None).await;
    assert_eq!(miss.status, 200, "{miss:?}");
    assert_eq!(
        miss.header("cache-status"),
        Some("palisade; fwd=uri-miss; stored")
    );
    assert_eq!(miss.json()["keys"][0]["crv"], "Ed25519", "{miss:?}");
    let hit = api.get(target, None).await;
    let status = hit.header("cache-status").expect("cache-status");
    assert!(status.starts_with("palisade; hit; ttl="), "{status}");
    assert_eq!((hit.status, &hit.body), (200, &miss.body));
}

async fn plain_http(system: &System) {
    let mut client = Client::plain(&system.edge).await;
    let response = client.get("/profile").await;
    response.assert_problem(308, "https_required");
    let location = format!("https://localhost:{}/profile", system.edge.https.port());
    assert_eq!(response.header("location"), Some(&*location));
}
