//! Dead tokens: refused on every way in, also when the service is away, and what is done then.

use http::Method;

use super::{Knowledge, Service, World, identity, mutual};
use crate::client::{Client, Protocol};
use crate::harness::tokens::Signer;
use crate::harness::waiting::until;
use crate::websocket::client::Client as WebSocket;

const ROUTES: &str = "
routes:
  - { name: echo, matches: [{ path: { prefix: /echo } }], auth: { issuer: main }, cluster: origin }
  - { name: chat, matches: [{ path: { prefix: /chat } }], auth: { issuer: main }, websocket: {}, cluster: origin }
  - { name: call, matches: [{ path: { prefix: /palisade.echo.v1.EchoService } }, { path: { prefix: /v1 } }], auth: { issuer: main }, translate: true, cluster: identity }
";

const CALL: &str = "/palisade.echo.v1.EchoService/Echo";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_tokens_are_refused_on_every_way_in() {
    let mut world = World::start("{ cluster: identity }", ROUTES).await;
    let _service = world.serve().await;
    world.metric_becomes("connected", 1.0).await;
    let (ada, eve) = (world.bearer("ada", "s1"), world.bearer("eve", "s2"));
    let (ada, eve) = (("authorization", &*ada), ("authorization", &*eve));
    for protocol in Protocol::ALL {
        // Verified once, and so remembered.
        assert_eq!(world.get(protocol, "/echo/a", ada).await.0, 200);
    }
    world.knowledge.revoke("session", "s1");
    world.becomes("/echo/a", ada, 401, "token_revoked").await;
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &world.edge).await;
        for path in ["/echo/a", "/v1/echo/hi", "/chat/a"] {
            let refused = client.get_with(path, &[ada]).await;
            refused.assert_problem(401, "token_revoked");
            assert_eq!(
                refused.header("www-authenticate"),
                Some(r#"Bearer error="invalid_token", error_description="the token was revoked""#)
            );
        }
        let opened = WebSocket::connect(protocol, world.edge.https, "/chat/a", &[ada]).await;
        let Err(refused) = opened else {
            panic!("{protocol:?}: opened");
        };
        assert_eq!(refused.code(), "token_revoked", "{protocol:?}");
        assert_eq!(client.get_with("/echo/a", &[eve]).await.status, 200);
    }
    calls_are_refused(&world, ada).await;
    assert_eq!(world.origin.record().count("/chat"), 0);

    // A user: what was issued before; not what comes after.
    world.knowledge.revoke("user", "eve");
    world.becomes("/echo/a", eve, 401, "token_revoked").await;
    let later = world.signer.bearer(serde_json::json!({
        "sub": "eve", "sid": "s3", "iat": crate::harness::tokens::unix_now() + 2,
    }));
    let later = ("authorization", &*later);
    assert_eq!(world.get(Protocol::H1, "/echo/a", later).await.0, 200);
    world.metric_becomes("entries", 2.0).await;
    let series = "palisade_rejections_total{http_route=\"chat\",reason=\"token_revoked\"}";
    assert_eq!(world.edge.metric(series).await, Some(6.0));
}

async fn calls_are_refused(world: &World, token: (&str, &str)) {
    for protocol in [Protocol::H2, Protocol::H3] {
        let mut client = Client::connect(protocol, &world.edge).await;
        for kind in ["application/grpc", "application/grpc-web+proto"] {
            let fields = [token, ("content-type", kind), ("te", "trailers")];
            let answer = client.send(Method::POST, CALL, &fields, "\0\0\0\0\0").await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.header("grpc-status"), Some("16"), "{answer:?}");
        }
        let fields = [token, ("content-type", "application/proto")];
        let answer = client.send(Method::POST, CALL, &fields, "").await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 401);
        assert_eq!(answer.json()["code"], "unauthenticated");
    }
}

/// Its tokens die although they are genuine, and whatever is still published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signing_key_that_leaked_signs_nothing_more() {
    let mut world = World::start("{ cluster: identity }", ROUTES).await;
    let _service = world.serve().await;
    let leaked = world.bearer("ada", "s1");
    let leaked = ("authorization", &*leaked);
    for protocol in Protocol::ALL {
        assert_eq!(world.get(protocol, "/echo/a", leaked).await.0, 200);
    }
    world.knowledge.revoke("signing_key", "key-1");
    world
        .becomes("/echo/a", leaked, 401, "token_key_unknown")
        .await;
    world.metric_becomes("entries", 1.0).await;
    let next = Signer::new("key-2");
    let jwks = world.edge.files.root().join("jwks.json");
    std::fs::write(&jwks, next.jwks()).expect("a file");
    let token = next.bearer(serde_json::json!({ "sub": "ada", "sid": "s1" }));
    let token = ("authorization", &*token);
    world.becomes("/echo/a", token, 200, "").await;

    // Other rules and another reading of the same keys: what is known of them stays.
    std::fs::write(&jwks, world.signer.jwks()).expect("a file");
    let policy = world.edge.files.root().join("policies/policy.yaml");
    let changed = std::fs::read_to_string(&policy).expect("the policy");
    let changed = changed.replace("jwks.json }", "jwks.json, refresh: 1s }");
    world.edge.files.write_policy("policy.yaml", &changed);
    let reloads = "palisade_policy_reloads_total{result=\"success\"}";
    until("the reload", || async {
        (world.edge.metric(reloads).await? >= 1.0).then_some(())
    })
    .await;
    world
        .becomes("/echo/a", token, 401, "token_key_unknown")
        .await;
    for protocol in Protocol::ALL {
        let refused = world.get(protocol, "/echo/a", leaked).await;
        assert_eq!(refused, (401, "token_key_unknown".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_stream_is_begun_again_where_it_ended() {
    let mut world = World::start("{ cluster: identity }", ROUTES).await;
    let service = world.serve().await;
    let (one, two) = (world.bearer("ada", "s1"), world.bearer("ada", "s2"));
    let (one, two) = (("authorization", &*one), ("authorization", &*two));
    world.knowledge.revoke("session", "s1");
    world.becomes("/echo/a", one, 401, "token_revoked").await;
    service.stop().await;
    world.metric_becomes("connected", 0.0).await;
    world.knowledge.revoke("session", "s2");
    assert_eq!(world.get(Protocol::H2, "/echo/a", one).await.0, 401);
    assert_eq!(world.get(Protocol::H2, "/echo/a", two).await.0, 200);
    let lost = |line: &serde_json::Value| line["level"] == "WARN" && line["cluster"] == "identity";
    let line = world.edge.log_line("that nothing is heard", lost).await;
    assert!(
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("stays in force"))
    );

    let service = world.serve().await;
    world.becomes("/echo/a", two, 401, "token_revoked").await;
    assert_eq!(world.knowledge.watched().last(), Some(&1));

    // Another way to the service: what is known of it stays.
    service.stop().await;
    let moved = identity(world.address, "    timeouts: { connect: 1s }\n");
    world.edge.files.write_policy("identity.yaml", &moved);
    let generation = "palisade_policy_reloads_total{result=\"success\"}";
    until("the reload", || async {
        (world.edge.metric(generation).await? >= 1.0).then_some(())
    })
    .await;
    assert_eq!(world.get(Protocol::H3, "/echo/a", one).await.0, 401);
    assert_eq!(world.get(Protocol::H3, "/echo/a", two).await.0, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_word_the_policy_decides() {
    let rule = "{ cluster: identity, on_stale: deny, stale_after: 10s }";
    let mut world = World::start(rule, ROUTES).await;
    let (one, two) = (world.bearer("ada", "s1"), world.bearer("ada", "s2"));
    let (one, two) = (("authorization", &*one), ("authorization", &*two));
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &world.edge).await;
        let refused = client.get_with("/echo/a", &[one]).await;
        refused.assert_problem(503, "revocations_unavailable");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(refused.header("www-authenticate"), None);
    }
    let service = world.serve().await;
    world.becomes("/echo/a", one, 200, "").await;
    world.knowledge.revoke("session", "s1");
    world.becomes("/echo/a", one, 401, "token_revoked").await;
    service.stop().await;
    // It is still fresh, then no more; what is dead stays dead.
    world
        .becomes("/echo/a", two, 503, "revocations_unavailable")
        .await;
    assert_eq!(world.get(Protocol::H2, "/echo/a", one).await.0, 401);
    let _service = world.serve().await;
    world.becomes("/echo/a", two, 200, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_stream_is_broken() {
    let mut world = World::start("{ cluster: identity }", ROUTES).await;
    let _service = world.serve().await;
    world.metric_becomes("connected", 1.0).await;
    world.knowledge.mute();
    until("another stream", || async {
        (world.knowledge.watched().len() > 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_is_reached_by_mutual_tls() {
    let mut world = World::start("{ cluster: identity }", ROUTES).await;
    let tls = mutual(&world.edge.files);
    world.held = None;
    let knowledge = Knowledge::new();
    let _service = Service::start_mutual(world.address, &knowledge).await;
    knowledge.revoke("session", "s1");
    let policy = identity(world.address, &tls);
    world.edge.files.write_policy("identity.yaml", &policy);
    let token = world.bearer("ada", "s1");
    let token = ("authorization", &*token);
    world.becomes("/echo/a", token, 401, "token_revoked").await;
    world.metric_becomes("connected", 1.0).await;
}
