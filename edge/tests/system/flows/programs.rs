//! Programs that act for people: API keys, from the one time they are shown to their end.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::{Stage, in_every_layout, text};
use crate::accounts::Account;
use crate::client::{Client, Protocol};
use crate::harness::waiting::until;

/// A revoked key is refused by then, on every connection.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

in_every_layout!(api_keys);

async fn api_keys(stage: Stage) {
    let mut api = stage.api(Protocol::H2).await;
    let account = Account::new("flow-programs");
    let tokens = stage.sign_up(&mut api, &account).await;
    let token = Some(tokens.access.as_str());
    let wanted = json!({ "name": "backup", "scopes": ["profile:read"] });
    let made = api.post("/v1/api-keys", token, wanted).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let (key, id) = (text(&made["key"]), text(&made["api_key"]["id"]));
    stage.system.secrets.note(key);
    let listed = api.get("/v1/api-keys", token).await;
    assert_eq!(listed.json()["api_keys"][0]["id"], id);
    let shown = String::from_utf8_lossy(&listed.body);
    assert!(!shown.contains(key), "a key is shown once");

    let field = ("x-api-key", key);
    let mut clients = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = stage.system.client(protocol).await;
        let profile = client.get_with("/profile", &[field]).await;
        assert_eq!(profile.status, 200, "{profile:?}");
        assert_eq!(profile.json()["email"], account.email);
        // It may do a part of what its owner may, and is no person who has signed in.
        let written = client.send(Method::PUT, "/profile", &[field], "").await;
        let written = written.expect("an answer");
        written.assert_problem(403, "insufficient_scope");
        let listed = client.get_with("/v1/api-keys", &[field]).await;
        listed.assert_problem(401, "token_missing");
        clients.push(client);
    }

    let target = format!("/v1/api-keys/{id}");
    let revoked = api.send(Method::DELETE, &target, token, "").await;
    assert_eq!(revoked.status, 204, "{revoked:?}");
    let refused = async {
        for client in &clients {
            is_refused(client, field).await;
        }
    };
    let refused = tokio::time::timeout(REFUSED_WITHIN, refused).await;
    assert!(refused.is_ok(), "a revoked key is still good");
    assert_eq!(api.get("/profile", token).await.status, 200);
    stage.end().await;
}

async fn is_refused(client: &Client, field: (&str, &str)) {
    until("the edge to refuse the key", || async {
        let answer = client.clone().get_with("/profile", &[field]).await;
        // Until the edge knows, the core may refuse by itself.
        (answer.status == 401 && answer.json()["code"] == "api_key_unknown").then_some(())
    })
    .await;
}
