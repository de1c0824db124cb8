//! What operators see: health, readiness, metrics, keys, logs.

use core_proto::auth::v1::{GetJwksRequest, LoginRequest};
use serde_json::Value;
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::harness::{EDGE, EMAIL, PASSWORD, World};

#[tokio::test]
async fn health_and_readiness() {
    let world = World::new();
    let core = world.start().await;
    let health = core.json("/health");
    assert_eq!(
        (&health["status"], &health["service"]),
        (&"healthy".into(), &"core".into())
    );
    assert!(health["uptime_seconds"].is_u64());
    assert_eq!(health["checks"]["database"]["status"], "healthy");
    assert!(health["checks"]["database"]["latency_ms"].is_u64());
    assert_eq!(core.get("/ready").0, 200);
    assert_eq!(core.get("/nothing-here").0, 404);

    let mut client = HealthClient::new(world.channel(&core, &[EDGE]));
    for service in ["", "auth.v1.AuthService", "user.v1.UserService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        assert_eq!(
            client.check(request).await.unwrap().into_inner().status,
            1,
            "{service}"
        );
    }
    let mut stranger = HealthClient::new(world.channel(&core, &["spiffe://example.org/svc/x"]));
    let refused = stranger
        .check(HealthCheckRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn what_is_only_useful_degrades() {
    let world = World::new();
    let (nats, redis) = (free_port(), free_port());
    let arguments = [
        "--nats-url",
        &format!("nats://127.0.0.1:{nats}"),
        "--redis-url",
        &format!("redis://127.0.0.1:{redis}"),
    ];
    let mut core = world.start_with(&arguments).await;
    let health = core.json("/health");
    assert_eq!(health["status"], "degraded", "{health}");
    let status = |name: &str| health["checks"][name]["status"].clone();
    assert_eq!(
        (status("database"), status("nats"), status("redis")),
        ("healthy".into(), "unhealthy".into(), "unhealthy".into())
    );
    assert_eq!(core.get("/ready").0, 200);
    let edge = world.edge(&core);
    assert!(edge.register(EMAIL).await.is_ok(), "calls are answered");
    core.signal("TERM");
    assert_eq!(core.ended().await.code(), Some(0), "{:?}", core.errors());
}

/// One that was free a moment ago, with nobody behind it.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn metrics_have_the_agreed_names() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    edge.login(EMAIL, "not the password").await.unwrap_err();
    let count = |rpc: &str, code: u8| {
        format!(
            r#"http_request_duration_seconds_count{{method="grpc",route="/auth.v1.AuthService/{rpc}",service="identity",status_code="{code}"}} 1"#
        )
    };
    core.metric(&count("Register", 0)).await;
    core.metric(&count("Login", 16)).await;
    core.metric(r#"active_connections{service="core"} 1"#).await;
    core.metric("password_hash_queue_depth 0").await;
    core.metric("password_hash_duration_seconds_count 2").await;
    core.metric("rpc_in_flight 0").await;
    let (status, head, text) = core.get("/metrics");
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(text.contains("process_resident_memory_bytes"));
}

#[tokio::test]
async fn keys_are_the_same_on_both_listeners() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    let (status, head, body) = core.get("/.well-known/jwks.json");
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: application/jwk-set+json"),
        "{head}"
    );
    assert!(
        head.contains("cache-control: public, max-age=300"),
        "{head}"
    );
    let json: Value = serde_json::from_str(&body).unwrap();
    let grpc = edge
        .auth
        .clone()
        .get_jwks(GetJwksRequest {})
        .await
        .unwrap()
        .into_inner();
    let keys = json["keys"].as_array().unwrap();
    assert_eq!((keys.len(), grpc.keys.len()), (1, 1));
    let mut names: Vec<_> = keys[0].as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(
        names,
        ["alg", "crv", "kid", "kty", "use", "x"],
        "no private member"
    );
    assert_eq!(keys[0]["x"], grpc.keys[0].x);
    assert_eq!(keys[0]["kid"], grpc.keys[0].kid);
}

#[tokio::test]
async fn logs_are_json_with_ids_and_without_secrets() {
    let world = World::new();
    let mut core = world.start_with(&["--log", "trace"]).await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let mut login = Request::new(LoginRequest {
        email: EMAIL.to_owned(),
        password: PASSWORD.to_owned(),
    });
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let metadata = login.metadata_mut();
    metadata.insert("x-request-id", "req-it-42".parse().unwrap());
    metadata.insert(
        "traceparent",
        format!("00-{trace}-00f067aa0ba902b7-01").parse().unwrap(),
    );
    let tokens = edge.auth.clone().login(login).await.unwrap().into_inner();
    edge.profile(&tokens.access_token).await.unwrap();
    let second = edge.refresh(&tokens.refresh_token).await.unwrap();
    edge.refresh(&second.refresh_token).await.unwrap();
    edge.login(EMAIL, "wrong-but-secret").await.unwrap_err();
    edge.refresh(&tokens.refresh_token).await.unwrap_err();
    core.signal("TERM");
    assert!(core.ended().await.success());

    let lines = core.output();
    let parsed: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect();
    let answered = parsed
        .iter()
        .find(|line| line["message"] == "answered" && line["span"]["request_id"] == "req-it-42")
        .unwrap();
    assert_eq!(answered["rpc"], "/auth.v1.AuthService/Login");
    assert_eq!(answered["code"], 0);
    assert_eq!(answered["span"]["trace_id"], trace);
    assert_eq!(answered["span"]["peer"], "edge");

    let signature = tokens.access_token.rsplit_once('.').unwrap().1;
    let secret = tokens.refresh_token.split_once('.').unwrap().1;
    for secret in [EMAIL, PASSWORD, "wrong-but-secret", signature, secret] {
        let leak = lines.iter().find(|line| line.contains(secret));
        assert!(leak.is_none(), "{secret} in {leak:?}");
    }
    assert!(core.errors().is_empty(), "{:?}", core.errors());
}
