//! API keys that the identity service knows: traded, remembered, ended, and unknown for now.

use futures::future::join_all;
use http::Method;
use serde_json::json;

use super::World;
use crate::client::{Client, Protocol};
use crate::harness::tokens::unix_now;
use crate::harness::waiting::until;

/// In the policy itself.
pub(super) const ACME: &str = "5f1c4f5b7c0f4c0e9b1d0a7e6d3c2b1a";
const KEY: &str = "pk_1_secret-of-ada";
const OTHER: &str = "pk_2_secret-of-eve";

const ROUTES: &str = "
api_keys:
  - { name: users, keys: [{ name: acme, file: ../acme.key, scopes: [read] }], introspect: { cluster: identity, issuer: main } }
access:
  - { name: of-a-key, expression: \"!has(claims.sid) || claims.sid.startsWith('k')\" }
limits:
  - { name: one, key: caller, rate: 1/h }
routes:
  - name: keyed
    matches: [{ path: { prefix: /echo } }]
    auth: { any_of: [{ issuer: main }, { api_keys: users }], scopes: [read], claim_headers: { sub: x-caller }, forward_token: true }
    access: [of-a-key]
    cluster: origin
  - name: admin
    matches: [{ path: { prefix: /echo/admin } }]
    auth: { api_keys: users, scopes: [admin] }
    cluster: origin
  - name: limited
    matches: [{ path: { prefix: /echo/limited } }]
    auth: { api_keys: users }
    limits: [one]
    cluster: origin
  - name: call
    matches: [{ path: { prefix: /palisade.echo.v1.EchoService } }]
    auth: { api_keys: users }
    translate: true
    cluster: identity
";

impl World {
    async fn with_keys() -> Self {
        let world = Self::start("{ cluster: identity }", ROUTES).await;
        world.trade(KEY, "ada", "k1");
        world
    }

    /// Returns the token that stands for the key.
    fn trade(&self, key: &str, user: &str, id: &str) -> String {
        let claims = json!({ "sub": user, "sid": id, "scope": "read", "iat": unix_now() });
        let token = self.signer.token(claims);
        self.knowledge.trade(key, &token);
        token
    }

    fn is_printed(&self, secret: &str) -> bool {
        let lines = self.edge.log_lines(|_| true);
        lines.iter().any(|line| line.to_string().contains(secret))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_traded_once_and_goes_no_further() {
    let mut world = World::with_keys().await;
    let token = world.trade(KEY, "ada", "k1");
    let _service = world.serve().await;
    let stale = world.signer.bearer(json!({ "exp": 1 }));
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &world.edge).await;
        let key = ("x-api-key", KEY);
        for fields in [&[key][..], &[key, ("authorization", &stale)]] {
            let answer = client.get_with("/echo/a", fields).await;
            assert_eq!(answer.status, 200, "{protocol:?} {fields:?}: {answer:?}");
            let seen = world.origin.last("/echo/a");
            assert_eq!(seen.header("x-caller"), Some("ada"));
            assert_eq!(seen.header("x-api-key"), None);
            let bearer = format!("Bearer {token}");
            assert_eq!(seen.header("authorization"), Some(&*bearer));
        }
        let refused = client.get_with("/echo/admin", &[key]).await;
        refused.assert_problem(403, "insufficient_scope");
        assert_eq!(refused.header("www-authenticate"), None);
    }
    assert_eq!(world.knowledge.asked(KEY), 1);
    let line = world
        .edge
        .log_line("the caller", |line| line["route"] == "keyed")
        .await;
    assert_eq!(line["subject"], "ada");
    // Two keys of one user are one caller.
    world.trade(OTHER, "ada", "k2");
    let limited = world.get(Protocol::H2, "/echo/limited", ("x-api-key", KEY));
    assert_eq!(limited.await.0, 200);
    let limited = world.get(Protocol::H2, "/echo/limited", ("x-api-key", OTHER));
    assert_eq!(limited.await, (429, "rate_limited".to_owned()));
    // What the token says is judged like any other token's claims.
    world.trade("pk_3_x", "ada", "session");
    let denied = world.get(Protocol::H2, "/echo/a", ("x-api-key", "pk_3_x"));
    assert_eq!(denied.await, (403, "access_denied".to_owned()));
    for secret in [KEY, OTHER, &*token] {
        assert!(!world.is_printed(secret));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_nobody_knows() {
    let mut world = World::with_keys().await;
    let _service = world.serve().await;
    let requests = 20;
    let mut client = Client::connect(Protocol::H2, &world.edge).await;
    for _ in 0..requests {
        let refused = client.get_with("/echo/a", &[("x-api-key", OTHER)]).await;
        refused.assert_problem(401, "api_key_unknown");
    }
    let asked = world.knowledge.asked(OTHER);
    assert!((1..requests).contains(&asked), "{asked}");
    let both = [("x-api-key", KEY), ("x-api-key", OTHER)];
    let both = client.get_with("/echo/a", &both).await;
    both.assert_problem(401, "api_key_unknown");
    // Made meanwhile: it does not stay unknown.
    world.trade(OTHER, "eve", "k2");
    world
        .becomes("/echo/a", ("x-api-key", OTHER), 200, "")
        .await;
    // A token that nobody can verify is of no use.
    world.knowledge.trade("pk_3_x", "not.a.token");
    let unusable = world.get(Protocol::H2, "/echo/a", ("x-api-key", "pk_3_x"));
    assert_eq!(unusable.await, (503, "api_keys_unavailable".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_ends_at_once() {
    let mut world = World::with_keys().await;
    let _service = world.serve().await;
    let key = ("x-api-key", KEY);
    world.becomes("/echo/a", key, 200, "").await;
    world.knowledge.forget(KEY);
    // Nobody has said so yet: the answer is remembered.
    assert_eq!(world.get(Protocol::H1, "/echo/a", key).await.0, 200);
    world.knowledge.revoke("api_key", "k1");
    world.becomes("/echo/a", key, 401, "api_key_unknown").await;
    for protocol in Protocol::ALL {
        let refused = world.get(protocol, "/echo/a", key).await;
        assert_eq!(refused, (401, "api_key_unknown".to_owned()));
    }
    // A key ends with its user.
    world.trade(OTHER, "eve", "k2");
    let other = ("x-api-key", OTHER);
    world.becomes("/echo/a", other, 200, "").await;
    world.knowledge.revoke("user", "eve");
    world
        .becomes("/echo/a", other, 401, "api_key_unknown")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_answer_nobody_is_let_in() {
    let mut world = World::with_keys().await;
    let key = ("x-api-key", KEY);
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &world.edge).await;
        let refused = client.get_with("/echo/a", &[key]).await;
        refused.assert_problem(503, "api_keys_unavailable");
        assert_eq!(refused.header("retry-after"), Some("1"));
        let listed = client.get_with("/echo/a", &[("x-api-key", ACME)]).await;
        assert_eq!(listed.status, 200);
        let seen = world.origin.last("/echo/a");
        assert_eq!(seen.header("x-caller"), Some("acme"));
    }
    let mut client = Client::connect(Protocol::H2, &world.edge).await;
    let fields = [
        key,
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let path = "/palisade.echo.v1.EchoService/Echo";
    let call = client.send(Method::POST, path, &fields, "\0\0\0\0\0").await;
    assert_eq!(call.expect("an answer").header("grpc-status"), Some("14"));
    let service = world.serve().await;
    world.becomes("/echo/a", key, 200, "").await;
    service.stop().await;
    // What was said holds for a while; of another key nothing was.
    assert_eq!(world.get(Protocol::H3, "/echo/a", key).await.0, 200);
    let other = world
        .get(Protocol::H3, "/echo/a", ("x-api-key", OTHER))
        .await;
    assert_eq!(other, (503, "api_keys_unavailable".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_question_for_all_who_wait() {
    let mut world = World::with_keys().await;
    let _service = world.serve().await;
    world.metric_becomes("connected", 1.0).await;
    world.knowledge.gate(false);
    let asking = join_all((0..8).map(|_| world.get(Protocol::H2, "/echo/a", ("x-api-key", KEY))));
    let opening = async {
        until("all of them to wait", || async {
            let under_way = world.edge.metric("palisade_requests_in_flight").await;
            (under_way == Some(8.0)).then_some(())
        })
        .await;
        world.knowledge.gate(true);
    };
    let (answers, ()) = tokio::join!(asking, opening);
    assert!(
        answers.iter().all(|(status, _)| *status == 200),
        "{answers:?}"
    );
    assert_eq!(world.knowledge.asked(KEY), 1);
}
