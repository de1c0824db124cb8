//! What ends at the core ends at the edge: sessions and API keys, over every protocol.

use http::Method;
use serde_json::json;

use crate::accounts::{Account, Api};
use crate::client::{Client, Protocol};
use crate::harness::System;
use crate::harness::waiting::until;

/// One connection of each protocol, which stays open.
async fn connections(system: &System) -> Vec<Client> {
    let mut clients = Vec::new();
    for protocol in Protocol::ALL {
        clients.push(system.client(protocol).await);
    }
    clients
}

async fn becomes(client: &Client, field: (&str, &str), code: &str) {
    until(format!("the profile to be refused with {code}"), || async {
        let answer = client.clone().get_with("/profile", &[field]).await;
        // Until the edge knows, the core may refuse by itself.
        (answer.status == 401 && answer.json()["code"] == code).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_is_heard_on_every_connection() {
    let system = System::start_unlimited().await;
    let account = Account::new("revoked");
    let mut api = Api::new(system.client(Protocol::H2).await, &system.secrets);
    api.register(&account).await;
    let (one, other) = (api.login(&account).await, api.login(&account).await);
    let bearer = |token: &str| format!("Bearer {token}");
    let (one, other) = (bearer(&one.access), bearer(&other.access));
    let (one, other) = (("authorization", &*one), ("authorization", &*other));
    let mut clients = connections(&system).await;
    for client in &mut clients {
        assert_eq!(client.get_with("/profile", &[one]).await.status, 200);
    }
    let mut leaving = system.client(Protocol::H1).await;
    let left = leaving
        .send(Method::POST, "/v1/auth/logout", &[one], "")
        .await;
    let left = left.expect("an answer");
    assert_eq!(left.status, 204, "{left:?}");
    for client in &mut clients {
        becomes(client, one, "token_revoked").await;
        assert_eq!(client.get_with("/profile", &[other]).await.status, 200);
    }
    system.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_acts_for_its_owner_until_it_is_revoked() {
    let system = System::start_verbose().await;
    let account = Account::new("programs");
    let mut api = Api::new(system.client(Protocol::H2).await, &system.secrets);
    api.register(&account).await;
    let token = api.login(&account).await.access;
    let wanted = json!({ "name": "backup", "scopes": ["profile:read"] });
    let made = api.post("/v1/api-keys", Some(&token), wanted).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let key = made["key"].as_str().expect("a key");
    system.secrets.note(key);
    let field = ("x-api-key", key);
    let mut clients = connections(&system).await;
    for client in &mut clients {
        let profile = client.get_with("/profile", &[field]).await;
        assert_eq!(profile.status, 200, "{profile:?}");
        assert_eq!(profile.json()["email"], account.email);
        // It may do a part of what its owner may, and is no person who has signed in.
        let written = client.send(Method::PUT, "/profile", &[field], "").await;
        let written = written.expect("an answer");
        written.assert_problem(403, "insufficient_scope");
        let listed = client.get_with("/v1/api-keys", &[field]).await;
        listed.assert_problem(401, "token_missing");
    }
    let id = made["api_key"]["id"].as_str().expect("an id");
    let path = format!("/v1/api-keys/{id}");
    let revoked = api.send(Method::DELETE, &path, Some(&token), "").await;
    assert_eq!(revoked.status, 204, "{revoked:?}");
    for client in &clients {
        becomes(client, field, "api_key_unknown").await;
    }
    system.end().await;
}
