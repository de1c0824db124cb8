//! API keys, roles and revocations, as the edge and operators meet them.

use std::{fs, process::Output};

use core_proto::{
    auth::v1::{
        CreateApiKeyRequest, CreateApiKeyResponse, IntrospectRequest, Revocation,
        RevokeApiKeyRequest, WatchRevocationsRequest, key_service_client::KeyServiceClient,
    },
    user::v1::{ListUsersRequest, admin_service_client::AdminServiceClient},
};
use core_testing::eventually;
use tonic::{Streaming, transport::Channel};

use crate::harness::{Core, EDGE, EMAIL, PASSWORD, World, reason, with_token};

/// With the roles and the access matrix as they are shipped.
fn shipped() -> World {
    let world = World::new();
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/services");
    for file in ["rbac.yaml", "access.yaml"] {
        fs::copy(format!("{policies}/{file}"), world.policies().join(file)).unwrap();
    }
    world
}

fn grant(world: &World, email: &str, role: &str) -> (Option<i32>, String) {
    let mut command = world.command("ops");
    let Output { status, stderr, .. } = command.args(["grant-role", email, role]).output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn keys(world: &World, core: &Core) -> KeyServiceClient<Channel> {
    KeyServiceClient::new(world.channel(core, &[EDGE]))
}

async fn made(keys: &mut KeyServiceClient<Channel>, access: &str) -> CreateApiKeyResponse {
    let request = CreateApiKeyRequest {
        name: "Nightly build".to_owned(),
        scopes: vec!["profile:read".to_owned()],
        days: None,
    };
    let answer = keys.create_api_key(with_token(request, access)).await;
    answer.unwrap().into_inner()
}

#[tokio::test]
async fn an_operator_appoints_the_first_administrator() {
    let world = shipped();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let mut admin = AdminServiceClient::new(world.channel(&core, &[EDGE]));
    let asked = ListUsersRequest {
        email: EMAIL.to_owned(),
        ..ListUsersRequest::default()
    };
    let before = edge.login(EMAIL, PASSWORD).await.unwrap();
    let refused = admin
        .list_users(with_token(asked.clone(), &before.access_token))
        .await;
    assert_eq!(reason(&refused.unwrap_err()), "SCOPE_MISSING");

    let (status, error) = grant(&world, EMAIL, "king");
    assert_eq!(status, Some(2), "{error}");
    assert!(
        error.contains("`king`") && error.contains("hint:"),
        "{error}"
    );
    let (status, error) = grant(&world, "nobody@example.org", "admin");
    assert_eq!(status, Some(1), "{error}");
    // While the service runs, and whatever the case of the address.
    let (status, error) = grant(&world, &EMAIL.to_uppercase(), "admin");
    assert_eq!(status, Some(0), "{error}");

    let renewed = edge.refresh(&before.refresh_token).await.unwrap();
    let found = admin
        .list_users(with_token(asked, &renewed.access_token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.users.len(), 1);
    assert_eq!(found.users[0].roles, ["admin"]);
}

#[tokio::test]
async fn the_edge_trades_keys_for_tokens_and_hears_of_their_end() {
    let world = shipped();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let tokens = edge.login(EMAIL, PASSWORD).await.unwrap();
    let mut client = keys(&world, &core);
    let made = made(&mut client, &tokens.access_token).await;
    let id = made.api_key.unwrap().id;

    let asked = IntrospectRequest { token: made.key };
    let found = client.introspect(asked.clone()).await.unwrap().into_inner();
    assert!(found.active && found.kind == "api_key" && found.id == id);
    assert!(edge.profile(&found.access_token).await.is_ok());
    // What asks for no permission is for people.
    let request = with_token(RevokeApiKeyRequest { id: id.clone() }, &found.access_token);
    let refused = client.revoke_api_key(request).await.unwrap_err();
    assert_eq!(reason(&refused), "API_KEY_NOT_ALLOWED");

    let watch = WatchRevocationsRequest { after: 0 };
    let mut told = client.watch_revocations(watch).await.unwrap().into_inner();
    let first = told.message().await.unwrap().unwrap();
    assert!(first.revocations.is_empty());
    let request = with_token(RevokeApiKeyRequest { id: id.clone() }, &tokens.access_token);
    client.revoke_api_key(request).await.unwrap();
    let ended = next(&mut told).await;
    assert_eq!((ended[0].kind.as_str(), &ended[0].id), ("api_key", &id));
    assert!(!client.introspect(asked).await.unwrap().into_inner().active);
    let refused = edge.profile(&found.access_token).await.unwrap_err();
    assert_eq!(reason(&refused), "SESSION_ENDED");
}

#[tokio::test]
async fn an_operator_replaces_keys_that_leaked_under_a_running_service() {
    let world = shipped();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let before = edge.login(EMAIL, PASSWORD).await.unwrap();
    let mut client = keys(&world, &core);
    let watch = WatchRevocationsRequest { after: 0 };
    let mut told = client.watch_revocations(watch).await.unwrap().into_inner();
    told.message().await.unwrap().unwrap();

    let mut command = world.command("ops");
    let rotate = command.args(["rotate-signing-key", "--compromised"]);
    let Output { status, stdout, .. } = rotate.output().unwrap();
    assert!(status.success());
    let printed = String::from_utf8(stdout).unwrap();
    let (kid, _) = printed.split_once(" signs from ").unwrap();

    let dead = next(&mut told).await;
    assert_eq!((dead.len(), dead[0].kind.as_str()), (1, "signing_key"));
    assert_ne!(dead[0].id, kid);
    let keys = eventually("the key's end", async || {
        let keys = core.json("/.well-known/jwks.json").to_string();
        (!keys.contains(&dead[0].id)).then_some(keys)
    })
    .await;
    assert!(keys.contains(kid), "{keys}");
    let refused = edge.profile(&before.access_token).await.unwrap_err();
    assert_eq!(reason(&refused), "TOKEN_INVALID");
    let renewed = edge.refresh(&before.refresh_token).await.unwrap();
    assert!(edge.profile(&renewed.access_token).await.is_ok());
}

/// The next message that tells of any.
async fn next(told: &mut Streaming<core_proto::auth::v1::Revocations>) -> Vec<Revocation> {
    loop {
        let message = told.message().await.unwrap().unwrap();
        if !message.revocations.is_empty() {
            return message.revocations;
        }
    }
}

#[tokio::test]
async fn a_stop_ends_the_streams() {
    let world = shipped();
    let mut core = world.start().await;
    let mut client = keys(&world, &core);
    let watch = WatchRevocationsRequest { after: 0 };
    let mut told = client.watch_revocations(watch).await.unwrap().into_inner();
    told.message().await.unwrap().unwrap();
    core.signal("TERM");
    assert_eq!(core.ended().await.code(), Some(0), "{:?}", core.errors());
}

#[tokio::test]
async fn without_an_entry_in_the_matrix_the_edge_is_refused() {
    let world = World::new();
    let core = world.start().await;
    let mut client = keys(&world, &core);
    let asked = IntrospectRequest {
        token: "pk_x".to_owned(),
    };
    let refused = client.introspect(asked).await.unwrap_err();
    assert_eq!(reason(&refused), "SERVICE_ONLY");
}
