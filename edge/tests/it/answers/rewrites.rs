//! Other targets upstream, and fields that are made of the path.

use super::World;
use crate::client::Protocol;
use crate::upstream::{Origin, Seen};

const ROUTES: &str = r#"
header_sets:
  - { name: tenant, request: { set: { x-tenant: "{tenant}", x-order: first } } }
  - { name: edits, request: { set: { x-order: second } }, response: { set: { x-test-edit: from-the-set } } }
caches:
  - { name: short, default_ttl: 1m }
routes:
  - { name: prefix, matches: [{ path: { prefix: /v1 } }], rewrite: { prefix: /echo/api }, cluster: origin }
  - { name: strip, matches: [{ path: { prefix: /strip } }], rewrite: { prefix: / }, cluster: origin }
  - name: template
    matches: [{ path: { template: "/t/{tenant}/{rest}" } }, { path: { template: "/{rest}/of/{tenant}" } }]
    rewrite: { path: "/echo/{tenant}/-/{rest}.json", host: "backend.internal:8080" }
    header_sets: [tenant, edits]
    request_headers: { add: { x-note: "{{tenant}} is {tenant}" } }
    response_headers: { set: { x-test-edit: "for {tenant}" } }
    cluster: origin
  - { name: host, matches: [{ path: { prefix: /echo/host } }], rewrite: { host: other.internal }, header_sets: [edits], cluster: origin }
  - { name: dots, matches: [{ path: { template: "/dots/{a}/{b}" } }], rewrite: { path: "/echo/.{a}/{b}" }, cluster: origin }
  - { name: cached, matches: [{ path: { template: "/c/{a}" } }], rewrite: { path: /fresh/same }, cache: short, cluster: origin }
  - { name: greetings, matches: [{ path: { prefix: /api/v1 } }], rewrite: { prefix: /v1 }, translate: true, cluster: greeter }
"#;

/// What the request is for: HTTP/2 has it beside the target, HTTP/1.1 in a field.
fn host(seen: &Seen) -> Option<&str> {
    seen.authority.as_deref().or(seen.header("host"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_are_asked_for_the_other_path() {
    for (origin, protocol) in [(Origin::h1().await, "http1"), (Origin::h2().await, "http2")] {
        let world = World::start_with(origin, protocol, ROUTES).await;
        let cases = [
            ("/v1", "/echo/api"),
            ("/v1/a/b/?x=1&y=%2F", "/echo/api/a/b/?x=1&y=%2F"),
            ("/strip/echo/a?b", "/echo/a?b"),
            ("/strip//echo/a", "/echo/a"),
            ("/t/acme/orders?x", "/echo/acme/-/orders.json?x"),
            ("/t/a%20c/%C3%A9", "/echo/a%20c/-/%C3%A9.json"),
            ("/orders/of/acme", "/echo/acme/-/orders.json"),
            ("/dots/a/b", "/echo/.a/b"),
        ];
        for downstream in Protocol::ALL {
            let mut client = world.client(downstream).await;
            for (asked, expected) in cases {
                let response = client.get(asked).await;
                assert_eq!(response.status, 200, "{downstream:?} {asked}: {response:?}");
                assert_eq!(
                    response.json()["target"],
                    expected,
                    "{downstream:?} {asked}"
                );
                let line = world.line_of(&response).await;
                let path = asked.split('?').next().expect("a path");
                let path = path.replace("//", "/");
                assert_eq!(line["path"], path, "the log has what the client asked for");
            }
            let strange = client.get("/dots/.a/b").await;
            assert_eq!(strange.json()["target"], "/echo/..a/b", "{downstream:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_is_another_and_the_first_one_is_told() {
    for (origin, protocol) in [(Origin::h1().await, "http1"), (Origin::h2().await, "http2")] {
        let world = World::start_with(origin, protocol, ROUTES).await;
        let own = format!("localhost:{}", world.edge.https.port());
        for downstream in Protocol::ALL {
            let mut client = world.client(downstream).await;
            client.get("/t/acme/orders").await;
            let seen = world.origin.last("/echo/acme");
            assert_eq!(host(&seen), Some("backend.internal:8080"), "{downstream:?}");
            assert_eq!(
                seen.header("x-forwarded-host"),
                Some(&*own),
                "{downstream:?}"
            );
            client.get("/echo/host").await;
            let seen = world.origin.last("/echo/host");
            assert_eq!(host(&seen), Some("other.internal"), "{downstream:?}");
            assert_eq!(seen.target, "/echo/host", "{downstream:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_are_made_of_the_path() {
    let world = World::start(ROUTES).await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let forged = [("x-tenant", "forged"), ("x-note", "from the client")];
        let response = client.get_with("/t/ac%20me/orders", &forged).await;
        assert_eq!(
            response.header("x-test-edit"),
            Some("for ac%20me"),
            "{protocol:?}"
        );
        let seen = world.origin.last("/echo/ac%20me");
        assert_eq!(seen.header("x-tenant"), Some("ac%20me"), "{protocol:?}");
        let notes: Vec<_> = seen.headers.get_all("x-note").iter().collect();
        assert_eq!(
            notes,
            ["from the client", "{tenant} is ac%20me"],
            "{protocol:?}"
        );
        assert_eq!(seen.header("x-order"), Some("second"), "{protocol:?}");
        let from_set = client.get("/echo/host").await;
        assert_eq!(
            from_set.header("x-test-edit"),
            Some("from-the-set"),
            "{protocol:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_goes_by_what_the_client_asked_for() {
    let world = World::start(ROUTES).await;
    let mut client = world.client(Protocol::H2).await;
    for (asked, hits) in [
        ("/c/a", false),
        ("/c/b", false),
        ("/c/a", true),
        ("/c/b", true),
    ] {
        let response = client.get(asked).await;
        let status = response.header("cache-status").expect("cache-status");
        assert_eq!(
            status.starts_with("palisade; hit"),
            hits,
            "{asked}: {status}"
        );
        assert_eq!(&*response.body, b"/fresh/same");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_comes_before_translation() {
    let world = World::start(ROUTES).await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let plain = client.get("/api/v1/greetings/ada").await;
        assert_eq!(plain.status, 200, "{protocol:?}: {plain:?}");
        assert_eq!(plain.json()["message"], "hello ada", "{protocol:?}");
    }
}
