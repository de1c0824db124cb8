//! What ends at the core ends at the edge: sessions, over every protocol.

use http::Method;

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

async fn becomes_revoked(client: &Client, field: (&str, &str)) {
    until("the edge to refuse the session", || async {
        let answer = client.clone().get_with("/profile", &[field]).await;
        // Until the edge knows, the core may refuse by itself.
        (answer.status == 401 && answer.json()["code"] == "token_revoked").then_some(())
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
        becomes_revoked(client, one).await;
        assert_eq!(client.get_with("/profile", &[other]).await.status, 200);
    }
    system.end().await;
}
