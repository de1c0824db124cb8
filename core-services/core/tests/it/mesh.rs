//! Who may call at all: certificates, then tokens.

use core_platform::service_token::Signer;
use core_proto::{
    auth::v1::{GetJwksRequest, LogoutRequest, auth_service_client::AuthServiceClient},
    user::v1::{GetProfileRequest, user_service_client::UserServiceClient},
};
use core_testing::eventually;
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::harness::{Ca, Core, EDGE, EMAIL, PASSWORD, World, channel, reason, with_token};

async fn jwks(channel: Channel) -> Result<(), Status> {
    AuthServiceClient::new(channel)
        .get_jwks(GetJwksRequest {})
        .await
        .map(|_| ())
}

#[tokio::test]
async fn without_our_certificate_there_is_no_connection() {
    let world = World::new();
    let core = world.start().await;
    assert!(
        jwks(channel(&core, world.tls())).await.is_err(),
        "no certificate"
    );

    let stranger = Ca::new();
    let (certificate, key) = stranger.issue(&[EDGE]);
    let identity = tonic::transport::Identity::from_pem(certificate, key);
    assert!(
        jwks(channel(&core, world.tls().identity(identity)))
            .await
            .is_err(),
        "foreign authority"
    );

    let plain = Channel::from_shared(format!("http://{}", core.grpc))
        .unwrap()
        .connect_lazy();
    assert!(jwks(plain).await.is_err(), "plain text");

    assert!(jwks(world.channel(&core, &[EDGE])).await.is_ok());
    // None of the refused ones reached the RPC layer.
    let answered = r#"http_request_duration_seconds_count{method="grpc",route="/auth.v1.AuthService/GetJwks",service="identity",status_code="0"} 1"#;
    core.metric(answered).await;
}

#[tokio::test]
async fn the_certificate_must_name_an_allowed_service() {
    let world = World::new();
    let core = world.start_with(&["--allowed-peers", "edge,order"]).await;
    let check = async |uris: &[&str], expected: Option<&str>| {
        let got = jwks(world.channel(&core, uris)).await;
        assert_eq!(
            got.as_ref().err().map(reason).as_deref(),
            expected,
            "{uris:?}"
        );
        if let Err(status) = got {
            assert_eq!(status.code(), Code::Unauthenticated);
        }
    };
    check(&[EDGE], None).await;
    let refused = Some("PEER_NOT_ALLOWED");
    check(&["spiffe://palisade.internal/svc/media"], refused).await;
    check(&["spiffe://example.org/svc/edge"], refused).await;
    check(&["spiffe://palisade.internal/edge"], refused).await;
    check(&[], refused).await;
    check(&[EDGE, "spiffe://palisade.internal/svc/order"], refused).await;
    core.metric(r#"rpc_refused_total{reason="peer"} 5"#).await;
}

#[tokio::test]
async fn a_service_must_prove_its_name_twice_and_be_in_the_matrix() {
    let world = World::new();
    let order = "spiffe://palisade.internal/svc/order";
    let call = async |core: &Core, token: Option<&str>| {
        let mut request = Request::new(GetJwksRequest {});
        if let Some(token) = token {
            let metadata = request.metadata_mut();
            metadata.insert("x-service-token", token.parse().unwrap());
        }
        let mut client = AuthServiceClient::new(world.channel(core, &[order]));
        let refused = client.get_jwks(request).await.err();
        refused.map_or("ok".to_owned(), |status| reason(&status))
    };
    let peers = ["--allowed-peers", "edge,order"];
    let without_keys = world.start_with(&peers).await;
    assert_eq!(call(&without_keys, None).await, "CALLER_NOT_ALLOWED");
    drop(without_keys);

    let signer = Signer::generate("palisade.internal", "order").unwrap();
    let keys = world.dir.path().join("services.json");
    let set = serde_json::json!({ "keys": [signer.jwk()] });
    std::fs::write(&keys, set.to_string()).unwrap();
    let keys = keys.to_str().unwrap();
    let core = world
        .start_with(&[&peers[..], &["--service-keys", keys]].concat())
        .await;
    let token = signer.sign("identity", core_platform::clock::now());
    assert_eq!(call(&core, None).await, "SERVICE_TOKEN_MISSING");
    assert_eq!(call(&core, Some("x")).await, "SERVICE_TOKEN_INVALID");
    assert_eq!(call(&core, Some(&token)).await, "CALLER_NOT_ALLOWED");
    // The matrix is a policy: it comes into force without a restart.
    let matrix = "version: 1\ncallers:\n  - name: order\n    rpcs: [auth.v1.AuthService/GetJwks]\n";
    std::fs::write(world.policies().join("access.yaml"), matrix).unwrap();
    eventually("the matrix", async || {
        (call(&core, Some(&token)).await == "ok").then_some(())
    })
    .await;
}

#[tokio::test]
async fn tokens_are_checked_again_here() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let tokens = edge.login(EMAIL, PASSWORD).await.unwrap();

    let missing = edge
        .user
        .clone()
        .get_profile(GetProfileRequest {})
        .await
        .unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::Unauthenticated, "TOKEN_MISSING")
    );
    let (head, signature) = tokens.access_token.rsplit_once('.').unwrap();
    let flipped: String = signature.chars().rev().collect();
    for forged in [
        "x",
        "a.b.c",
        &format!("{head}."),
        &format!("{head}.{flipped}"),
        &tokens.refresh_token,
    ] {
        let refused = edge.profile(forged).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::Unauthenticated, "TOKEN_INVALID")
        );
    }
    // A broken token on a public RPC is not looked at.
    let mut public = Request::new(GetJwksRequest {});
    public
        .metadata_mut()
        .insert("authorization", "Bearer x".parse().unwrap());
    assert!(edge.auth.clone().get_jwks(public).await.is_ok());

    // Identity that a client only claims changes nothing.
    let mut claimed = Request::new(GetProfileRequest {});
    for name in ["x-user-id", "x-forwarded-user", "x-auth-subject"] {
        claimed.metadata_mut().insert(
            name,
            "0190a1b2-c3d4-7000-8000-000000000001".parse().unwrap(),
        );
    }
    let refused = edge.user.clone().get_profile(claimed).await.unwrap_err();
    assert_eq!(reason(&refused), "TOKEN_MISSING");
}

#[tokio::test]
async fn tokens_of_another_core_are_worthless() {
    let (here, there) = (World::new(), World::new());
    let (core, other) = (here.start().await, there.start().await);
    let elsewhere = there.edge(&other);
    elsewhere.register(EMAIL).await.unwrap();
    let foreign = elsewhere.login(EMAIL, PASSWORD).await.unwrap();
    let edge = here.edge(&core);
    let refused = edge.profile(&foreign.access_token).await.unwrap_err();
    assert_eq!(reason(&refused), "TOKEN_INVALID");
    let request = with_token(LogoutRequest {}, &foreign.access_token);
    assert!(edge.auth.clone().logout(request).await.is_err());
}

#[tokio::test]
async fn unknown_methods_are_unimplemented() {
    let world = World::new();
    let core = world.start().await;
    for path in ["/auth.v1.AuthService/Nope", "/nope.v1.Nope/Nope", "/"] {
        let mut client = Grpc::new(world.channel(&core, &[EDGE]));
        client.ready().await.unwrap();
        let codec = ProstCodec::<GetJwksRequest, GetJwksRequest>::default();
        let path: http::uri::PathAndQuery = path.parse().unwrap();
        let refused = client
            .unary(Request::new(GetJwksRequest {}), path.clone(), codec)
            .await;
        assert_eq!(refused.unwrap_err().code(), Code::Unimplemented, "{path}");
    }
    core.metric(r#"rpc_refused_total{reason="unknown_rpc"} 3"#)
        .await;
}

#[tokio::test]
async fn one_certificate_serves_both_clients() {
    let world = World::new();
    let core = world.start().await;
    let channel = world.channel(&core, &[EDGE]);
    assert!(jwks(channel.clone()).await.is_ok());
    let refused = UserServiceClient::new(channel)
        .get_profile(GetProfileRequest {})
        .await;
    assert_eq!(reason(&refused.unwrap_err()), "TOKEN_MISSING");
    core.metric(r#"active_connections{service="core"} 1"#).await;
}
